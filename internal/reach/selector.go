package reach

import (
	"maps"
	"slices"
	"strings"

	"github.com/cilium/cilium/pkg/labels"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/fields"
)

// Keys of Cilium's for what Kubernetes calls otherwise.
const (
	ciliumNamespace       = "io.kubernetes.pod.namespace"
	ciliumNamespaceLabels = "io.cilium.k8s.namespace.labels."
	// What Cilium knows of a Pod beside its labels: its service account, its cluster.
	ciliumPolicyLabels = "io.cilium.k8s.policy."
	namespaceName      = "kubernetes.io/metadata.name"
)

// Constraint is one demand of a selector on the labels of Pods, or on those of
// their namespace.
type Constraint struct {
	text string
	// namespace: it is about the labels of the namespace.
	namespace     bool
	key, operator string
	values        []string
}

// String is "namespace=acme-web", "tenant=acme", "namespace stage=prod",
// "pod app=web", "pod app NotIn a,b".
func (c Constraint) String() string { return c.text }

// name is how a constraint on a label is told.
func (c Constraint) name() string {
	switch {
	case c.namespace && c.key == namespaceName:
		return "namespace"
	case c.namespace && c.key == v1alpha1.LabelTenant:
		return "tenant"
	case c.namespace:
		return "namespace " + c.key
	}
	return "pod " + c.key
}

// is makes it a demand for one value.
func (c Constraint) is(value string) Constraint {
	c.operator, c.values = "In", []string{value}
	c.text = c.name() + "=" + value
	return c
}

// with makes it a demand by an operator.
func (c Constraint) with(operator string, values []string) Constraint {
	c.operator, c.values = operator, values
	name := c.name()
	if name == "namespace" || name == "tenant" {
		name = "namespace " + name
	}
	c.text = strings.TrimSpace(name + " " + operator + " " + strings.Join(values, ","))
	return c
}

// answer is whether something is so. A Pod of which the labels are not known may
// be like this or like that.
type answer int

const (
	no answer = iota
	maybe
	yes
)

// met says whether a Pod meets the demand.
func (c Constraint) met(e *Endpoint) answer {
	of := e.Labels
	switch {
	case c.namespace && c.key == namespaceName:
		of = map[string]string{namespaceName: e.Namespace}
	case c.namespace:
		of = e.NamespaceLabels
	case e.anyPod(), strings.HasPrefix(c.key, ciliumPolicyLabels):
		return maybe
	}
	value, has := of[c.key]
	var ok bool
	switch c.operator {
	case "In":
		ok = has && slices.Contains(c.values, value)
	case "NotIn":
		ok = !has || !slices.Contains(c.values, value)
	case "Exists":
		ok = has
	case "DoesNotExist":
		ok = !has
	default:
		return maybe // none that Kubernetes knows
	}
	if ok {
		return yes
	}
	return no
}

// all is whether a Pod meets every one of the demands.
func all(demands []Constraint, e *Endpoint) answer {
	out := yes
	for _, c := range demands {
		out = min(out, c.met(e))
	}
	return out
}

// Selector is which Pods of its namespace a policy is for.
type Selector struct {
	// Text is "" for a selector of every Pod.
	Text string
	// alternatives, of which one has to be met.
	alternatives [][]Constraint
}

// selects says whether it is for a Pod.
func (s *Selector) selects(e *Endpoint) answer {
	if s.Text == "" {
		return yes
	}
	out := no
	for _, a := range s.alternatives {
		out = max(out, all(a, e))
	}
	return out
}

// selectorOf reads the selector of a policy, with keys as name reads them.
func selectorOf(selector any, name func(key string) Constraint) *Selector {
	return &Selector{Text: selectorText(selector), alternatives: constraints([][]Constraint{nil}, selector, name)}
}

// selectorText is "" for a selector of everything.
func selectorText(selector any) string {
	m := fields.Map(selector)
	match, expressions := fields.Labels(m, "matchLabels"), fields.List(m, "matchExpressions")
	if len(match) == 0 && len(expressions) == 0 {
		return ""
	}
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(match)) {
		parts = append(parts, k+"="+match[k])
	}
	var more []string
	for _, e := range expressions {
		more = append(more, fields.Text(e, "key")+" "+fields.Text(e, "operator")+" "+strings.Join(fields.Texts(e, "values"), ","))
	}
	slices.Sort(more)
	return strings.Join(slices.Concat(parts, more), ", ")
}

// Keys as Kubernetes' selectors have them.
func podKey(key string) Constraint       { return Constraint{key: key} }
func namespaceKey(key string) Constraint { return Constraint{key: key, namespace: true} }

// ciliumKey is a key as Cilium's selectors have it: namespaces are labels of Pods.
func ciliumKey(key string) Constraint {
	key = strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(key, labels.LabelSourceK8s+":"), labels.LabelSourceAny+":"), labels.LabelSourceK8s+".")
	switch {
	case key == ciliumNamespace:
		return namespaceKey(namespaceName)
	case strings.HasPrefix(key, ciliumNamespaceLabels):
		return namespaceKey(strings.TrimPrefix(key, ciliumNamespaceLabels))
	}
	return podKey(key)
}

// maxAlternatives bounds how many selectors one with lists of values stands for.
const maxAlternatives = 64

// constraints adds a selector's demands to each alternative. A list of values is
// that many alternatives.
func constraints(alternatives [][]Constraint, selector any, name func(string) Constraint) [][]Constraint {
	add := func(values ...Constraint) {
		var out [][]Constraint
		for _, a := range alternatives {
			for _, v := range values {
				out = append(out, append(slices.Clone(a), v))
			}
		}
		alternatives = out
	}
	match := fields.Labels(selector, "matchLabels")
	for _, key := range slices.Sorted(maps.Keys(match)) {
		add(name(key).is(match[key]))
	}
	for _, e := range fields.List(selector, "matchExpressions") {
		key, operator, values := name(fields.Text(e, "key")), fields.Text(e, "operator"), fields.Texts(e, "values")
		slices.Sort(values)
		values = slices.Compact(values)
		switch {
		case operator == "In" && len(values) > 0 && len(values)*len(alternatives) <= maxAlternatives:
			var each []Constraint
			for _, v := range values {
				each = append(each, key.is(v))
			}
			add(each...)
		case operator == "Exists" && key.name() == "namespace": // every Pod has one
		default:
			add(key.with(operator, values))
		}
	}
	return alternatives
}

func podPeers(alternatives [][]Constraint) []Peer {
	var out []Peer
	for _, a := range alternatives {
		slices.SortFunc(a, func(x, y Constraint) int { return strings.Compare(x.text, y.text) })
		a = slices.CompactFunc(a, func(x, y Constraint) bool { return x.text == y.text })
		out = append(out, Peer{Kind: PeerPods, Constraints: a})
	}
	return out
}
