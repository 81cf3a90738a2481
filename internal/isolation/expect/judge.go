package expect

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aetherplatform/aether/internal/isolation"
	"github.com/aetherplatform/aether/internal/reach"
)

// Result is what became of one expectation.
type Result struct {
	Test     string `json:"test"`
	File     string `json:"file"`
	Line     int    `json:"line"`
	Expected string `json:"expected"`
	Passed   bool   `json:"passed"`
	// Failures are why not: a line for each path that is not as expected.
	Failures []string `json:"failures,omitempty"`
	Why      string   `json:"why,omitempty"`
}

// Words for ends that have no name of their own.
const (
	everyNamespace = "every-namespace"
	otherNamespace = "other-namespaces"
	ingress        = "ingress-controller"
	dns            = "dns"
	apiServer      = "api-server"
	nodes          = "nodes"
	metadata       = "metadata"
	internet       = "internet"
)

var words = []string{everyNamespace, otherNamespace, ingress, dns, apiServer, nodes, metadata, internet}

// someOther is a namespace that no fleet has.
const someOther = "some-other-namespace"

// end is one end of a path.
type end struct {
	name string
	reach.Endpoint
}

// judge answers for one fleet.
type judge struct {
	in    isolation.Input
	hosts []string
}

// Judge holds a fleet to tests. Names that the fleet does not have are errors.
func Judge(in isolation.Input, tests []*Test) (results []Result, errs []*Error) {
	j := &judge{in: in}
	for name := range in.Tenants {
		hosts, _ := in.Model.Outside(name)
		j.hosts = append(j.hosts, hosts...)
	}
	slices.Sort(j.hosts)
	j.hosts = slices.Compact(j.hosts)
	for _, t := range tests {
		for i := range t.Expect {
			e := &t.Expect[i]
			failures, err := j.expectation(t, e)
			if err != nil {
				errs = append(errs, &Error{e.File, e.Line, fmt.Sprintf("spec.expect[%d]: %v", i, err)})
				continue
			}
			results = append(results, Result{
				Test: t.Name, File: e.File, Line: e.Line, Expected: e.String(), Passed: len(failures) == 0, Failures: failures, Why: e.Why,
			})
		}
	}
	return results, errs
}

// ends are what a word or a name stands for.
func (j *judge) ends(s string) ([]end, error) {
	one := func(e reach.Endpoint) []end { return []end{{s, e}} }
	switch s {
	case everyNamespace:
		return j.namespaces(func(string) bool { return true }), nil
	case otherNamespace:
		return one(reach.PodsOf(someOther)), nil
	case ingress:
		out := []end{{s, reach.Endpoint{Kind: reach.Ingress}}}
		for _, e := range j.in.Ingress {
			out = append(out, end{"the ingress controller in " + e.Namespace, e})
		}
		return out, nil
	case dns:
		e := reach.PodsOf("kube-system")
		e.Labels = map[string]string{"k8s-app": "kube-dns"}
		return one(e), nil
	case apiServer:
		return one(reach.Endpoint{Kind: reach.APIServer}), nil
	case nodes:
		return []end{{"its node", reach.Endpoint{Kind: reach.Node, Local: true}}, {"another node", reach.Endpoint{Kind: reach.Node}}}, nil
	case metadata:
		return one(reach.Endpoint{Kind: reach.Address, Addresses: reach.AddressesOf("169.254.169.254/32")}), nil
	case internet:
		out := one(reach.Endpoint{Kind: reach.World})
		for _, h := range j.hosts {
			out = append(out, end{h, host(h)})
		}
		return out, nil
	}
	if tenant, ok := strings.CutPrefix(s, "tenant/"); ok {
		out := j.namespaces(func(name string) bool { return j.in.Tenants[name] == tenant })
		if len(out) == 0 {
			return nil, fmt.Errorf("the fleet has no tenant %q with a namespace%s", tenant, meant(tenant, slices.Sorted(maps.Values(j.in.Tenants))))
		}
		return out, nil
	}
	if p, ok := network(s); ok {
		return one(reach.Endpoint{Kind: reach.Address, Addresses: reach.AddressesOf(p.String())}), nil
	}
	name := strings.TrimPrefix(s, "namespace/")
	if strings.Contains(name, ".") && name == s {
		return one(host(strings.ToLower(s))), nil
	}
	if j.in.Tenants[name] == "" {
		return nil, fmt.Errorf("the fleet has no namespace %q%s", name, meant(name, append(slices.Sorted(maps.Keys(j.in.Tenants)), words...)))
	}
	return []end{{name, reach.PodsOf(name)}}, nil
}

