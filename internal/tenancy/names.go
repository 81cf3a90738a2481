package tenancy

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// systemFamilies are names that belong to the system, with all that begin with
// the name and a '-'. The schemas of Tenant and TenantNamespace know them too.
var systemFamilies = []string{"aether", "cilium", "flux", "kube", "kyverno", "openshift"}

// systemNames are single namespaces that clusters commonly run their own
// components in.
var systemNames = []string{
	"calico-system", "cert-manager", "default", "gatekeeper-system", "ingress-nginx",
	"istio-system", "local-path-storage", "metallb-system", "tigera-operator",
}

// Reserved says whether a namespace's name belongs to the system, whatever a
// tenant's prefix is.
func Reserved(namespace string) bool {
	family, _, _ := strings.Cut(namespace, "-")
	return slices.Contains(systemFamilies, family) || slices.Contains(systemNames, namespace)
}

// CheckName says why a tenant cannot have a namespace of this name.
func CheckName(t *v1alpha1.Tenant, namespace string) error {
	const field = "metadata.name"
	prefix := t.Prefix()
	switch {
	case Reserved(namespace):
		return errorf(field, "%q is reserved for the system; choose another name under %q", namespace, prefix)
	case !strings.HasPrefix(namespace, prefix):
		if better := prefix + namespace; len(validation.IsDNS1123Label(better)) == 0 {
			return errorf(field, "%q is not under the prefix %q of Tenant %q; call it %q", namespace, prefix, t.Name, better)
		}
		return errorf(field, "%q is not under the prefix %q of Tenant %q; begin it with the prefix", namespace, prefix, t.Name)
	case len(namespace) > validation.DNS1123LabelMaxLength:
		return errorf(field, "%q has %d characters; use at most %d", namespace, len(namespace), validation.DNS1123LabelMaxLength)
	case len(validation.IsDNS1123Label(namespace)) > 0:
		return errorf(field, "%q is no namespace's name; use lower-case letters, digits and '-', ending with a letter or digit", namespace)
	}
	return nil
}

// MutualPeers are the tenants that t names as peers and that name t too, by
// name. get returns nil for a tenant that is not there.
func MutualPeers(t *v1alpha1.Tenant, get func(name string) *v1alpha1.Tenant) []string {
	var mutual []string
	for _, peer := range t.Spec.Network.Peers {
		if peer.Tenant == t.Name {
			continue
		}
		if other := get(peer.Tenant); other != nil && Names(other, t.Name) {
			mutual = append(mutual, peer.Tenant)
		}
	}
	slices.Sort(mutual)
	return slices.Compact(mutual)
}

// Names says whether a tenant names another as its peer.
func Names(t *v1alpha1.Tenant, peer string) bool {
	return slices.ContainsFunc(t.Spec.Network.Peers, func(p v1alpha1.Peer) bool { return p.Tenant == peer })
}
