package kyverno

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/kyverno/kyverno/cmd/cli/kubectl-kyverno/data"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	k8syaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/yaml"

	review "github.com/aetherplatform/aether/internal/review/kyverno"
)

// files are the documents that a test names.
type files []document

type document struct {
	file    string
	content any
}

// read reads all files below a directory as Kyverno does: it is what Kyverno makes
// of them that must not leave the process.
func read(dir string) (all files, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	err = fs.WalkDir(root.FS(), ".", func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(root.FS(), file)
		if err != nil {
			return err
		}
		documents := k8syaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
		for {
			one, err := documents.Read()
			if errors.Is(err, io.EOF) {
				return nil
			}
			var content any
			if err == nil {
				err = yaml.Unmarshal(one, &content)
			}
			if err != nil {
				return fmt.Errorf("cannot read %s: %w", file, err)
			}
			all = append(all, document{file, content})
		}
	})
	return all, err
}

// Why a test is not run.
const (
	callsServer = "calls a server"
	asksImages  = "asks an image's registry"
	sendsHTTP   = "tests requests of HTTP and not objects of Kubernetes"
)

// leaves is why a test would ask somebody else; "" is that it would not. What a
// test says that a server answers does not count: Kyverno asks the server about the
// rest.
func (f files) leaves() string {
	for _, d := range f {
		if why := leavesIn(d.content, ""); why != "" {
			return d.file + " " + why
		}
	}
	return ""
}

// asking are the names, in small letters, of fields by which a policy leaves the
// process, whatever is in them.
var asking = map[string]string{
	"verifyimages":  asksImages,
	"imageregistry": asksImages,
	"manifests":     asksImages, // signatures of manifests
	"httppayloads":  sendsHTTP,
	"envoypayloads": sendsHTTP,
}

func leavesIn(v any, below string) string {
	switch v := v.(type) {
	case map[string]any:
		kind, _ := field(v, "kind").(string)
		group, _ := field(v, "apiVersion").(string)
		group, _, _ = strings.Cut(group, "/")
		switch {
		case strings.HasSuffix(kind, "ImageValidatingPolicy"):
			return asksImages
		case group == "kyverno.io" || group == "policies.kyverno.io" || group == "admissionregistration.k8s.io":
			below = group
		case kind == "Test" && group == "cli.kyverno.io":
			below = group
		}
		for name, value := range v {
			lower := strings.ToLower(name)
			switch {
			case below == "":
			case asking[lower] != "" && value != nil:
				return asking[lower]
			case lower == "apicall":
				if call, _ := value.(map[string]any); field(call, "service") != nil {
					return callsServer
				}
			}
			if why := leavesIn(value, below); why != "" {
				return why
			}
		}
	case []any:
		for _, item := range v {
			if why := leavesIn(item, below); why != "" {
				return why
			}
		}
	case string:
		if below == "policies.kyverno.io" {
			return expressionLeaves(v)
		}
	}
	return ""
}

func expressionLeaves(text string) string {
	switch {
	case review.AsksServer(text):
		return callsServer
	case review.AsksRegistry(text):
		return asksImages
	}
	return ""
}

// field is the value of a field, in any case of its name: so does Kyverno read it.
func field(v map[string]any, name string) any {
	if value, there := v[name]; there {
		return value
	}
	for key, value := range v {
		if strings.EqualFold(key, name) {
			return value
		}
	}
	return nil
}

// groups is where Kyverno's command looks up what it does not know by itself.
var groups = sync.OnceValue(func() interface {
	UpdateResourceGroups([]*restmapper.APIGroupResources)
} {
	p := data.NewCRDProcessor(nil)
	data.InjectProcessor(p)
	return p
})

// teachPlurals tells Kyverno what kinds are called in the API where its guess is
// wrong and a policy of the test knows better: it takes Gateways for "gatewaies",
// and would ask no policy about one.
func (f files) teachPlurals() {
	named := map[string][]string{}
	for _, d := range f {
		collect(d.content, named)
	}
	var learned []*restmapper.APIGroupResources
	seen := map[schema.GroupVersionKind]bool{}
	for _, d := range f {
		object, _ := d.content.(map[string]any)
		kind, _ := object["kind"].(string)
		version, _ := object["apiVersion"].(string)
		gv, err := schema.ParseGroupVersion(version)
		gvk := gv.WithKind(kind)
		if err != nil || kind == "" || seen[gvk] {
			continue
		}
		seen[gvk] = true
		guess, _ := meta.UnsafeGuessKindToResource(gvk)
		if slices.Contains(named[gvk.Group], guess.Resource) {
			continue
		}
		singular := strings.ToLower(kind)
		for _, plural := range []string{singular + "s", singular + "es", singular} {
			if !slices.Contains(named[gvk.Group], plural) {
				continue
			}
			discovered := metav1.GroupVersionForDiscovery{GroupVersion: gv.String(), Version: gv.Version}
			learned = append(learned, &restmapper.APIGroupResources{
				Group: metav1.APIGroup{
					Name: gvk.Group, Versions: []metav1.GroupVersionForDiscovery{discovered}, PreferredVersion: discovered,
				},
				VersionedResources: map[string][]metav1.APIResource{gv.Version: {{
					Name: plural, SingularName: singular, Kind: kind, Namespaced: true, Group: gvk.Group, Version: gv.Version,
				}}},
			})
			break
		}
	}
	groups().UpdateResourceGroups(learned)
}

// collect adds the resources that rules of policies name, by their groups.
func collect(v any, named map[string][]string) {
	switch v := v.(type) {
	case map[string]any:
		resources, _ := v["resources"].([]any)
		in, _ := v["apiGroups"].([]any)
		for _, group := range in {
			for _, r := range resources {
				group, _ := group.(string)
				r, _ := r.(string)
				named[group] = append(named[group], r)
			}
		}
		for _, value := range v {
			collect(value, named)
		}
	case []any:
		for _, item := range v {
			collect(item, named)
		}
	}
}
