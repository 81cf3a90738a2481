package render

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// source is an object of a template as Kustomize built it, expressions and all.
type source struct {
	object map[string]any
	// component is the directory below base/ that made it.
	component string
	// file is where the component has it: "namespace/quota/quota.yaml".
	file string
}

// originAnnotation is where Kustomize leaves what made an object.
const originAnnotation = "config.kubernetes.io/origin"

// building is held while a base is built and compiled. Kustomize keeps schemas in
// global variables, and an environment of CEL compiles one expression at a time.
var building sync.Mutex

// build runs Kustomize on one directory of a base, in memory and without a
// network. The caller holds building.
func build(base Base, dir string) ([]source, error) {
	dir = path.Clean(dir)
	if err := checkLocal(base.FS, dir); err != nil {
		return nil, err
	}
	disk, err := inMemory(base.FS)
	if err != nil {
		return nil, err
	}
	// A directory above the base's own asks for origins, so that no base has to.
	top, err := yaml.Marshal(types.Kustomization{
		Resources:     []string{path.Join("base", dir)},
		BuildMetadata: []string{types.OriginAnnotations},
	})
	if err != nil {
		return nil, err
	}
	if err := disk.WriteFile("/kustomization.yaml", top); err != nil {
		return nil, err
	}

	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(disk, "/")
	if err != nil {
		return nil, fmt.Errorf("cannot build %s: %w", dir, err)
	}
	var sources []source
	for _, r := range built.Resources() {
		data, err := r.MarshalJSON()
		if err != nil {
			return nil, fmt.Errorf("cannot read what %s builds: %w", dir, err)
		}
		var object map[string]any
		if err := json.Unmarshal(data, &object); err != nil {
			return nil, fmt.Errorf("cannot read what %s builds: %w", dir, err)
		}
		sources = append(sources, withOrigin(object))
	}
	return sources, nil
}

// withOrigin takes Kustomize's origin off an object. An object that carries
// the component annotation itself keeps that.
func withOrigin(object map[string]any) source {
	s := source{object: object}
	metadata, _ := object["metadata"].(map[string]any)
	annotations, _ := metadata["annotations"].(map[string]any)
	if text, ok := annotations[originAnnotation].(string); ok {
		var origin struct{ Path, ConfiguredIn string }
		if yaml.Unmarshal([]byte(text), &origin) == nil {
			file := origin.Path
			if file == "" {
				file = origin.ConfiguredIn
			}
			s.file = strings.TrimPrefix(path.Clean(file), "base/")
			s.component = path.Dir(s.file)
		}
		delete(annotations, originAnnotation)
	}
	if name, ok := annotations[v1alpha1.AnnotationComponent].(string); ok {
		s.component = name
	}
	return s
}

// Bounds on a base, far above what one needs: it is held in memory.
const (
	maxBaseFiles = 5000
	maxBaseBytes = 32 << 20
)

func inMemory(base fs.FS) (filesys.FileSystem, error) {
	disk := filesys.MakeFsInMemory()
	files, bytes := 0, 0
	err := fs.WalkDir(base, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		data, err := fs.ReadFile(base, name)
		if err != nil {
			return err
		}
		files, bytes = files+1, bytes+len(data)
		if files > maxBaseFiles || bytes > maxBaseBytes {
			return fmt.Errorf("the base has more than %d files or %d MiB", maxBaseFiles, maxBaseBytes>>20)
		}
		return disk.WriteFile("/base/"+name, data)
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read the base: %w", err)
	}
	return disk, nil
}

// localPath is what a path inside a base is written with. A ':', '@' or '?'
// would make it a URL in Kustomize's eyes.
var localPath = regexp.MustCompile(`^[-A-Za-z0-9_.+/ ]+$`)

