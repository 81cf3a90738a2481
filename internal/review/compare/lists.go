package compare

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/review"
)

// listKind is how the items of a list are told apart.
type listKind int

const (
	// ordered: the order says something. It is what a list is that no table names.
	ordered listKind = iota
	// set: each item is a value, whose order and number say nothing.
	set
	// keyed: items are told apart by fields, as the schema of the kind says.
	keyed
	// unordered: items have no name, and their order says nothing: rules that add up.
	unordered
)

// list is what is known of a list.
type list struct {
	kind listKind
	keys []string
	// defaults of fields that items may leave out.
	defaults map[string]any
}

func by(keys ...string) list { return list{kind: keyed, keys: keys} }

var (
	values = list{kind: set}
	rules  = list{kind: unordered}
	// A port without a protocol is TCP, to Kubernetes and to Cilium's rules for HTTP.
	ports = list{kind: unordered, defaults: map[string]any{"protocol": "TCP"}}
)

// kinds is the lists of the kinds that Aether reads and that Contain Base makes, by
// the path of the list without items. What the schemas of Kubernetes call atomic
// and what nonetheless only adds up, such as the rules of a Role, is unordered
// here: its order changes nothing that anyone could notice.
var kinds = map[string]map[string]list{
	"rbac.authorization.k8s.io/Role":               roleRules("rules"),
	"rbac.authorization.k8s.io/RoleBinding":        {"subjects": by("kind", "apiGroup", "namespace", "name")},
	"rbac.authorization.k8s.io/ClusterRole":        roleRules("rules"),
	"rbac.authorization.k8s.io/ClusterRoleBinding": {"subjects": by("kind", "apiGroup", "namespace", "name")},
	"networking.k8s.io/NetworkPolicy": {
		"spec.policyTypes":                         values,
		"spec.podSelector.matchExpressions":        rules,
		"spec.podSelector.matchExpressions.values": values,
		"spec.ingress":                             rules,
		"spec.ingress.from":                        rules,
		"spec.ingress.from.ipBlock.except":         values,
		"spec.ingress.ports":                       ports,
		"spec.egress":                              rules,
		"spec.egress.to":                           rules,
		"spec.egress.to.ipBlock.except":            values,
		"spec.egress.ports":                        ports,
	},
	"cilium.io/CiliumNetworkPolicy": ciliumRules(),
	"/LimitRange":                   {"spec.limits": by("type")},
	"/ResourceQuota":                {"spec.scopes": values, "spec.scopeSelector.matchExpressions": rules},
	"/ServiceAccount":               {"secrets": by("name"), "imagePullSecrets": by("name")},
	"/Service":                      {"spec.ports": {kind: keyed, keys: []string{"port", "protocol"}, defaults: map[string]any{"protocol": "TCP"}}},
	"/Namespace":                    {"spec.finalizers": values},
	"kustomize.toolkit.fluxcd.io/Kustomization": {
		"spec.healthChecks": by("apiVersion", "kind", "namespace", "name"),
		"spec.dependsOn":    by("namespace", "name"),
	},
	v1alpha1.GroupVersion.Group + "/" + v1alpha1.KindTenant: {
		"spec.owners":              by("kind", "namespace", "name", "role"),
		"spec.namespaces.profiles": values,
		"spec.network.egress":      rules,
		"spec.network.egress.to":   rules,
		"spec.network.egress.ports": {
			kind: unordered, defaults: map[string]any{"protocol": "TCP"},
		},
		"spec.network.peers":   by("tenant"),
		"spec.registries":      values,
		"spec.hostnames":       values,
		"spec.storageClasses":  values,
		"spec.priorityClasses": values,
	},
	v1alpha1.GroupVersion.Group + "/" + v1alpha1.KindTenantNamespace: {
		"spec.access":                by("kind", "namespace", "name", "role"),
		"spec.network.ingress":       rules,
		"spec.network.ingress.from":  rules,
		"spec.network.ingress.ports": ports,
		"spec.network.egress":        rules,
		"spec.network.egress.to":     rules,
		"spec.network.egress.ports":  ports,
		"spec.secrets":               by("name"),
		"spec.clusters":              values,
		"spec.overrides.limits":      by("type"),
	},
	v1alpha1.GroupVersion.Group + "/" + v1alpha1.KindWorkloadCluster: {
		"spec.nodePools": by("name"),
		"spec.endpoint.public.authorizedNetworks": values,
	},
}

// roleRules is the lists of RBAC rules at a path.
func roleRules(path string) map[string]list {
	return map[string]list{
		path:                      by("apiGroups", "resources", "resourceNames", "nonResourceURLs"),
		path + ".apiGroups":       values,
		path + ".resources":       values,
		path + ".resourceNames":   values,
		path + ".nonResourceURLs": values,
		path + ".verbs":           values,
	}
}

