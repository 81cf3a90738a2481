// Package expect holds a fleet to what its platform team has pinned: who may reach
// whom, and who must never. What is pinned is a file of kind IsolationTest; what is so
// comes from the rendered fleet, through package reach.
//
// What cannot be known for certain, such as what a rule for Pods with some label
// opens, never passes: it is not enough for "may", and too much for "never".
package expect

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/aetherplatform/aether/internal/reach"
	"github.com/aetherplatform/aether/internal/spelling"
)

// What a file of this kind says of itself.
const (
	APIVersion = "test.aetherplatform.cloud/v1alpha1"
	Kind       = "IsolationTest"
)

// Test is one IsolationTest.
type Test struct {
	File   string
	Line   int
	Name   string
	Expect []Expectation
}

// Expectation is one item of spec.expect.
type Expectation struct {
	File string
	Line int
	// From and To are ends as they are written; one of them is empty with NothingElse.
	From, To string
	// Ports; nil for those that are not named.
	Ports *reach.Ports
	// Only: no other port is open between the two.
	Only bool
	// Never: nothing, or none of the ports, is open between the two.
	Never bool
	// NothingElse: beside what other expectations of the file name for this end, itself
	// and DNS, nothing is open.
	NothingElse bool
	Why         string
}

// String is the expectation as a sentence.
func (e *Expectation) String() string {
	ports := ""
	if e.Ports != nil {
		ports = " on " + e.Ports.String()
	}
	switch {
	case e.NothingElse && e.From != "":
		return e.From + " reaches nothing else"
	case e.NothingElse:
		return "nothing else reaches " + e.To
	case e.Never:
		return e.From + " never reaches " + e.To + ports
	case e.Only:
		return e.From + " reaches " + e.To + ports + " only"
	}
	return e.From + " reaches " + e.To + ports
}

// Error is what is wrong with a file.
type Error struct {
	File    string
	Line    int
	Message string
}

// Error is "file:line: message".
func (e *Error) Error() string { return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Message) }

// Read returns the tests in a file, and all that is wrong with them. Documents of
// other kinds are none of its business.
func Read(file string, data []byte) (tests []*Test, errs []*Error) {
	if !bytes.Contains(data, []byte(Kind)) {
		return nil, nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var document yaml.Node
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			return tests, errs
		}
		if err != nil {
			// Only a file that is ours beyond doubt is worth an error.
			if regexp.MustCompile(`(?m)^kind: ` + Kind + `\s*$`).Match(data) {
				errs = append(errs, &Error{file, 1, "it is not YAML: " + strings.Join(strings.Fields(err.Error()), " ")})
			}
			return tests, errs
		}
		if len(document.Content) == 0 || text(field(document.Content[0], "kind")) != Kind {
			continue
		}
		r := reader{file: file}
		test := r.test(document.Content[0])
		errs = append(errs, r.errs...)
		if len(r.errs) == 0 {
			tests = append(tests, test)
		}
	}
}

type reader struct {
	file string
	errs []*Error
}

func (r *reader) fail(n *yaml.Node, format string, args ...any) {
	r.errs = append(r.errs, &Error{r.file, n.Line, fmt.Sprintf(format, args...)})
}

// fields are the values of a map, of which only some names are known.
func (r *reader) fields(n *yaml.Node, at string, known ...string) map[string]*yaml.Node {
	if n == nil {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		r.fail(n, "%s is no map; it has the fields %s", at, strings.Join(known, ", "))
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
		return "; write one of " + strings.Join(known, ", ")
	}
	return "; did you mean " + found + "?"
}