// checkLocal walks every kustomization that dir leads to, before Kustomize sees
// any, and refuses what would make it leave the base: it fetches URLs from any
// field that takes a path, and runs git for what looks like a repository.
func checkLocal(base fs.FS, dir string) error {
	return (&localCheck{base: base, seen: map[string]bool{}}).directory(dir)
}

type localCheck struct {
	base fs.FS
	seen map[string]bool
}

func (c *localCheck) directory(dir string) error {
	if c.seen[dir] {
		return nil // Kustomize finds cycles itself
	}
	c.seen[dir] = true

	file, data, err := readKustomization(c.base, dir)
	if err != nil {
		return err
	}
	var fields map[string]any
	if err := yaml.Unmarshal(data, &fields); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		if !allowedFields[field] {
			return fmt.Errorf("%s: %s: this field cannot be used in a base", file, field)
		}
	}
	var k types.Kustomization
	if err := yaml.UnmarshalStrict(data, &k); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for _, p := range pathsOf(k) {
		leadsTo, err := c.path(dir, p)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if leadsTo != "" {
			if err := c.directory(leadsTo); err != nil {
				return err
			}
		}
	}
	return nil
}

// path checks one path, and returns the directory that it leads to, if it is one.
func (c *localCheck) path(dir, p string) (string, error) {
	first, _, _ := strings.Cut(strings.ToLower(p), "/")
	if !localPath.MatchString(p) || strings.Contains(p, "//") || path.IsAbs(p) ||
		strings.HasPrefix(first, "github.com") || strings.HasPrefix(first, "www.github.com") {
		return "", fmt.Errorf("%q is not a path inside the base; copy what it names into the base and write a relative path", p)
	}
	full := path.Join(dir, p)
	info, err := fs.Stat(c.base, full)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
		return "", fmt.Errorf("%q: there is no such file in the base", p)
	}
	if err != nil {
		return "", err
	}
	if info.IsDir() {
		return full, nil
	}
	return "", nil
}

func readKustomization(base fs.FS, dir string) (string, []byte, error) {
	for _, name := range []string{"kustomization.yaml", "kustomization.yml", "Kustomization"} {
		file := path.Join(dir, name)
		data, err := fs.ReadFile(base, file)
		if err == nil {
			return file, data, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", nil, fmt.Errorf("cannot read %s: %w", file, err)
		}
	}
	return "", nil, fmt.Errorf("%s: there is no kustomization.yaml in this directory of the base", dir)
}

// allowedFields leaves out what runs programs, fetches charts, or changes
// Kustomize's schemas for the whole process (openapi).
var allowedFields = setOf(
	"apiVersion", "kind", "metadata", "resources", "components", "namespace", "namePrefix", "nameSuffix",
	"labels", "commonLabels", "commonAnnotations", "patches", "replacements", "images", "replicas",
	"configMapGenerator", "secretGenerator", "generatorOptions", "buildMetadata", "sortOptions",
)

func setOf(names ...string) map[string]bool {
	set := map[string]bool{}
	for _, n := range names {
		set[n] = true
	}
	return set
}

// pathsOf is every path that a kustomization with allowedFields can hold.
func pathsOf(k types.Kustomization) []string {
	paths := slices.Concat(k.Resources, k.Components)
	for _, p := range k.Patches {
		paths = append(paths, p.Path)
	}
	for _, r := range k.Replacements {
		paths = append(paths, r.Path)
	}
	sources := []types.KvPairSources{}
	for _, g := range k.ConfigMapGenerator {
		sources = append(sources, g.KvPairSources)
	}
	for _, g := range k.SecretGenerator {
		sources = append(sources, g.KvPairSources)
	}
	for _, s := range sources {
		for _, f := range s.FileSources { // "key=path", or the path alone
			if _, p, ok := strings.Cut(f, "="); ok {
				f = p
			}
			paths = append(paths, f)
		}
		paths = append(append(paths, s.EnvSources...), s.EnvSource)
	}
	return slices.DeleteFunc(paths, func(p string) bool { return p == "" })
}
