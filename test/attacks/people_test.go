package attacks

import (
	"context"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/testenv"
)

// attempt is something that one of a tenant's people tries.
type attempt func(ctx context.Context, c client.Client) error

// creates tries to create an object of any kind.
func creates(apiVersion, kind, namespace string, fields map[string]any) attempt {
	return func(ctx context.Context, c client.Client) error {
		gvk := schema.FromAPIVersionAndKind(apiVersion, kind)
		return c.Create(ctx, object(gvk, namespace, "pwned", fields))
	}
}

// patches tries to merge something into an object, or into a subresource of it.
func patches(o client.Object, patch, subresource string) attempt {
	return func(ctx context.Context, c client.Client) error {
		raw := client.RawPatch(types.MergePatchType, []byte(patch))
		target := o.DeepCopyObject().(client.Object)
		if subresource != "" {
			return c.SubResource(subresource).Patch(ctx, target, raw)
		}
		return c.Patch(ctx, target, raw)
	}
}

func deletes(o client.Object) attempt {
	return func(ctx context.Context, c client.Client) error {
		return c.Delete(ctx, o.DeepCopyObject().(client.Object))
	}
}

func reads(o client.Object) attempt {
	return func(ctx context.Context, c client.Client) error {
		return c.Get(ctx, client.ObjectKeyFromObject(o), o.DeepCopyObject().(client.Object))
	}
}

func lists(list client.ObjectList, opts ...client.ListOption) attempt {
	return func(ctx context.Context, c client.Client) error {
		return c.List(ctx, list.DeepCopyObject().(client.ObjectList), opts...)
	}
}

func runs(p *corev1.Pod, change func(*corev1.PodSpec)) attempt {
	return func(ctx context.Context, c client.Client) error {
		p := p.DeepCopy()
		change(&p.Spec)
		return c.Create(ctx, p)
	}
}