func host(name string) reach.Endpoint { return reach.Endpoint{Kind: reach.Host, Names: []string{name}} }

func (j *judge) namespaces(wanted func(string) bool) []end {
	var out []end
	for _, name := range slices.Sorted(maps.Keys(j.in.Tenants)) {
		if wanted(name) {
			out = append(out, end{name, reach.PodsOf(name)})
		}
	}
	return out
}

func (j *judge) expectation(t *Test, e *Expectation) ([]string, error) {
	if e.NothingElse {
		return j.nothingElse(t, e)
	}
	froms, err := j.ends(e.From)
	if err != nil {
		return nil, fmt.Errorf("from: %w", err)
	}
	tos, err := j.ends(e.To)
	if err != nil {
		return nil, fmt.Errorf("to: %w", err)
	}
	// A word for several is one that works when any of them does.
	several := e.From == ingress || e.To == ingress || e.To == internet
	var failures []string
	worked := 0
	for _, from := range froms {
		for _, to := range tos {
			if from.Kind == reach.Pods && to.Kind == reach.Pods && from.Namespace == to.Namespace && len(froms)*len(tos) > 1 {
				continue // a namespace and itself, among many
			}
			failed := j.pair(e, from, to)
			failures = append(failures, failed...)
			if len(failed) == 0 {
				worked++
			}
		}
	}
	if several && !e.Never && !e.Only && worked > 0 {
		return nil, nil
	}
	return failures, nil
}

// pair holds one path to an expectation.
func (j *judge) pair(e *Expectation, from, to end) []string {
	open, doubt := j.in.Model.Open(from.Endpoint, to.Endpoint)
	path := from.name + " to " + to.name
	if e.Never {
		bad := open
		if e.Ports != nil {
			bad = open.Shared(e.Ports)
		}
		if bad.Empty() {
			return nil
		}
		return []string{fmt.Sprintf("%s is open on %s%s: %s", path, bad.Told(), perhaps(doubt), j.because(from, to, bad, true))}
	}
	var out []string
	missing := &reach.Ports{}
	if e.Ports != nil {
		missing = e.Ports.Without(open)
	}
	switch {
	case !missing.Empty():
		out = append(out, fmt.Sprintf("%s is closed on %s: %s", path, missing.Told(), j.because(from, to, missing, false)))
	case open.Empty():
		out = append(out, fmt.Sprintf("%s is closed: %s", path, j.because(from, to, open, false)))
	case doubt:
		out = append(out, fmt.Sprintf("%s is not certain: %s", path, j.because(from, to, open, true)))
	}
	if e.Only {
		if more := open.Without(e.Ports); !more.Empty() {
			out = append(out, fmt.Sprintf("%s is open on %s too%s: %s", path, more.Told(), perhaps(doubt), j.because(from, to, more, true)))
		}
	}
	return out
}

func perhaps(doubt bool) string {
	if doubt {
		return " in some cases"
	}
	return ""
}

// because says what decides about the first of some ports.
func (j *judge) because(from, to end, ports *reach.Ports, open bool) string {
	port := reach.Port{Number: 1, Protocol: "TCP"}
	if list := ports.List(); len(list) > 0 {
		port = list[0]
	}
	v := j.in.Model.May(from.Endpoint, to.Endpoint, port)
	var parts []string
	for _, side := range []struct {
		word string
		reach.Side
	}{{"egress", v.Egress}, {"ingress", v.Ingress}} {
		policy := side.Policy
		if side.Rule != nil {
			policy = side.Rule.Policy
		}
		if side.Allowed != open || policy == nil {
			continue
		}
		text := side.word + ": " + isolation.Told(side.Side)
		if policy.Place != "" {
			text += " (" + policy.Place + ")"
		}
		parts = append(parts, text)
	}
	if len(parts) == 0 {
		return "no policy is about it"
	}
	return strings.Join(parts, "; ")
}

