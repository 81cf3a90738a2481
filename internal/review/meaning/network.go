package meaning

import (
	"slices"
	"strings"

	"github.com/aetherplatform/aether/internal/prose"
	"github.com/aetherplatform/aether/internal/reach"
	"github.com/aetherplatform/aether/internal/review"
)

// network finds who can now reach what. Policies add up: what one opens is open.
func (w *world) network(f *facts, s *scope) {
	if s.namespace == "" || s.gone() || s.same(classNetwork) {
		return
	}
	base, head := readPolicies(s.namespace, s.base[classNetwork]), readPolicies(s.namespace, s.head[classNetwork])
	if s.new || w.unreadable[s.tenant] && s.empty(s.base) {
		base = reach.Closed() // as every namespace is before anything is opened
	}
	for _, way := range []struct {
		in         bool
		word       string
		base, head *reach.Traffic
	}{{true, "ingress", base.Ingress, head.Ingress}, {false, "egress", base.Egress, head.Egress}} {
		place := s.place(classNetwork)
		one := fact{tenant: s.tenant, scope: s.scopeKey, place: place}
		switch {
		case way.base.Closed() && !way.head.Closed():
			one.risk, one.category = review.High, review.IsolationEroded
			one.text = "Nothing refuses " + way.word + " of " + markWhere + " by default any more"
			if s.new {
				one.text = "Nothing refuses " + way.word + " of " + markWhere + ", which " + markIs + " new, by default"
			}
			one.detail = []string{"A namespace without a default-deny policy is open to everything, whatever its other policies allow"}
			f.add(one)
			continue
		case !way.base.Closed() && way.head.Closed():
			one.risk, one.category = review.Info, review.NetworkClosed
			one.text = "All " + way.word + " of " + markWhere + " is now refused but what is opened"
			f.add(one)
			continue
		case !way.head.Closed():
			continue // open before and after
		}
		allow := [2]*reach.Openings{way.base.Allow(), way.head.Allow()}
		w.opened(f, s, way.in, allow[0], allow[1], false)
		w.opened(f, s, way.in, allow[1], allow[0], true)
		deny := [2]*reach.Openings{way.base.Deny(), way.head.Deny()}
		for _, what := range deny[0].Beyond(deny[1]) {
			one := one
			one.risk, one.category = review.High, review.IsolationEroded
			one.text = markWhere + " no longer refuses " + way.word + " " + map[bool]string{true: "from ", false: "to "}[way.in] + w.describe(s, what.Peer).text + " on " + what.Ports.String()
			f.add(one)
		}
		for _, what := range deny[1].Beyond(deny[0]) {
			one := one
			one.risk, one.category = review.Info, review.NetworkClosed
			one.text = markWhere + " now refuses " + way.word + " " + map[bool]string{true: "from ", false: "to "}[way.in] + w.describe(s, what.Peer).text + " on " + what.Ports.String()
			f.add(one)
		}
	}
}

// opened adds a fact for each peer that head allows and base does not; with
// closed, the other way round.
func (w *world) opened(f *facts, s *scope, in bool, base, head *reach.Openings, closed bool) {
	for _, what := range head.Beyond(base) {
		d := w.describe(s, what.Peer)
		one := fact{
			risk: d.risk, category: review.NetworkOpened, who: d.text, noun: d.noun,
			tenant: s.tenant, scope: s.scopeKey, place: s.place(classNetwork),
		}
		subject := markWhere
		if what.Peer.Pods != "" {
			subject = "Pods (" + prose.Plain(what.Peer.Pods) + ") of " + markWhere
		}
		can := " can now "
		if closed {
			can, one.risk, one.category = " can no longer ", review.Info, review.NetworkClosed
		} else if s.new {
			if one.risk = lower(one.risk); one.risk == review.Info {
				continue // itself, its tenant and DNS: what every new namespace is for
			}
		}
		verb := "reach " + markWho
		if in {
			verb = "be reached by " + markWho
		}
		one.text = subject + can + verb + " on " + what.Ports.String()
		if what.Peer.L7 != "" {
			one.text += ", for some requests"
		}
		f.add(one)
	}
}

func lower(r review.Risk) review.Risk {
	switch r {
	case review.High:
		return review.Medium
	case review.Medium:
		return review.Low
	}
	return review.Info
}

// description of a peer, for people.
type description struct {
	text, noun string
	risk       review.Risk
	internet   bool
}

