package policy

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/aetherplatform/aether/internal/review"
	"github.com/aetherplatform/aether/internal/review/files"
)

// mostNamed bounds the changed files that have a finding of their own. Head is
// whatever its author wrote.
const mostNamed = 50

// mostParsed bounds the bytes that are parsed to name what is in those files.
const mostParsed = 4 << 20

// changes shows what would change below policies/: it does not hold before it is
// merged, so nothing else of the report shows it.
func changes(base, head fs.FS, rules *set) ([]review.Finding, error) {
	changed, err := files.Changed(base, head, directory)
	if err != nil {
		return nil, fmt.Errorf("cannot compare the policies of base and head: %w", err)
	}
	changed = slices.DeleteFunc(changed, func(c files.Change) bool { return path.Ext(c.Path) == ".md" })
	var findings []review.Finding
	left := mostParsed
	for i, c := range changed {
		if i == mostNamed {
			rest := review.Finding{
				Risk: review.High, Category: review.PolicyChanged, Place: review.Place{File: directory},
				Title: fmt.Sprintf("%d more files of policies change", len(changed)-i),
			}
			for _, c := range changed[i:] {
				rest.Details = append(rest.Details, c.Path+": "+string(c.Action))
			}
			rest.Details = atMost(rest.Details)
			findings = append(findings, rest)
			break
		}
		findings = append(findings, changeOf(base, head, rules, c, &left))
	}
	return findings, nil
}

// changeOf is one changed file. A policy of a new name can only refuse more; every
// other change may refuse less.
func changeOf(base, head fs.FS, rules *set, c files.Change, left *int) review.Finding {
	before, _ := identities(base, c.Path, left)
	after, complete := identities(head, c.Path, left)
	f := review.Finding{Risk: review.High, Category: review.PolicyChanged, Place: review.Place{File: c.Path}}

	var names []string
	for name, now := range after {
		old, there := before[name]
		switch {
		case !there:
			names = append(names, name+" is new")
		case old.text != now.text:
			names = append(names, name+" changes")
		}
		if (!there || old.text != now.text) && (f.Place.Line == 0 || now.line < f.Place.Line) {
			f.Place.Line = now.line
		}
	}
	for name := range before {
		if _, there := after[name]; !there {
			names = append(names, name+" goes")
		}
	}
	slices.Sort(names)
	if len(names) == 0 {
		f.Title = fmt.Sprintf("%s is %s, and with it perhaps which policies hold", c.Path, c.Action)
	} else {
		f.Title = "Policies change: " + strings.Join(names[:min(3, len(names))], ", ")
		if more := len(names) - 3; more > 0 {
			f.Title += fmt.Sprintf(" and %d more", more)
		}
		f.Details = atMost(names)
	}
	f.Details = append(f.Details, "The policies of base are evaluated here; this change of them holds once it is merged.")
	if c.Action == review.Created && complete && rules.canOnlyGrow(after) {
		f.Risk = review.Medium
	}
	return f
}

// written is a policy as it is in a file.
type written struct {
	kind schema.GroupVersionKind
	text string
	line int
}

// identities names the policies of a file by "<kind> <name>". The file may be of
// head, so it is parsed and never expanded, and no more of it than is left to be.
func identities(side fs.FS, file string, left *int) (found map[string]written, complete bool) {
	found = map[string]written{}
	if !isYAML(file) || isKustomization(path.Base(file)) {
		return found, false
	}
	data, err := files.Read(side, file, maxFileBytes)
	if *left -= len(data); err != nil || *left < 0 {
		return found, false
	}
	docs := documents(data)
	complete = len(docs) <= maxDocuments
	for _, d := range docs[:min(maxDocuments, len(docs))] {
		var node yaml.Node
		if err := yaml.Unmarshal(d.text, &node); err != nil || len(node.Content) == 0 {
			complete = false
			continue
		}
		root := node.Content[0]
		gvk := schema.FromAPIVersionAndKind(scalar(root, "apiVersion"), scalar(root, "kind"))
		name := scalar(value(root, "metadata"), "name")
		if gvk.Kind == "" || name == "" {
			complete = false
			continue
		}
		found[title(gvk.Kind, name)] = written{kind: gvk, text: strings.TrimSpace(string(d.text)), line: d.line}
	}
	return found, complete
}

// title is what an object is called here.
func title(kind, name string) string { return brief(kind) + " " + brief(name) }

// canOnlyGrow is whether nothing that is refused would be allowed with these: they
// do nothing but refuse, and take the place of none.
func (s *set) canOnlyGrow(all map[string]written) bool {
	for name, w := range all {
		if !onlyRefuses[w.kind.GroupKind()] || s.names[name] {
			return false
		}
	}
	return len(all) > 0
}

// onlyRefuses are kinds that neither change an object nor exempt one.
var onlyRefuses = map[schema.GroupKind]bool{
	{Group: admissionGroup, Kind: kindPolicy}:                          true,
	{Group: admissionGroup, Kind: kindBinding}:                         true,
	{Group: "policies.kyverno.io", Kind: "ValidatingPolicy"}:           true,
	{Group: "policies.kyverno.io", Kind: "NamespacedValidatingPolicy"}: true,
}

// brief keeps what an author named something from being long or of many lines.
func brief(name string) string {
	const most = 100
	name = oneLine(name)
	if len(name) > most {
		name = strings.ToValidUTF8(name[:most], "") + "…"
	}
	return name
}

func value(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

func scalar(n *yaml.Node, key string) string {
	if v := value(n, key); v != nil && v.Kind == yaml.ScalarNode {
		return v.Value
	}
	return ""
}