func (r *reader) test(n *yaml.Node) *Test {
	t := &Test{File: r.file, Line: n.Line}
	top := r.fields(n, Kind, "apiVersion", "kind", "metadata", "spec")
	if v := top["apiVersion"]; text(v) != APIVersion {
		r.fail(cmpNode(v, n), "apiVersion: %q is not known; write %s", text(v), APIVersion)
	}
	meta := r.fields(top["metadata"], "metadata", "name", "labels", "annotations")
	if t.Name = text(meta["name"]); t.Name == "" {
		r.fail(n, "metadata.name: it has no name")
	}
	spec := r.fields(top["spec"], "spec", "expect")
	list := spec["expect"]
	if list == nil || list.Kind != yaml.SequenceNode || len(list.Content) == 0 {
		r.fail(cmpNode(list, n), "spec.expect: it expects nothing; write a list such as [{from: acme-web, to: acme-db, ports: [5432/TCP]}]")
		return t
	}
	for i, item := range list.Content {
		t.Expect = append(t.Expect, r.expectation(item, fmt.Sprintf("spec.expect[%d]", i)))
	}
	return t
}

func (r *reader) expectation(n *yaml.Node, at string) Expectation {
	e := Expectation{File: r.file, Line: n.Line}
	f := r.fields(n, at, "from", "to", "ports", "only", "never", "nothingElse", "why")
	for name, to := range map[string]*string{"from": &e.From, "to": &e.To, "why": &e.Why} {
		if v := f[name]; v != nil {
			if *to = text(v); *to == "" {
				r.fail(v, "%s.%s: write a text", at, name)
			}
		}
	}
	for name, to := range map[string]*bool{"only": &e.Only, "never": &e.Never, "nothingElse": &e.NothingElse} {
		if v := f[name]; v != nil {
			if err := v.Decode(to); err != nil {
				r.fail(v, "%s.%s: %q is neither true nor false", at, name, v.Value)
			}
		}
	}
	if v := f["ports"]; v != nil {
		e.Ports = r.ports(v, at+".ports")
	}
	switch {
	case e.NothingElse && ((e.From == "") == (e.To == "") || e.Only || e.Never || e.Ports != nil):
		r.fail(n, "%s: nothingElse goes with from alone or with to alone", at)
	case !e.NothingElse && (e.From == "" || e.To == ""):
		r.fail(n, "%s: from and to are both needed", at)
	case e.Only && e.Never:
		r.fail(n, "%s: only and never cannot both be", at)
	case e.Only && e.Ports == nil:
		r.fail(n, "%s: only needs ports", at)
	}
	return e
}

var portShape = regexp.MustCompile(`^([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/(TCP|UDP|SCTP))?$`)

func (r *reader) ports(n *yaml.Node, at string) *reach.Ports {
	out := &reach.Ports{}
	if n.Kind != yaml.SequenceNode || len(n.Content) == 0 {
		r.fail(n, "%s: write a list such as [8443/TCP, 9200-9210/TCP]; leave it out for any port", at)
		return out
	}
	for i, item := range n.Content {
		m := portShape.FindStringSubmatch(item.Value)
		if m == nil {
			r.fail(item, "%s[%d]: %q is not a port; write one such as 8443/TCP or 9200-9210/UDP", at, i, item.Value)
			continue
		}
		from, _ := strconv.Atoi(m[1])
		to := from
		if m[2] != "" {
			to, _ = strconv.Atoi(m[2])
		}
		protocol := m[3]
		if protocol == "" {
			protocol = "TCP"
		}
		if from < 1 || to > reach.LastPort || to < from {
			r.fail(item, "%s[%d]: %q is not between 1 and %d", at, i, item.Value, reach.LastPort)
			continue
		}
		out.Add(protocol, from, to)
	}
	out.Tidy()
	return out
}

func field(n *yaml.Node, name string) *yaml.Node {
	if n != nil && n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == name {
				return n.Content[i+1]
			}
		}
	}
	return nil
}

func text(n *yaml.Node) string {
	if n == nil || n.Kind != yaml.ScalarNode {
		return ""
	}
	return n.Value
}

func cmpNode(n, otherwise *yaml.Node) *yaml.Node {
	if n == nil {
		return otherwise
	}
	return n
}

// network is an address or a CIDR.
func network(s string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), true
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	return netip.Prefix{}, false
}