// ciliumRules is the lists of a CiliumNetworkPolicy: rules add up, and so do the
// peers and the ports within a rule.
func ciliumRules() map[string]list {
	out := map[string]list{}
	for _, direction := range []string{"ingress", "ingressDeny", "egress", "egressDeny"} {
		rule := "spec." + direction
		out[rule] = rules
		for _, peers := range []string{"fromEndpoints", "toEndpoints", "fromCIDRSet", "toCIDRSet", "toFQDNs", "toServices", "fromNodes", "toNodes"} {
			out[rule+"."+peers] = rules
			out[rule+"."+peers+".matchExpressions"] = rules
			out[rule+"."+peers+".matchExpressions.values"] = values
			out[rule+"."+peers+".except"] = values
		}
		for _, peers := range []string{"fromCIDR", "toCIDR", "fromEntities", "toEntities"} {
			out[rule+"."+peers] = values
		}
		out[rule+".toPorts"] = rules
		out[rule+".toPorts.ports"] = list{kind: unordered}
		out[rule+".toPorts.rules.dns"] = rules
		out[rule+".toPorts.rules.http"] = rules
		out[rule+".icmps"] = rules
		out[rule+".icmps.fields"] = rules
	}
	return out
}

// anywhere is the lists of Pod templates, and what every kind has.
var anywhere = map[string]list{
	"metadata.finalizers": values,
	"status.conditions":   by("type"),
}

// podLists is the lists of a Pod's spec.
var podLists = map[string]list{
	"containers":                  by("name"),
	"initContainers":              by("name"),
	"volumes":                     by("name"),
	"imagePullSecrets":            by("name"),
	"hostAliases":                 by("ip"),
	"containers.env":              by("name"),
	"containers.ports":            {kind: keyed, keys: []string{"containerPort", "protocol"}, defaults: map[string]any{"protocol": "TCP"}},
	"containers.volumeMounts":     by("mountPath"),
	"initContainers.env":          by("name"),
	"initContainers.ports":        {kind: keyed, keys: []string{"containerPort", "protocol"}, defaults: map[string]any{"protocol": "TCP"}},
	"initContainers.volumeMounts": by("mountPath"),
	"containers.securityContext.capabilities.add":      values,
	"containers.securityContext.capabilities.drop":     values,
	"initContainers.securityContext.capabilities.add":  values,
	"initContainers.securityContext.capabilities.drop": values,
}

// podSpecs is where the kinds that make Pods have their spec.
var podSpecs = map[string]string{
	"/Pod":             "spec",
	"apps/Deployment":  "spec.template.spec",
	"apps/DaemonSet":   "spec.template.spec",
	"apps/StatefulSet": "spec.template.spec",
	"batch/Job":        "spec.template.spec",
	"batch/CronJob":    "spec.jobTemplate.spec.template.spec",
}

// listsOf is what is known of the lists of an object.
func listsOf(o review.Object) map[string]list {
	kind := groupOf(o.APIVersion) + "/" + o.Kind
	out := maps.Clone(anywhere)
	maps.Copy(out, kinds[kind])
	if spec, ok := podSpecs[kind]; ok {
		for path, l := range podLists {
			out[spec+"."+path] = l
		}
	}
	return out
}

// complete is an item with its defaults.
func (l list) complete(item any) any {
	m, ok := item.(map[string]any)
	if !ok || len(l.defaults) == 0 {
		return item
	}
	m = maps.Clone(m)
	for k, v := range l.defaults {
		if m[k] == nil {
			m[k] = v
		}
	}
	return m
}

// key names an item for a person: "kind=User,name=dev@example.com".
func (l list) key(item any) string {
	m, _ := l.complete(item).(map[string]any)
	var parts []string
	for _, k := range l.keys {
		switch v := m[k].(type) {
		case nil:
		case []any:
			texts := make([]string, len(v))
			for i := range v {
				texts[i] = fmt.Sprint(v[i])
				if texts[i] == "" {
					texts[i] = `""`
				}
			}
			slices.Sort(texts)
			parts = append(parts, k+"="+strings.Join(slices.Compact(texts), ","))
		default:
			parts = append(parts, fmt.Sprintf("%s=%v", k, v))
		}
	}
	return strings.Join(parts, ",")
}

// unique says whether the keys tell all items apart.
func unique(l list, items []any) bool {
	seen := map[string]bool{}
	for _, item := range items {
		key := l.key(item)
		if seen[key] {
			return false
		}
		seen[key] = true
	}
	return true
}

// quantityFields hold quantities by name, wherever they are.
var quantityFields = []string{
	"hard", "requests", "limits", "default", "defaultRequest", "max", "min", "maxLimitRequestRatio", "quota", "capacity",
}

// isQuantity says whether a field holds a quantity: one that is in a map of such.
// What people write freely is none.
func isQuantity(pattern string) bool {
	top, _, _ := strings.Cut(pattern, ".")
	if top != "spec" {
		return false
	}
	for _, name := range quantityFields {
		if strings.Contains(pattern, "."+name+".") {
			return true
		}
	}
	return false
}
