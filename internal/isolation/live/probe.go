package live

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/aetherplatform/aether/internal/isolation"
)

// dial is one connection for a check.
type dial struct {
	check  *isolation.Check
	from   *corev1.Pod
	verb   string
	target string
	passed bool
}

// attempts is how often what should work is tried: a policy may still be on its way
// to a node, or a name to be looked up for the first time.
const attempts = 4

// probe makes every connection of a plan, and says of each what was seen.
func (r *run) probe(ctx context.Context, plan *isolation.Plan, f *facts) (map[*isolation.Check]isolation.Seen, error) {
	listens, err := r.loopback(ctx, plan)
	if err != nil {
		return nil, err
	}
	var dials []*dial
	untried := map[*isolation.Check]string{}
	for i, c := range plan.Checks {
		switch from := r.pods[c.From.Name]; {
		case c.From.Unprobed != "" || c.To.Unprobed != "" || !speaks(c.Port):
		case len(from) == 0:
		default:
			some, why := r.dials(c, from, i, f)
			if why != "" {
				untried[c] = why
			}
			dials = append(dials, some...)
		}
	}
	r.say("%d connections to try", len(dials))
	begun := r.Now()
	left := dials
	for n := range attempts {
		if err := r.try(ctx, left); err != nil {
			return nil, err
		}
		var again []*dial
		for _, d := range left {
			if d.check.Verdict.Allowed && !d.check.Verdict.Doubt && !d.passed {
				again = append(again, d)
			}
		}
		// What nobody has reached at all is not likely to come to life.
		again = alive(again, dials, listens)
		if left = again; len(left) == 0 || n == attempts-1 {
			break
		}
		r.say("%d that should work did not; trying again", len(left))
		if err := pause(ctx, time.Second); err != nil {
			return nil, err
		}
	}
	r.say("tried in %s", r.Now().Sub(begun).Round(100*time.Millisecond))
	return seen(dials, untried, listens), nil
}

// alive keeps what is known to answer.
func alive(some, all []*dial, listens map[string]bool) []*dial {
	answered := answering(all, listens)
	var out []*dial
	for _, d := range some {
		if answered[d.key()] {
			out = append(out, d)
		}
	}
	return out
}

// answering are the targets that answered anyone.
func answering(all []*dial, listens map[string]bool) map[string]bool {
	answered := map[string]bool{}
	for target := range listens {
		answered[target] = true
	}
	for _, d := range all {
		if d.passed {
			answered[d.key()] = true
		}
	}
	return answered
}

func (d *dial) key() string { return d.verb + " " + d.target }

// seen adds up the connections of each check. That something was refused counts only
// where something answers.
func seen(dials []*dial, untried map[*isolation.Check]string, listens map[string]bool) map[*isolation.Check]isolation.Seen {
	answered := answering(dials, listens)
	out := map[*isolation.Check]isolation.Seen{}
	for c, why := range untried {
		out[c] = isolation.Seen{Unproven: why}
	}
	for _, d := range dials {
		s := out[d.check]
		s.Tried = true
		s.All++
		switch {
		case d.passed:
			s.Passed++
			s.Open = true
		case !answered[d.key()]:
			s.Unproven = "nothing answers at " + strings.TrimPrefix(d.target, "tcp://") + ", not even those who may reach it"
		}
		out[d.check] = s
	}
	for c, s := range out {
		if s.Passed > 0 && s.Unproven != "" && !c.Verdict.Allowed {
			s.Unproven = "" // it is open, whatever else there is
			out[c] = s
		}
	}
	return out
}

// dials is the connections that tell about a check: from one Pod, which takes turns,
// to each of the target's. Outside, all Pods of nobody's namespace are asked, since
// they show what answers.
func (r *run) dials(c *isolation.Check, from []*corev1.Pod, turn int, f *facts) (out []*dial, why string) {
	sources := from[turn%len(from):][:1]
	if c.From.Kind == isolation.Other && !c.To.Pods() {
		sources = from
	}
	for _, source := range sources {
		out = append(out, r.dialsFrom(c, source, f)...)
	}
	if len(out) == 0 {
		return nil, fmt.Sprintf("there is nothing to connect to: %s", c.To.Name)
	}
	return out, ""
}

