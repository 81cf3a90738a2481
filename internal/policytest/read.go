package policytest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/aetherplatform/aether/internal/isolation/expect"
	"github.com/aetherplatform/aether/internal/spelling"
)

// ref is a path that a test names.
type ref struct {
	at, path string
	line     int
	cluster  bool // the file names files of its own
}

// The fields of a test, and of one result, that name files.
var (
	paths = []string{"policies", "resources", "jsonPayload", "jsonPayloads", "httpPayloads", "envoyPayloads", "targetResources",
		"variables", "paramResources", "userinfo", "exceptions", "context", "clusterResources"}
	resultPaths = []string{"patchedResources", "generatedResource", "generatedResources", "cloneSourceResource"}
)

// All fields. Kyverno reads names in any case; here they are written as they are
// documented, so that none passes by unchecked.
var (
	fields       = append([]string{"apiVersion", "kind", "metadata", "name", "results", "values", "apiCallResponses", "globalContextEntries"}, paths...)
	resultFields = append([]string{"policy", "rule", "kind", "result", "operation", "resources", "resourceSpecs", "failOnMissingResources",
		"isValidatingAdmissionPolicy", "isMutatingAdmissionPolicy", "isValidatingPolicy", "isDeletingPolicy",
		"isImageValidatingPolicy", "isGeneratingPolicy", "isMutatingPolicy"}, resultPaths...)
	specFields   = []string{"group", "version", "kind", "namespace", "subresource", "name"}
	globalFields = []string{"name", "data", "resources", "resourceFiles", "fieldPath", "projections"}
)

// Read returns the tests in a file, and all that is wrong with them. File is how
// the user would type it, and name where it is in the repository.
func Read(file, name string, data []byte) (tests []*Test, errs []*expect.Error) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var document yaml.Node
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			return tests, errs
		}
		if err != nil {
			return tests, append(errs, &expect.Error{File: file, Line: 1, Message: "it is not YAML: " + oneLine(err.Error())})
		}
		if len(document.Content) == 0 || document.Content[0].Tag == "!!null" {
			continue
		}
		r := reader{file: file, dir: path.Dir(name)}
		test := r.test(document.Content[0])
		errs = append(errs, r.errs...)
		if len(r.errs) == 0 {
			tests = append(tests, test)
		}
	}
}

type reader struct {
	file, dir string
	refs      []ref
	errs      []*expect.Error
}

func (r *reader) fail(n *yaml.Node, format string, args ...any) {
	r.errs = append(r.errs, &expect.Error{File: r.file, Line: n.Line, Message: fmt.Sprintf(format, args...)})
}

func (r *reader) test(n *yaml.Node) *Test {
	t := &Test{File: r.file, Line: n.Line, dir: r.dir}
	top := r.fields(n, "the test", fields)
	if top == nil {
		return t
	}
	if text(top["apiVersion"]) != apiVersion || text(top["kind"]) != kind {
		r.fail(n, "%s %s is no test; write apiVersion: %s and kind: %s", text(top["apiVersion"]), text(top["kind"]), apiVersion, kind)
		return t
	}
	t.Name = text(top["name"])
	if m := resolved(top["metadata"]); m != nil && m.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(m.Content); i += 2 {
			if m.Content[i].Value == "name" {
				t.Name = text(m.Content[i+1])
			}
		}
	}
	if t.Name == "" {
		r.fail(n, "metadata.name: it has no name")
	}
	var payloads []string
	for _, name := range paths {
		for _, p := range r.paths(top[name], name) {
			p.cluster = name == "clusterResources"
			r.refs = append(r.refs, p)
			if name == "jsonPayload" || name == "jsonPayloads" {
				payloads = append(payloads, path.Clean(p.path))
			}
		}
	}
	for i, g := range r.list(top["globalContextEntries"], "globalContextEntries") {
		at := fmt.Sprintf("globalContextEntries[%d]", i)
		r.refs = append(r.refs, r.paths(r.fields(g, at, globalFields)["resourceFiles"], at+".resourceFiles")...)
	}
	results := r.list(top["results"], "results")
	if len(results) == 0 && len(r.errs) == 0 {
		r.fail(n, "results: it expects nothing; write a list such as [{policy: p, kind: Pod, result: fail, resources: [web/x]}]")
	}
	for i, item := range results {
		t.Expect = append(t.Expect, r.result(item, fmt.Sprintf("results[%d]", i), payloads)...)
	}
	t.refs = r.refs
	var content any
	err := n.Decode(&content)
	if err == nil {
		t.document, err = json.Marshal(content)
	}
	if err != nil {
		r.fail(n, "it cannot be read: %s", oneLine(err.Error()))
	}
	return t
}

