package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/aetherplatform/aether/internal/fleet"
	"github.com/aetherplatform/aether/internal/render"
	"github.com/aetherplatform/aether/policies"
	"github.com/aetherplatform/aether/test/bench/sample"
)

// Layouts.
const (
	perTenant  = "tenant"
	wholeFleet = "fleet"
)

// base is the branch and the folder of base.
const base = "main"

// world is a Git repository with a fleet, and what it renders to as kustomizations.
type world struct{ options }

// change is what a pull request does.
type change struct {
	name, title string
	// edit makes an edition of it.
	edit func(w *world, edition int) fleet.Tree
	// folder is the one kustomization that it changes; nil where it changes all.
	folder func(w *world) string
}

var cases = []change{
	{
		name: "one", title: "One tenant changed",
		edit: func(w *world, edition int) fleet.Tree {
			tenant := sample.Tenant(prefix, w.tenants/2)
			name := tenant + "-ns3"
			return fleet.Tree{sample.NamespaceFile(name, tenant): {Data: sample.Namespace(name, tenant, edition)}}
		},
		folder: func(w *world) string { return sample.Tenant(prefix, w.tenants/2) },
	},
	{
		name: "all", title: "A profile's quota changed: every namespace touched",
		edit: func(_ *world, edition int) fleet.Tree {
			return fleet.Tree{sample.ProfilesFile: {Data: sample.Profiles(edition)}}
		},
	},
}

const prefix = "t"

func (w *world) repo() string { return filepath.Join(w.dir, "repository") }
func (w *world) side(name string) string {
	return filepath.Join(w.dir, "rendered", fmt.Sprintf("%s-%d", w.layout, w.tenants), name)
}
func (w *world) branch(c change, edition int) string { return fmt.Sprintf("%s-%d", c.name, edition) }

// write makes the repository, with a branch for each run, and the kustomizations.
func (w *world) write(ctx context.Context) error {
	tree := sample.Fleet(prefix, w.tenants*sample.NamespacesPerTenant)
	if w.only != "aether" {
		if err := w.render(base, tree); err != nil {
			return err
		}
		for _, c := range cases {
			head := maps.Clone(tree)
			maps.Copy(head, c.edit(w, 1))
			if err := w.render(c.name, head); err != nil {
				return err
			}
		}
	}
	if err := w.commit(ctx, tree); err != nil {
		return fmt.Errorf("cannot make the repository: %w", err)
	}
	return nil
}

// commit has Git make the branches: of each change an edition for each time that
// it is looked at, and one before, which fills the cache.
func (w *world) commit(ctx context.Context, tree fleet.Tree) error {
	if err := os.RemoveAll(w.repo()); err != nil {
		return err
	}
	if err := command(ctx, nil, "git", "init", "--quiet", "--bare", w.repo()); err != nil {
		return err
	}
	var in bytes.Buffer
	mark := 0
	commit := func(branch, from string, files fleet.Tree) {
		mark++
		fmt.Fprintf(&in, "commit refs/heads/%s\nmark :%d\ncommitter dev <dev@example.com> %d +0000\ndata 0\n", branch, mark, 1767225600+mark)
		if from != "" {
			fmt.Fprintf(&in, "from %s\n", from)
		}
		for _, name := range slices.Sorted(maps.Keys(files)) {
			fmt.Fprintf(&in, "M 100644 inline %s\ndata %d\n%s\n", name, len(files[name].Data), files[name].Data)
		}
	}
	all := fleet.Tree{}
	for name, file := range tree {
		all[path.Join("tenants", name)] = file
	}
	// Aether's own policies are what a platform has at least.
	admission, err := policies.Admission()
	if err != nil {
		return err
	}
	for i, o := range admission {
		data, err := yaml.Marshal(o)
		if err != nil {
			return err
		}
		all[fmt.Sprintf("policies/%02d.yaml", i)] = fleet.File{Data: data}
	}
	if w.policies != "" {
		more, err := filepath.Glob(filepath.Join(w.policies, "*.yaml"))
		if err != nil {
			return err
		}
		for _, file := range more {
			data, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			all[path.Join("policies", "more", filepath.Base(file))] = fleet.File{Data: data}
		}
	}
	commit(base, "", all)
	for _, c := range cases {
		for edition := range 2*w.runs + 1 {
			files := fleet.Tree{}
			for name, file := range c.edit(w, edition+1) {
				files[path.Join("tenants", name)] = file
			}
			commit(w.branch(c, edition), ":1", files)
		}
	}
	return command(ctx, &in, "git", "-C", w.repo(), "fast-import", "--quiet")
}

func command(ctx context.Context, in *bytes.Buffer, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	if in != nil {
		cmd.Stdin = in
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return nil
}

// render writes what namespaces consist of: a file a namespace, and a kustomization
// a tenant, or one. What is there from another run with as many tenants is kept.
func (w *world) render(name string, tree fleet.Tree) error {
	dir := w.side(name)
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	// Made beside its place, so that a run that is interrupted leaves no half of it.
	next := dir + ".next"
	if err := os.RemoveAll(next); err != nil {
		return err
	}
	var work errgroup.Group
	work.SetLimit(runtime.NumCPU())
	for _, tenant := range render.New(render.Options{}).Render(tree, nil).Tenants {
		if len(tenant.Errors) > 0 {
			return fmt.Errorf("the generated fleet is wrong: %w", tenant.Errors[0])
		}
		work.Go(func() error { return w.kustomization(next, tenant) })
	}
	if err := work.Wait(); err != nil {
		return err
	}
	if w.layout == wholeFleet {
		if err := list(next); err != nil {
			return err
		}
	}
	return os.Rename(next, dir)
}

// kustomization writes the namespaces of a tenant and, where it has a kustomization
// of its own, that.
func (w *world) kustomization(dir string, tenant *render.TenantResult) error {
	if w.layout == perTenant {
		dir = filepath.Join(dir, tenant.Name)
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	files := map[string]*bytes.Buffer{}
	for _, o := range tenant.Children() {
		if err := document(files, o); err != nil {
			return err
		}
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data.Bytes(), 0o600); err != nil {
			return err
		}
	}
	if w.layout == perTenant {
		return list(dir)
	}
	return nil
}

// list writes the kustomization of the files of a folder.
func list(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	data := bytes.NewBufferString("resources:\n")
	for _, e := range entries {
		fmt.Fprintf(data, "- %s\n", e.Name())
	}
	return os.WriteFile(filepath.Join(dir, "kustomization.yaml"), data.Bytes(), 0o600)
}

// document adds an object to the file of its namespace.
func document(files map[string]*bytes.Buffer, o *unstructured.Unstructured) error {
	file := cmp.Or(o.GetNamespace(), o.GetName()) + ".yaml"
	if files[file] == nil {
		files[file] = &bytes.Buffer{}
	}
	data, err := yaml.Marshal(o.Object)
	if err != nil {
		return err
	}
	fmt.Fprintf(files[file], "---\n%s", data)
	return nil
}

// folders of the kustomizations.
func (w *world) folders() []string {
	if w.layout == wholeFleet {
		return []string{"."}
	}
	var all []string
	for i := range w.tenants {
		all = append(all, sample.Tenant(prefix, i))
	}
	return all
}