func (r *run) dialsFrom(c *isolation.Check, source *corev1.Pod, f *facts) (out []*dial) {
	scheme := strings.ToLower(c.Port.Protocol) + "://"
	port := strconv.Itoa(c.Port.Number)
	add := func(verb, target string) {
		out = append(out, &dial{check: c, from: source, verb: verb, target: target})
	}
	switch c.To.Kind {
	case isolation.Namespace, isolation.Other, isolation.Ingress:
		for _, p := range r.pods[c.To.Name] {
			if p.UID != source.UID { // no policy is between a Pod and itself
				add("dial", scheme+net.JoinHostPort(p.Status.PodIP, port))
			}
		}
	case isolation.DNS:
		if c.Port.Protocol == "UDP" {
			add("resolve", "kubernetes.default.svc")
		} else if f.dns != "" {
			add("dial", scheme+net.JoinHostPort(f.dns, port))
		}
	case isolation.Host: // by its name, so that it is looked up as an application would
		add("dial", scheme+net.JoinHostPort(c.To.Name, port))
	case isolation.Address, isolation.Metadata:
		add("dial", scheme+net.JoinHostPort(c.To.Endpoint.Addresses[0].From.String(), port))
	case isolation.APIServer:
		for _, a := range f.APIServers {
			if int(a.Port()) == c.Port.Number {
				add("dial", scheme+a.String())
			}
		}
	case isolation.Node:
		// Of many nodes, those on which Pods of ours are: of each there is one that shows
		// whether it answers.
		for _, name := range r.nodes() {
			if address, ok := f.nodes[name]; ok && (name == source.Spec.NodeName) == c.To.Endpoint.Local {
				add("dial", scheme+netip.AddrPortFrom(address, uint16(c.Port.Number)).String())
			}
		}
	}
	return out
}

// nodes are those on which Pods of ours run.
func (r *run) nodes() []string {
	names := map[string]bool{}
	for _, pods := range r.pods {
		for _, p := range pods {
			names[p.Spec.NodeName] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// loopback has every Pod reach itself, which no policy is about: those that answer
// then are there to be refused.
func (r *run) loopback(ctx context.Context, plan *isolation.Plan) (map[string]bool, error) {
	type one struct {
		pod   *corev1.Pod
		ports []string
	}
	var all []one
	for name, pods := range r.pods {
		ports := serves(plan, name)
		for _, p := range pods {
			all = append(all, one{p, ports})
		}
	}
	listens := map[string]bool{}
	var mu sync.Mutex
	err := each(ctx, all, func(o one) error {
		var targets, keys []string
		for _, port := range o.ports {
			protocol, number, _ := strings.Cut(port, ":")
			targets = append(targets, protocol+"://"+net.JoinHostPort("127.0.0.1", number))
			keys = append(keys, "dial "+protocol+"://"+net.JoinHostPort(o.pod.Status.PodIP, number))
		}
		answers, err := r.ask(ctx, o.pod, "dial", targets)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		for i, a := range answers {
			if a.OK && a.Answer == o.pod.Namespace {
				listens[keys[i]] = true
			}
		}
		return nil
	})
	return listens, err
}

// try makes connections, a request for each Pod that makes them.
func (r *run) try(ctx context.Context, dials []*dial) error {
	type batch struct {
		pod   *corev1.Pod
		verb  string
		dials []*dial
	}
	var batches []*batch
	type key struct {
		pod  *corev1.Pod
		verb string
	}
	by := map[key]*batch{}
	for _, d := range dials {
		k := key{d.from, d.verb}
		if by[k] == nil {
			by[k] = &batch{pod: d.from, verb: d.verb}
			batches = append(batches, by[k])
		}
		by[k].dials = append(by[k].dials, d)
	}
	return each(ctx, batches, func(b *batch) error {
		targets := make([]string, len(b.dials))
		for i, d := range b.dials {
			targets[i] = d.target
		}
		answers, err := r.ask(ctx, b.pod, b.verb, targets)
		if err != nil {
			return err
		}
		for i, a := range answers {
			b.dials[i].passed = b.dials[i].passed || b.dials[i].through(&a)
		}
		return nil
	})
}

// through says whether an answer means that the connection passed.
func (d *dial) through(a *answer) bool {
	if d.verb == "resolve" {
		return a.OK || a.Result == "notfound"
	}
	if d.check.To.Pods() && d.check.Verdict.Allowed {
		// What has to work has to be answered, and by whom it was asked.
		return a.OK && a.Answer == d.check.To.Endpoint.Namespace
	}
	return a.passed()
}