func (w *world) describe(s *scope, p reach.Peer) description {
	switch p.Kind {
	case reach.PeerAll:
		return description{text: "everyone", noun: "peers", risk: review.High}
	case reach.PeerEntity:
		d := description{text: "the cluster's " + prose.Plain(p.Text), noun: "peers", risk: review.Medium}
		switch p.Text {
		case "host", "remote-node", "kube-apiserver", "cluster":
			d.risk = review.High
		case "ingress":
			d.text = "the ingress controller"
		case "health":
			d.risk = review.Low
		}
		if p.Text == "cluster" {
			d.text = "everything in the cluster"
		}
		return d
	case reach.PeerNetwork:
		d := description{text: "networks " + prose.List(p.Networks.Texts()), noun: "networks", risk: review.Medium}
		if len(p.Networks) == 1 {
			d.text = "network " + p.Networks.Texts()[0]
		}
		if p.Networks.Internet() {
			d = description{text: "the internet", noun: "networks", risk: review.High, internet: true}
		}
		if p.Networks.Overlaps(reach.Metadata) {
			d.risk, d.internet = review.High, false
			d.text += ", the clouds' metadata service (169.254.169.254) included"
		}
		return d
	case reach.PeerHost:
		d := description{text: prose.Plain(p.Text), noun: "hosts", risk: review.Low}
		if strings.Contains(p.Text, "*") {
			d.risk = review.Medium
			d.text = "any host of " + d.text
			if suffix := strings.TrimLeft(p.Text, "*."); !strings.Contains(suffix, ".") {
				d.risk = review.High
			}
		}
		if strings.Trim(p.Text, "*") == "" {
			d.text = "the internet, by any host name"
		}
		return d
	case reach.PeerOpaque:
		return description{text: prose.Plain(p.Text), noun: "peers", risk: review.High}
	}
	return w.describePods(s, p)
}

func (w *world) describePods(s *scope, p reach.Peer) description {
	var namespace, tenant string
	var others, labels []string
	for _, c := range p.Constraints {
		switch key, value, _ := strings.Cut(c.String(), "="); key {
		case "namespace":
			namespace = value
		case "tenant":
			tenant = value
		default:
			if strings.HasPrefix(c.String(), "namespace ") {
				labels = append(labels, prose.Plain(strings.TrimPrefix(c.String(), "namespace ")))
			} else {
				others = append(others, prose.Plain(strings.TrimPrefix(c.String(), "pod ")))
			}
		}
	}
	pods := ""
	if len(others) > 0 {
		pods = "Pods (" + prose.List(others) + ") of "
	}
	if tenant == "" && namespace != "" {
		tenant = w.owners[namespace]
		if namespace == s.namespace {
			tenant = s.tenant
		}
	}
	foreign := review.High
	if tenant == s.tenant {
		foreign = review.Low
	}
	switch {
	case namespace == s.namespace && tenant == s.tenant:
		return description{text: pods + "its own Pods", noun: "peers", risk: review.Low}
	case namespace != "" && tenant == s.tenant:
		return description{text: pods + "namespace " + prose.Plain(namespace) + " of its own tenant", noun: "namespaces of their own tenants", risk: review.Low}
	case namespace != "" && tenant != "":
		return description{text: pods + "namespace " + prose.Plain(namespace) + " of tenant " + prose.Plain(tenant), noun: "namespaces of other tenants", risk: foreign}
	case namespace != "" && w.controllers[namespace]:
		return description{text: pods + "the ingress controller in " + prose.Plain(namespace), noun: "ingress controllers", risk: review.Medium}
	case namespace == "kube-system" && slices.Equal(others, []string{"k8s-app=kube-dns"}):
		return description{text: "the cluster's DNS", noun: "peers", risk: review.Info}
	case namespace != "":
		return description{text: pods + "namespace " + prose.Plain(namespace), noun: "namespaces", risk: review.Medium}
	case tenant != "" && tenant == s.tenant:
		return description{text: pods + "every namespace of its own tenant", noun: "peers", risk: review.Low}
	case tenant != "":
		return description{text: pods + "every namespace of tenant " + prose.Plain(tenant), noun: "other tenants", risk: review.High}
	case len(labels) > 0:
		return description{text: pods + "every namespace with " + prose.List(labels), noun: "peers", risk: review.High}
	}
	return description{text: pods + "every namespace of the cluster", noun: "peers", risk: review.High}
}

// readPolicies reads the network policies of a scope.
func readPolicies(namespace string, objects []*review.Rendered) *reach.Policies {
	policies := make([]reach.Object, len(objects))
	for i, o := range objects {
		policies[i] = reach.Object{Policy: reach.Policy{Kind: o.Kind, Namespace: namespace, Name: o.Name}, Content: o.Content}
	}
	return reach.Read(namespace, policies)
}
