package render

import (
	"encoding/json"
	"os"
	"reflect"
	"testing"

	ciliumv2 "github.com/cilium/cilium/pkg/k8s/apis/cilium.io/v2"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// everything is the example with every kind of network rule, by both profiles.
func everything(t *testing.T) []*unstructured.Unstructured {
	in := example(t)
	in.Tenant.Spec.Network.Egress = []v1alpha1.EgressRule{{To: []v1alpha1.EgressDestination{{CIDR: "0.0.0.0/0"}, {FQDN: "*.example.com"}}}}
	in.Namespace.Spec.Network.Ingress = append(in.Namespace.Spec.Network.Ingress, v1alpha1.IngressRule{
		From:  []v1alpha1.IngressSource{{CIDR: "::/0"}},
		Ports: []v1alpha1.Port{{Port: 8000, EndPort: 8100, Protocol: "SCTP"}},
	})
	in.Namespace.Spec.Access = append(in.Namespace.Spec.Access, v1alpha1.Access{Subject: v1alpha1.Subject{Kind: "ServiceAccount", Name: "ci", Namespace: "acme-ci"}, Role: "oncall"})
	return append(mustRender(t, mustCompile(t, "profiles/default"), in), mustRender(t, mustCompile(t, "profiles/restricted"), in)...)
}

func TestEveryObjectHasOnlyFieldsThatItsTypeHas(t *testing.T) {
	types := map[string]any{
		"Namespace": corev1.Namespace{}, "ResourceQuota": corev1.ResourceQuota{}, "LimitRange": corev1.LimitRange{}, "ServiceAccount": corev1.ServiceAccount{},
		"NetworkPolicy": networkingv1.NetworkPolicy{}, "Role": rbacv1.Role{}, "RoleBinding": rbacv1.RoleBinding{},
		"GitRepository": sourcev1.GitRepository{}, "Kustomization": kustomizev1.Kustomization{}, "CiliumNetworkPolicy": ciliumv2.CiliumNetworkPolicy{},
	}
	for _, o := range everything(t) {
		typed, ok := types[o.GetKind()]
		if !ok {
			t.Errorf("%s: no type to hold it against", o.GetKind())
			continue
		}
		data, err := json.Marshal(o.Object)
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.UnmarshalStrict(data, reflect.New(reflect.TypeOf(typed)).Interface()); err != nil {
			t.Errorf("%s %s: %v", o.GetKind(), o.GetName(), err)
		}
	}
}

func TestCiliumPoliciesFitTheirSchema(t *testing.T) {
	structural, validator := ciliumSchema(t)
	for _, o := range everything(t) {
		if o.GetKind() != "CiliumNetworkPolicy" {
			continue
		}
		live := runtime.DeepCopyJSON(o.Object)
		if unknown := pruning.PruneWithOptions(live, structural, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}); len(unknown) > 0 {
			t.Errorf("%s: the schema has no %v", o.GetName(), unknown)
		}
		if errs := validation.ValidateCustomResource(nil, o.Object, validator); len(errs) > 0 {
			t.Errorf("%s: %v", o.GetName(), errs)
		}
	}
}

func ciliumSchema(t *testing.T) (*schema.Structural, validation.SchemaValidator) {
	t.Helper()
	data, err := os.ReadFile("../../bin/crds/ciliumnetworkpolicies.yaml")
	if err != nil {
		t.Fatalf("%v: run `make tools`", err)
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(data, &crd); err != nil {
		t.Fatal(err)
	}
	var props apiextensions.JSONSchemaProps
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(crd.Spec.Versions[0].Schema.OpenAPIV3Schema, &props, nil); err != nil {
		t.Fatal(err)
	}
	structural, err := schema.NewStructural(&props)
	if err != nil {
		t.Fatal(err)
	}
	if errs := schema.ValidateStructural(nil, structural); len(errs) > 0 {
		t.Fatal(errs)
	}
	validator, _, err := validation.NewSchemaValidator(&props)
	if err != nil {
		t.Fatal(err)
	}
	return structural, validator
}
