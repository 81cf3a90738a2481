package explain

import (
	"fmt"
	"slices"
	"strings"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

const everyPort = "every port"

// ingress is what may reach the namespace.
func ingress(f *facts) []Connection {
	list := []Connection{{Peer: "Pods of this namespace", Ports: everyPort, From: "always"}}
	for i, rule := range f.namespace.Spec.Network.Ingress {
		for _, from := range rule.From {
			c := Connection{Ports: ports(rule.Ports), From: fmt.Sprintf("network.ingress[%d]", i)}
			switch {
			case from.IngressController:
				c.Peer = "the ingress controller"
				if f.profile != nil {
					c.Peer += " in namespace " + f.profile.Spec.IngressController.Namespace
				}
			case from.CIDR != "":
				c.Peer = from.CIDR
			default:
				c.Peer = f.peer(from.Tenant, from.Namespace)
				c.Blocked = f.blocked(from.Tenant, from.Namespace, f.letsOut, "has no egress rule to "+f.namespace.Name)
			}
			list = append(list, c)
		}
	}
	return list
}

// egress is what the namespace may reach.
func egress(f *facts) []Connection {
	list := []Connection{
		{Peer: "Pods of this namespace", Ports: everyPort, From: "always"},
		{Peer: "the cluster's DNS", Ports: "53/UDP, 53/TCP", From: "always"},
	}
	add := func(rules []v1alpha1.EgressRule, where string) {
		for i, rule := range rules {
			for _, to := range rule.To {
				c := Connection{Ports: ports(rule.Ports), From: fmt.Sprintf("%s[%d]", where, i)}
				switch {
				case to.FQDN != "":
					c.Peer = to.FQDN
				case to.CIDR != "":
					c.Peer = to.CIDR
				default:
					c.Peer = f.peer(to.Tenant, to.Namespace)
					c.Blocked = f.blocked(to.Tenant, to.Namespace, f.letsIn, "has no ingress rule from "+f.namespace.Name)
				}
				list = append(list, c)
			}
		}
	}
	add(f.namespace.Spec.Network.Egress, "network.egress")
	if f.tenant != nil {
		add(f.tenant.Spec.Network.Egress, "Tenant "+f.tenant.Name+": network.egress")
	}
	return list
}

func (f *facts) peer(tenant, namespace string) string {
	if tenant == "" || tenant == f.namespace.Spec.Tenant {
		return "namespace " + namespace
	}
	return fmt.Sprintf("namespace %s of tenant %s", namespace, tenant)
}

// blocked says what still refuses a connection with another namespace: no such
// namespace, a peering that only one side wants, or no rule on the other side.
func (f *facts) blocked(tenant, namespace string, opens func(*v1alpha1.TenantNamespace) bool, otherwise string) string {
	if tenant != "" && tenant != f.namespace.Spec.Tenant && f.tenant != nil {
		other := f.tenants[tenant]
		switch {
		case !peers(f.tenant, tenant):
			return fmt.Sprintf("tenant %s does not name %s in network.peers", f.tenant.Name, tenant)
		case other == nil:
			return fmt.Sprintf("there is no tenant %s", tenant)
		case !peers(other, f.tenant.Name):
			return fmt.Sprintf("tenant %s does not name %s in network.peers", tenant, f.tenant.Name)
		}
	}
	other := f.namespaces[namespace]
	switch {
	case other == nil:
		return "there is no namespace " + namespace
	case !opens(other):
		return namespace + " " + otherwise
	default:
		return ""
	}
}

func peers(t *v1alpha1.Tenant, name string) bool {
	return slices.ContainsFunc(t.Spec.Network.Peers, func(p v1alpha1.Peer) bool { return p.Tenant == name })
}

// letsIn says whether another namespace has a rule for ingress from this one.
func (f *facts) letsIn(other *v1alpha1.TenantNamespace) bool {
	return slices.ContainsFunc(other.Spec.Network.Ingress, func(rule v1alpha1.IngressRule) bool {
		return slices.ContainsFunc(rule.From, func(s v1alpha1.IngressSource) bool { return s.Namespace == f.namespace.Name })
	})
}

// letsOut says whether another namespace, or its tenant, has a rule for egress to
// this one.
func (f *facts) letsOut(other *v1alpha1.TenantNamespace) bool {
	rules := other.Spec.Network.Egress
	if t := f.tenants[other.Spec.Tenant]; t != nil {
		rules = slices.Concat(rules, t.Spec.Network.Egress)
	}
	return slices.ContainsFunc(rules, func(rule v1alpha1.EgressRule) bool {
		return slices.ContainsFunc(rule.To, func(d v1alpha1.EgressDestination) bool { return d.Namespace == f.namespace.Name })
	})
}

func ports(list []v1alpha1.Port) string {
	if len(list) == 0 {
		return everyPort
	}
	texts := make([]string, len(list))
	for i, p := range list {
		texts[i] = fmt.Sprintf("%d/%s", p.Port, p.Protocol)
		if p.EndPort > p.Port {
			texts[i] = fmt.Sprintf("%d-%d/%s", p.Port, p.EndPort, p.Protocol)
		}
	}
	return strings.Join(texts, ", ")
}