// nothingElse looks at everything that is open at one end, and takes away what the
// other expectations of the test name.
func (j *judge) nothingElse(t *Test, e *Expectation) ([]string, error) {
	out := e.From != ""
	name := e.From + e.To
	mine, err := j.ends(name)
	if err != nil {
		return nil, err
	}
	type named struct {
		ends  []end
		ports *reach.Ports
	}
	var expected []named
	for i := range t.Expect {
		o := &t.Expect[i]
		far := o.To
		if !out {
			far = o.From
		}
		if o.NothingElse || o.Never || out && o.From != name || !out && o.To != name {
			continue
		}
		ends, err := j.ends(far)
		if err != nil {
			return nil, err
		}
		expected = append(expected, named{ends, o.Ports})
	}
	var failures []string
	for _, self := range mine {
		for _, far := range j.everything(self, out) {
			if far.Kind == reach.Pods && self.Kind == reach.Pods && far.Namespace == self.Namespace {
				continue
			}
			from, to := self, far
			if !out {
				from, to = far, self
			}
			open, doubt := j.in.Model.Open(from.Endpoint, to.Endpoint)
			if out && far.Namespace == "kube-system" { // its DNS is nothing else
				lookups := &reach.Ports{}
				lookups.Add("ANY", 53, 53)
				open = open.Without(lookups)
			}
			for _, n := range expected {
				if !slices.ContainsFunc(n.ends, func(e end) bool { return e.covers(far) }) {
					continue
				}
				if n.ports == nil {
					open = &reach.Ports{}
					break
				}
				open = open.Without(n.ports)
			}
			if !open.Empty() {
				failures = append(failures, fmt.Sprintf("%s to %s is open on %s%s: %s", from.name, to.name, open.Told(), perhaps(doubt), j.because(from, to, open, true)))
			}
		}
	}
	return failures, nil
}

// everything is all that may be at the other end: whatever the fleet, the cluster and
// the rules of the namespace itself know.
func (j *judge) everything(self end, out bool) []end {
	all := j.namespaces(func(string) bool { return true })
	for _, word := range []string{otherNamespace, ingress, apiServer, nodes, metadata} {
		ends, err := j.ends(word)
		if err == nil {
			all = append(all, ends...)
		}
	}
	if !out {
		// A node reaches the Pods that it runs, whatever a policy says.
		all = slices.DeleteFunc(all, func(e end) bool { return e.Kind == reach.Node && e.Local || e.Kind == reach.APIServer })
	}
	for _, name := range j.in.Model.Strangers(self.Namespace, !out) {
		if !slices.ContainsFunc(j.in.Ingress, func(e reach.Endpoint) bool { return e.Namespace == name }) {
			all = append(all, end{"namespace " + name, reach.PodsOf(name)})
		}
	}
	hosts, networks := j.in.Model.Outside(self.Namespace)
	if !out {
		hosts, networks = nil, j.in.Model.Inside(self.Namespace)
	}
	for _, h := range hosts {
		all = append(all, end{h, host(h)})
	}
	for _, n := range networks {
		if len(n) > 0 {
			all = append(all, end{strings.Join(n.Texts(), ", "), reach.Endpoint{Kind: reach.Address, Addresses: n}})
		}
	}
	return all // what is open outside, is open to one of the hosts or networks that rules name
}

// covers says whether an end that was named stands for another.
func (e end) covers(o end) bool {
	switch {
	case e.Kind == reach.World && o.Kind == reach.Address:
		return !o.Addresses.Overlaps(reach.Metadata)
	case e.Kind == reach.World && o.Kind == reach.Host:
		return true
	case e.Kind != o.Kind:
		return false
	case e.Kind == reach.Pods:
		return e.Namespace == o.Namespace
	case e.Kind == reach.Host:
		return reach.HostMatches(e.Names[0], o.Names[0])
	case e.Kind == reach.Address:
		return e.Addresses.Holds(o.Addresses)
	case e.Kind == reach.Node:
		return e.Local == o.Local
	}
	return true
}