// A tenant's admin, editor, viewer and deploy account each try everything that is
// not a tenant's to do, in their own namespace, in another tenant's, and in the
// cluster.
func TestATenantsPeopleTryWhatIsNotTheirs(t *testing.T) {
	w := newWorld(t)
	ns, other := w.namespace(t, "acme"), w.namespace(t, "globex")
	theirs := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "db", Namespace: other.Name}, StringData: map[string]string{"password": "x"}}
	w.must(t, w.Client.Create(t.Context(), theirs))
	asked := &v1alpha1.TenantNamespace{ObjectMeta: metav1.ObjectMeta{Name: ns.Name}, Spec: v1alpha1.TenantNamespaceSpec{Tenant: "acme", Size: "small"}}
	w.must(t, w.Client.Create(t.Context(), asked))

	in := func(kind schema.GroupVersionKind, name string) *unstructured.Unstructured {
		return object(kind, ns.Name, name, nil)
	}
	core := func(kind string) schema.GroupVersionKind { return corev1.SchemeGroupVersion.WithKind(kind) }
	rbac := func(kind string) schema.GroupVersionKind { return rbacv1.SchemeGroupVersion.WithKind(kind) }
	root := map[string]any{"apiGroup": rbacv1.GroupName, "kind": "ClusterRole", "name": "cluster-admin"}
	self := []any{map[string]any{"apiGroup": rbacv1.GroupName, "kind": "User", "name": intruder}}
	spec := func(fields map[string]any) map[string]any { return map[string]any{"spec": fields} }
	system := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: "namespace-operator"}}

	attacks := map[string]map[string]attempt{
		"their own Namespace": {
			"take a label away":             patches(ns, `{"metadata":{"labels":{"aetherplatform.cloud/tenant":null}}}`, ""),
			"lower Pod Security":            patches(ns, `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"privileged"}}}`, ""),
			"open it":                       patches(ns, `{"metadata":{"labels":{"aetherplatform.cloud/sealed":"false"}}}`, ""),
			"allow themselves a registry":   patches(ns, `{"metadata":{"annotations":{"aetherplatform.cloud/registries":"evil.example.com"}}}`, ""),
			"grant themselves an exception": patches(ns, `{"metadata":{"annotations":{"aetherplatform.cloud/exceptions":"exposure:NodePort@2099-01-01T00:00:00Z"}}}`, ""),
			"label it through its status":   patches(ns, `{"metadata":{"labels":{"aetherplatform.cloud/tenant":"globex"}}}`, "status"),
			"delete it":                     deletes(ns),
		},
		"what isolates it": {
			"delete default-deny":            deletes(in(networkPolicyKind, "default-deny")),
			"delete Cilium's default-deny":   deletes(in(ciliumKind, "default-deny")),
			"empty default-deny":             patches(in(networkPolicyKind, "default-deny"), `{"spec":{"policyTypes":[]}}`, ""),
			"add an open NetworkPolicy":      creates("networking.k8s.io/v1", "NetworkPolicy", ns.Name, spec(map[string]any{"podSelector": map[string]any{}, "egress": []any{map[string]any{}}, "policyTypes": []any{"Egress"}})),
			"add an open Cilium policy":      creates("cilium.io/v2", "CiliumNetworkPolicy", ns.Name, spec(map[string]any{"endpointSelector": map[string]any{}, "egress": []any{map[string]any{"toEntities": []any{"all"}}}})),
			"redirect a Service past it":     creates("discovery.k8s.io/v1", "EndpointSlice", ns.Name, map[string]any{"addressType": "IPv4", "endpoints": []any{map[string]any{"addresses": []any{"10.0.0.1"}}}}),
			"redirect a Service's Endpoints": creates("v1", "Endpoints", ns.Name, map[string]any{"subsets": []any{map[string]any{"addresses": []any{map[string]any{"ip": "10.0.0.1"}}}}}),
			"raise the quota":                patches(in(core("ResourceQuota"), "quota"), `{"spec":{"hard":{"pods":"9999"}}}`, ""),
			"raise it by the quota's status": patches(in(core("ResourceQuota"), "quota"), `{"status":{"hard":{"pods":"9999"}}}`, "status"),
			"delete the quota":               deletes(in(core("ResourceQuota"), "quota")),
			"delete the limits":              deletes(in(core("LimitRange"), "limits")),
		},
		"rights": {
			"bind themselves to cluster-admin": creates("rbac.authorization.k8s.io/v1", "RoleBinding", ns.Name, map[string]any{"roleRef": root, "subjects": self}),
			"the same in the whole cluster":    creates("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "", map[string]any{"roleRef": root, "subjects": self}),
			"widen their role":                 patches(in(rbac("Role"), "admin"), `{"rules":[{"apiGroups":["*"],"resources":["*"],"verbs":["*"]}]}`, ""),
			"add themselves to a binding":      patches(in(rbac("RoleBinding"), "admin"), `{"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"mallory@example.com"}]}`, ""),
			"write a role of their own":        creates("rbac.authorization.k8s.io/v1", "Role", ns.Name, map[string]any{"rules": []any{map[string]any{"apiGroups": []any{"*"}, "resources": []any{"*"}, "verbs": []any{"*"}}}}),
			"write one that others aggregate":  creates("rbac.authorization.k8s.io/v1", "ClusterRole", "", map[string]any{"rules": []any{}}),
			"take a token of the operator": func(ctx context.Context, c client.Client) error {
				return c.SubResource("token").Create(ctx, system.DeepCopy(), &authenticationv1.TokenRequest{})
			},
			"sign a certificate for system:masters": creates("certificates.k8s.io/v1", "CertificateSigningRequest", "", spec(map[string]any{"request": "eA==", "signerName": "kubernetes.io/kube-apiserver-client", "usages": []any{"client auth"}})),
			"ask who others are":                    creates("authentication.k8s.io/v1", "TokenReview", "", spec(map[string]any{"token": "x"})),
		},
		"another tenant": {
			"read its Secret":         reads(theirs),
			"list all Secrets":        lists(&corev1.SecretList{}),
			"list its Pods":           lists(&corev1.PodList{}, client.InNamespace(other.Name)),
			"list all namespaces":     lists(&corev1.NamespaceList{}),
			"list all tenants":        lists(&v1alpha1.TenantList{}),
			"run a Pod in it":         runs(pod(other.Name, "pwned"), func(*corev1.PodSpec) {}),
			"write a ConfigMap in it": creates("v1", "ConfigMap", other.Name, nil),
			"take a token in it": func(ctx context.Context, c client.Client) error {
				return c.SubResource("token").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: other.Name, Name: "deploy"}}, &authenticationv1.TokenRequest{})
			},
			"give themselves its data": creates("rbac.authorization.k8s.io/v1", "RoleBinding", other.Name, map[string]any{"roleRef": root, "subjects": self}),
		},
		"what Git says": {
			"change their spec":          patches(asked, `{"spec":{"size":"large"}}`, ""),
			"write their status":         patches(asked, `{"status":{"observedGeneration":99}}`, "status"),
			"delete it":                  deletes(asked),
			"raise the tenant's limits":  patches(&v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "acme"}}, `{"spec":{"registries":["evil.example.com"]}}`, ""),
			"make a tenant":              creates(v1alpha1.GroupVersion.String(), "Tenant", "", nil),
			"make a namespace":           creates(v1alpha1.GroupVersion.String(), "TenantNamespace", "", spec(map[string]any{"tenant": "acme", "size": "small"})),
			"make a profile":             creates(v1alpha1.GroupVersion.String(), "NamespaceProfile", "", spec(map[string]any{"base": map[string]any{"path": "x"}, "sizes": map[string]any{}})),
			"grant an exception":         creates(v1alpha1.GroupVersion.String(), "TenantException", "", spec(map[string]any{"tenant": "acme", "allow": map[string]any{"exposure": []any{"NodePort"}}, "owner": "me", "reason": "because I want to", "expires": "2099-01-01T00:00:00Z"})),
			"bring a source":             creates(v1alpha1.GroupVersion.String(), "TenantSource", ns.Name, spec(map[string]any{"sourceRef": map[string]any{"kind": "GitRepository", "name": "x"}})),
			"bring one for the platform": creates(v1alpha1.GroupVersion.String(), "TenantSource", v1alpha1.SystemNamespace, spec(map[string]any{"sourceRef": map[string]any{"kind": "GitRepository", "name": "x"}})),
		},
		"Flux": {
			"apply without an account":       creates("kustomize.toolkit.fluxcd.io/v1", "Kustomization", ns.Name, spec(map[string]any{"interval": "1m", "prune": true, "path": "./", "sourceRef": map[string]any{"kind": "GitRepository", "name": "app"}})),
			"point theirs at cluster-admin":  patches(in(schema.GroupVersionKind{Group: "kustomize.toolkit.fluxcd.io", Version: "v1", Kind: "Kustomization"}, "app"), `{"spec":{"serviceAccountName":null}}`, ""),
			"apply into the system's":        creates("kustomize.toolkit.fluxcd.io/v1", "Kustomization", "flux-system", spec(map[string]any{"interval": "1m", "prune": true, "sourceRef": map[string]any{"kind": "GitRepository", "name": "app"}})),
			"fetch from the metadata server": creates("source.toolkit.fluxcd.io/v1", "GitRepository", ns.Name, spec(map[string]any{"interval": "1m", "url": "http://169.254.169.254/"})),
		},
		"the node": {
			"run privileged": runs(pod(ns.Name, "pwned"), func(s *corev1.PodSpec) { yes := true; s.Containers[0].SecurityContext.Privileged = &yes }),
			"mount the host": runs(pod(ns.Name, "pwned"), func(s *corev1.PodSpec) {
				s.Volumes = []corev1.Volume{{Name: "host", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}}}
			}),
			"join the host's network":  runs(pod(ns.Name, "pwned"), func(s *corev1.PodSpec) { s.HostNetwork = true }),
			"see the host's processes": runs(pod(ns.Name, "pwned"), func(s *corev1.PodSpec) { s.HostPID = true }),
			"run as root":              runs(pod(ns.Name, "pwned"), func(s *corev1.PodSpec) { no := false; s.SecurityContext.RunAsNonRoot = &no }),
			"give a node a label":      patches(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}}, `{"metadata":{"labels":{"pool":"mine"}}}`, ""),
			"read nodes":               lists(&corev1.NodeList{}),
			"bring a volume":           creates("v1", "PersistentVolume", "", spec(map[string]any{"capacity": map[string]any{"storage": "1Gi"}, "accessModes": []any{"ReadWriteOnce"}, "hostPath": map[string]any{"path": "/"}})),
		},
		"the cluster": {
			"switch a policy off":        deletes(object(bindingKind, "", "aether-sealed-pods", nil)),
			"bring a webhook":            creates("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", "", nil),
			"bring a kind":               creates("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", nil),
			"bring an API server":        creates("apiregistration.k8s.io/v1", "APIService", "", nil),
			"bring a priority":           creates("scheduling.k8s.io/v1", "PriorityClass", "", map[string]any{"value": int64(1000)}),
			"become leader for Aether":   creates("coordination.k8s.io/v1", "Lease", v1alpha1.SystemNamespace, nil),
			"speak for others in events": creates("v1", "Event", other.Name, map[string]any{"involvedObject": map[string]any{"namespace": other.Name}}),
		},
	}

	people := map[string]client.Client{
		"admin": w.as(t, tenantAdmin), "editor": w.as(t, tenantEditor), "viewer": w.as(t, tenantViewer), "deploy account": w.as(t, ns.Name+":deploy"),
	}
	for who, c := range people {
		// The control: each may do what is theirs.
		testenv.Eventually(t, func(ctx context.Context) error {
			if who == "viewer" {
				return c.List(ctx, &corev1.PodList{}, client.InNamespace(ns.Name))
			}
			return c.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "own-", Namespace: ns.Name}})
		})
		for where, tries := range attacks {
			for what, try := range tries {
				t.Run(who+"/"+where+"/"+what, func(t *testing.T) {
					w.refuses(t, ns, "", func(ctx context.Context) error { return try(ctx, c) })
				})
			}
		}
	}
}