func (r *reader) result(n *yaml.Node, at string, payloads []string) (all []Expectation) {
	f := r.fields(n, at, resultFields)
	if f == nil {
		return nil
	}
	for _, name := range resultPaths {
		r.refs = append(r.refs, r.paths(f[name], at+"."+name)...)
	}
	e := Expectation{Line: n.Line, Policy: text(f["policy"]), Rule: text(f["rule"]), Kind: text(f["kind"]), Want: text(f["result"]), On: text(f["operation"])}
	if e.Policy == "" {
		r.fail(n, "%s.policy: it names no policy", at)
	}
	if !slices.Contains([]string{"pass", "fail", "skip", "warn", "error"}, e.Want) {
		r.fail(n, "%s.result: %q is no result; write pass, fail, skip, warn or error", at, e.Want)
	}
	for _, p := range r.paths(f["resources"], at+".resources") {
		one := e
		one.Line, one.Resource = p.line, p.path
		one.payload = slices.Contains(payloads, path.Clean(p.path))
		all = append(all, one)
	}
	for i, spec := range r.list(f["resourceSpecs"], at+".resourceSpecs") {
		s := r.fields(spec, fmt.Sprintf("%s.resourceSpecs[%d]", at, i), specFields)
		one := e
		one.Line, one.Resource = spec.Line, text(s["name"])
		if namespace := text(s["namespace"]); namespace != "" {
			one.Resource = namespace + "/" + one.Resource
		}
		all = append(all, one)
	}
	if len(all) == 0 {
		all = append(all, e)
	}
	return all
}

// fields are the values of a map, of which only some names are known.
func (r *reader) fields(n *yaml.Node, at string, known []string) map[string]*yaml.Node {
	n = resolved(n)
	if n == nil || n.Kind != yaml.MappingNode {
		if n != nil {
			r.fail(n, "%s is no map; it has fields such as %s", at, strings.Join(known[:3], ", "))
		}
		return nil
	}
	out := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name := n.Content[i].Value
		switch {
		case !slices.Contains(known, name):
			r.fail(n.Content[i], "%s: there is no field %q%s", at, name, meant(name, known))
		case out[name] != nil:
			r.fail(n.Content[i], "%s: the field %q is written twice", at, name)
		default:
			out[name] = n.Content[i+1]
		}
	}
	return out
}

func meant(name string, known []string) string {
	found := spelling.Nearest(name, known)
	if found == "" {
		return ""
	}
	return "; did you mean " + found + "?"
}

func (r *reader) list(n *yaml.Node, at string) []*yaml.Node {
	n = resolved(n)
	if n == nil || n.Tag == "!!null" {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		r.fail(n, "%s: write a list", at)
		return nil
	}
	return n.Content
}

// paths are the texts of a field that has one or a list of them.
func (r *reader) paths(n *yaml.Node, at string) (all []ref) {
	n = resolved(n)
	switch {
	case n == nil || n.Tag == "!!null":
	case n.Kind == yaml.ScalarNode:
		if n.Value != "" {
			all = append(all, ref{at: at, path: n.Value, line: n.Line})
		}
	case n.Kind == yaml.SequenceNode:
		for i, item := range n.Content {
			item := resolved(item)
			if item.Kind != yaml.ScalarNode || item.Value == "" {
				r.fail(item, "%s[%d]: write a text", at, i)
				continue
			}
			all = append(all, ref{at: fmt.Sprintf("%s[%d]", at, i), path: item.Value, line: item.Line})
		}
	default:
		r.fail(n, "%s: write a text or a list", at)
	}
	return all
}

// crdsOf are the files that a ClusterResource names.
func crdsOf(stage *os.Root, name string, from ref) (more []ref, why string) {
	data, err := stage.ReadFile(filepath.FromSlash(name))
	if err != nil {
		return nil, "is no file"
	}
	// As Kyverno reads it, in any case of its names.
	var content any
	if err := yaml.Unmarshal(data, &content); err != nil {
		return nil, "is not YAML: " + oneLine(err.Error())
	}
	for name, value := range lower(lower(content)["spec"]) {
		if name != "crds" {
			continue
		}
		list, _ := value.([]any)
		for i, item := range list {
			more = append(more, ref{at: fmt.Sprintf("%s: spec.crds[%d] of %s", from.at, i, from.path), path: fmt.Sprint(item), line: from.line})
		}
	}
	return more, ""
}

func lower(v any) map[string]any {
	out := map[string]any{}
	fields, _ := v.(map[string]any)
	for name, value := range fields {
		out[strings.ToLower(name)] = value
	}
	return out
}

func resolved(n *yaml.Node) *yaml.Node {
	for n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

func text(n *yaml.Node) string {
	if n = resolved(n); n == nil || n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		return ""
	}
	return n.Value
}
