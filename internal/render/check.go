package render

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/kustomize/kyaml/openapi"
	"sigs.k8s.io/kustomize/kyaml/yaml"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/render/network"
)

const ciliumGroup = "cilium.io"

// rank orders objects: a namespace before what is in it, and what confines Pods
// before what makes them.
func rank(group, kind string) int {
	switch {
	case group == "" && kind == "Namespace":
		return 0
	case group == "networking.k8s.io" && kind == "NetworkPolicy", group == ciliumGroup && kind == network.Kind:
		return 1
	case group == "" && (kind == "ResourceQuota" || kind == "LimitRange"):
		return 2
	case group == rbacGroup, group == "" && kind == "ServiceAccount":
		return 3
	}
	return 4
}

// IsIsolation reports whether an object confines the Pods of its namespace and
// so must be observed before the namespace is opened: its network policies, its
// quotas and its limits. The Namespace itself, which carries the Pod Security
// labels, is not among them: it is what is opened.
func IsIsolation(o *unstructured.Unstructured) bool {
	gvk := o.GroupVersionKind()
	r := rank(gvk.Group, gvk.Kind)
	return r == 1 || r == 2
}

// checkKind refuses what no component of a namespace may make. Kinds that only
// the cluster knows to be cluster-scoped are refused by the API server: they are
// applied under the namespace.
func checkKind(apiVersion, kind string) error {
	group, version, ok := strings.Cut(apiVersion, "/")
	if !ok {
		group, version = "", apiVersion
	}
	switch {
	case version == "" || kind == "" || strings.Contains(apiVersion+kind, "${"):
		return errors.New("apiVersion and kind: write them out; expressions are for other fields")
	case group == "" && kind == "Namespace":
		return nil
	case kind == "List" || strings.HasSuffix(kind, "List"):
		return errors.New("kind: lists cannot be used; write the objects one by one")
	case group == v1alpha1.GroupVersion.Group && kind == v1alpha1.KindSecretSync:
		return nil
	case group == v1alpha1.GroupVersion.Group:
		return fmt.Errorf("kind: %s is what Aether reads, not what it makes", kind)
	}
	namespaced, known := openapi.IsNamespaceScoped(yaml.TypeMeta{APIVersion: apiVersion, Kind: kind})
	if known && !namespaced || !known && (strings.HasPrefix(kind, "Cluster") || strings.Contains(kind, "Clusterwide")) {
		return fmt.Errorf("kind: %s belongs to no namespace; a component of a namespace may make only what lives in it", kind)
	}
	return nil
}

// checkObject holds an object to the one namespace it is for, whatever the
// component says. The base is trusted; this is the second look.
func checkObject(o *objectTemplate, object map[string]any, in Inputs) error {
	metadata := object["metadata"].(map[string]any)
	name, _ := metadata["name"].(string)
	if o.kind == "Namespace" {
		if name != in.Namespace.Name {
			return fmt.Errorf("metadata.name: %q is another namespace; write ${namespace.name}", name)
		}
		return nil
	}
	if namespace, _ := metadata["namespace"].(string); namespace != in.Namespace.Name {
		return fmt.Errorf("metadata.namespace: %q is another namespace; leave it out", namespace)
	}
	if !isPlainName(name) {
		if errs := validation.IsDNS1123Subdomain(name); len(errs) > 0 {
			return fmt.Errorf("metadata.name: %q is not a name: %s", name, errs[0])
		}
	}
	if o.group == rbacGroup && o.kind == "RoleBinding" {
		return checkBinding(object, in)
	}
	return nil
}

// isPlainName is true of letters with '-' between them: nearly every name, without
// a regular expression, which was a twentieth of a render.
func isPlainName(name string) bool {
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c != '-' || i == 0 || i == len(name)-1) {
			return false
		}
	}
	return name != "" && len(name) <= validation.DNS1123LabelMaxLength
}

// checkBinding holds a binding to roles that end at the namespace and to
// subjects that a tenant may have.
func checkBinding(object map[string]any, in Inputs) error {
	ref, _ := object["roleRef"].(map[string]any)
	if ref["kind"] != "Role" {
		return fmt.Errorf("roleRef.kind: %v is not Role; write the rules into a Role of the component", ref["kind"])
	}
	subjects, _ := object["subjects"].([]any)
	for i, s := range subjects {
		m, _ := s.(map[string]any)
		subject := v1alpha1.Subject{}
		subject.Kind, _ = m["kind"].(string)
		subject.Name, _ = m["name"].(string)
		subject.Namespace, _ = m["namespace"].(string)
		if subject.Kind == "ServiceAccount" && subject.Namespace == in.Namespace.Name {
			continue
		}
		if err := checkSubject(in.Tenant, subject); err != nil {
			return fmt.Errorf("subjects[%d].%w", i, err)
		}
	}
	return nil
}

// key tells the objects of one namespace apart.
type key struct{ group, kind, name string }

// checkNew refuses a second object of the same kind and name.
func (r *run) checkNew(o *objectTemplate, object map[string]any) error {
	name, _ := object["metadata"].(map[string]any)["name"].(string)
	k := key{o.group, o.kind, name}
	if slices.Contains(r.made, k) {
		return fmt.Errorf("metadata.name: there is another %s %q; each needs a name of its own", o.kind, name)
	}
	r.made = append(r.made, k)
	return nil
}
