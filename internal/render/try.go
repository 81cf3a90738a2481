package render

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// try makes the Cilium policies of a template for namespaces that nobody has, so
// that a component which Cilium refuses is an error of the profile, on the pull
// request that brings it, and not of every namespace. What depends on more than
// these namespaces have is found when a namespace is rendered.
func (t *Template) try() error {
	for _, in := range t.samples() {
		scope, err := t.view(in)
		if err != nil {
			continue // the profile has no size yet, say: nothing can be rendered either
		}
		r := &run{Inputs: in, writer: writer{scope: scope}}
		for _, o := range t.objects {
			if !o.isCiliumPolicy() {
				continue
			}
			var refused *refusedError
			if err := r.object(o); errors.As(err, &refused) {
				return fmt.Errorf("%s: %s %q: %w", o.file, o.kind, o.name, refused.err)
			}
		}
	}
	return nil
}

// refusedError is Cilium's, of an object of a component.
type refusedError struct {
	file string
	err  error
}

func (e *refusedError) Error() string { return e.file + ": " + e.err.Error() }
func (e *refusedError) Unwrap() error { return e.err }

// samples are a namespace that asks for nothing and one that asks for everything.
func (t *Template) samples() []Inputs {
	sizes := slices.Sorted(maps.Keys(t.values.sizes))
	if len(sizes) == 0 {
		return nil
	}
	user := v1alpha1.Subject{Kind: "User", Name: "sample"}
	tenant := &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "sample"}}
	plain := &v1alpha1.TenantNamespace{ObjectMeta: metav1.ObjectMeta{Name: "sample-plain"}}
	plain.Spec.Tenant, plain.Spec.Profile, plain.Spec.Size = tenant.Name, t.profile.Name, sizes[0]

	full := plain.DeepCopy()
	full.Name = "sample-full"
	for _, role := range slices.Sorted(maps.Keys(t.values.roles)) {
		full.Spec.Access = append(full.Spec.Access, v1alpha1.Access{Subject: user, Role: v1alpha1.Role(role)})
	}
	port := []v1alpha1.Port{{Port: 443}}
	full.Spec.Network = v1alpha1.NamespaceNetwork{
		Ingress: []v1alpha1.IngressRule{{Ports: port, From: []v1alpha1.IngressSource{
			{IngressController: true}, {Namespace: "sample-plain"}, {CIDR: "203.0.113.0/24"},
		}}},
		Egress: []v1alpha1.EgressRule{{Ports: port, To: []v1alpha1.EgressDestination{
			{Namespace: "sample-plain"}, {CIDR: "203.0.113.0/24"}, {FQDN: "sample.example.com"},
		}}},
	}
	full.Spec.Secrets = []v1alpha1.NamespaceSecret{{Name: "sample", SecretSource: v1alpha1.SecretSource{Path: "sample"}}}
	full.Spec.GitOps = &v1alpha1.GitOps{URL: "https://git.example.com/sample.git", SecretName: "sample"}
	return []Inputs{{Tenant: tenant, Namespace: plain}, {Tenant: tenant, Namespace: full}}
}
