package render

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/google/cel-go/cel"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/render/expr"
	"github.com/aetherplatform/aether/internal/render/network"
	"github.com/aetherplatform/aether/internal/tenancy"
)

// What expressions may name. Values are views of the API's objects, not those
// objects: defaults, overrides, owners and cordons are worked in, so that a
// component says what it needs and decides nothing.
var (
	textMap = cel.MapType(cel.StringType, cel.StringType)
	texts   = cel.ListType(cel.StringType)
	rawList = cel.ListType(cel.DynType)

	subjectType = expr.Object{Name: "Subject", Fields: []expr.Field{
		{Name: "kind", Type: cel.StringType, Doc: "User, Group or ServiceAccount"},
		{Name: "name", Type: cel.StringType, Doc: "as the cluster's authentication presents it"},
		{Name: "namespace", Type: cel.StringType, Doc: "of a ServiceAccount"},
		{Name: "apiGroup", Type: cel.StringType, Doc: "of a User or Group"},
	}}
	roleType = expr.Object{Name: "Role", Fields: []expr.Field{
		{Name: "name", Type: cel.StringType, Doc: "as the profile calls it"},
		{Name: "rules", Type: rawList, Doc: "as a Role takes them"},
		{Name: "subjects", Type: cel.ListType(subjectType.Type()), Doc: "who has the role, never empty"},
	}}
	accessType = expr.Object{Name: "Access", Fields: []expr.Field{
		{Name: "admin", Type: cel.ListType(subjectType.Type()), Doc: "owners and subjects with the role admin"},
		{Name: "editor", Type: cel.ListType(subjectType.Type()), Doc: "owners and subjects with the role editor"},
		{Name: "viewer", Type: cel.ListType(subjectType.Type()), Doc: "owners and subjects with the role viewer; everyone, while the namespace is cordoned"},
	}}
	networkType = expr.Object{Name: "Network", Fields: []expr.Field{
		{Name: "ingress", Type: rawList, Doc: "rules of a CiliumNetworkPolicy; may be empty"},
		{Name: "egress", Type: rawList, Doc: "rules of a CiliumNetworkPolicy, those of the tenant included; may be empty"},
	}}
	secretType = expr.Object{Name: "Secret", Fields: []expr.Field{
		{Name: "name", Type: cel.StringType, Doc: "of the Secret"},
		{Name: "path", Type: cel.StringType, Doc: "below tenant.secrets.path"},
		{Name: "keys", Type: textMap, Doc: "keys of the Secret to keys in OpenBao; may be empty"},
		{Name: "refreshInterval", Type: cel.StringType, Doc: "a Go duration"},
		{Name: "sync", Type: cel.MapType(cel.StringType, cel.DynType), Doc: "all of it, as the spec of a SecretSync"},
	}}
	gitopsType = expr.Object{Name: "GitOps", Fields: []expr.Field{
		{Name: "url", Type: cel.StringType, Doc: "of the repository"},
		{Name: "branch", Type: cel.StringType, Doc: "to follow"},
		{Name: "path", Type: cel.StringType, Doc: "in the repository"},
		{Name: "interval", Type: cel.StringType, Doc: "a Go duration"},
		{Name: "secretRef", Type: textMap, Doc: "the name of the Secret with credentials; null where there is none"},
	}}
	tenantSecretsType = expr.Object{Name: "TenantSecrets", Fields: []expr.Field{
		{Name: "mount", Type: cel.StringType, Doc: "of the KV v2 engine"},
		{Name: "path", Type: cel.StringType, Doc: "that the tenant's secrets are under"},
	}}
	ingressControllerType = expr.Object{Name: "IngressController", Fields: []expr.Field{
		{Name: "namespace", Type: cel.StringType, Doc: "of its Pods"},
		{Name: "podLabels", Type: textMap, Doc: "of its Pods; may be empty"},
	}}
	tenantType = expr.Object{Name: "tenant", Fields: []expr.Field{
		{Name: "name", Type: cel.StringType, Doc: "the tenant's name"},
		{Name: "displayName", Type: cel.StringType, Doc: "the name people know it by"},
		{Name: "prefix", Type: cel.StringType, Doc: "what its namespaces' names begin with"},
		{Name: "registries", Type: texts, Doc: "that images may come from"},
		{Name: "hostnames", Type: texts, Doc: "that routes may use"},
		{Name: "storageClasses", Type: texts, Doc: "that may be used"},
		{Name: "priorityClasses", Type: texts, Doc: "that may be used"},
		{Name: "nodeSelector", Type: textMap, Doc: "labels of the nodes that Pods run on"},
		{Name: "secrets", Type: tenantSecretsType.Type(), Doc: "where in OpenBao its secrets are"},
	}}
	namespaceType = expr.Object{Name: "namespace", Fields: []expr.Field{
		{Name: "name", Type: cel.StringType, Doc: "the namespace's name"},
		{Name: "labels", Type: textMap, Doc: "of the profile and the TenantNamespace; the Namespace gets them without being told"},
		{Name: "annotations", Type: textMap, Doc: "likewise"},
		{Name: "podSecurity", Type: cel.StringType, Doc: "the Pod Security level, override included"},
		{Name: "cordoned", Type: cel.BoolType, Doc: "no write access, and GitOps suspended"},
		{Name: "access", Type: accessType.Type(), Doc: "who has the built-in roles"},
		{Name: "roles", Type: cel.ListType(roleType.Type()), Doc: "roles of the profile that somebody has"},
		{Name: "network", Type: networkType.Type(), Doc: "what is opened"},
		{Name: "secrets", Type: cel.ListType(secretType.Type()), Doc: "that are kept equal to OpenBao's"},
		{Name: "gitops", Type: gitopsType.Type(), Doc: "null where it is not set: has(namespace.gitops)"},
	}}
	profileType = expr.Object{Name: "profile", Fields: []expr.Field{
		{Name: "name", Type: cel.StringType, Doc: "the profile's name"},
		{Name: "podSecurity", Type: cel.StringType, Doc: "the Pod Security level, overrides left out"},
		{Name: "labels", Type: textMap, Doc: "for every Namespace of the profile"},
		{Name: "annotations", Type: textMap, Doc: "for every Namespace of the profile"},
		{Name: "ingressController", Type: ingressControllerType.Type(), Doc: "where it runs"},
		{Name: "openBao", Type: cel.BoolType, Doc: "the profile says something of OpenBao, so teams may make SecretSyncs of their own"},
	}}
	sizeType = expr.Object{Name: "size", Fields: []expr.Field{
		{Name: "name", Type: cel.StringType, Doc: "the size's name"},
		{Name: "quota", Type: textMap, Doc: "hard limits of a ResourceQuota, overrides included"},
		{Name: "limits", Type: rawList, Doc: "items of a LimitRange, overrides included; may be empty"},
	}}
	clusterType = expr.Object{Name: "cluster", Fields: []expr.Field{
		{Name: "name", Type: cel.StringType, Doc: `the cluster's name; "" for the one that the fleet is reconciled in`},
	}}

	objectTypes = []expr.Object{
		tenantType, namespaceType, profileType, sizeType, clusterType, accessType, roleType, subjectType,
		networkType, secretType, gitopsType, tenantSecretsType, ingressControllerType,
	}
	variables = []expr.Field{
		{Name: "tenant", Type: tenantType.Type()},
		{Name: "namespace", Type: namespaceType.Type()},
		{Name: "profile", Type: profileType.Type()},
		{Name: "size", Type: sizeType.Type()},
		{Name: "cluster", Type: clusterType.Type()},
	}
)

// newEnv is an environment of one compilation: compiling is not concurrent.
var newEnv = sync.OnceValues(func() (*expr.Env, error) { return expr.NewEnv(objectTypes, variables) })

// profileView is what a profile gives all of its namespaces.
type profileView struct {
	profile map[string]any
	sizes   map[string]map[string]any
	// roles of the profile, their rules as trees.
	roles map[string][]any
}

func viewProfile(p *v1alpha1.NamespaceProfile) (*profileView, error) {
	v := &profileView{
		profile: map[string]any{
			"name":        p.Name,
			"podSecurity": string(podSecurity(p)),
			"labels":      mapTree(p.Spec.Labels),
			"annotations": mapTree(p.Spec.Annotations),
			"ingressController": map[string]any{
				"namespace": cmp.Or(p.Spec.IngressController.Namespace, "ingress-nginx"),
				"podLabels": mapTree(p.Spec.IngressController.PodLabels),
			},
			"openBao": p.Spec.OpenBao != nil,
		},
		sizes: map[string]map[string]any{},
		roles: map[string][]any{},
	}
	for name, size := range p.Spec.Sizes {
		limits, err := listTree(size.Limits)
		if err != nil {
			return nil, fmt.Errorf("spec.sizes.%s.limits: %w", name, err)
		}
		v.sizes[name] = map[string]any{"name": name, "quota": quantities(size.Quota), "limits": limits}
	}
	for name, rules := range p.Spec.Roles {
		tree, err := listTree(rules)
		if err != nil {
			return nil, fmt.Errorf("spec.roles.%s: %w", name, err)
		}
		v.roles[name] = tree
	}
	return v, nil
}

func podSecurity(p *v1alpha1.NamespaceProfile) v1alpha1.PodSecurityLevel {
	return cmp.Or(p.Spec.PodSecurity, v1alpha1.PodSecurityRestricted)
}

// view gives the variables of one namespace. Its errors begin with the field of
// the TenantNamespace that is wrong.
func (t *Template) view(in Inputs) (*scope, error) {
	size, err := t.viewSize(in.Namespace)
	if err != nil {
		return nil, err
	}
	namespace, err := t.viewNamespace(in)
	if err != nil {
		return nil, err
	}
	return &scope{
		tenant:    viewTenant(in.Tenant),
		namespace: namespace,
		profile:   t.values.profile,
		size:      size,
		cluster:   map[string]any{"name": in.Cluster},
		values:    make([]slot, t.slots),
	}, nil
}

// viewSize is the size, and a copy of it where the namespace overrides it.
func (t *Template) viewSize(n *v1alpha1.TenantNamespace) (map[string]any, error) {
	size, ok := t.values.sizes[n.Spec.Size]
	if !ok {
		return nil, fmt.Errorf("spec.size: %q is not a size of profile %q; use %s",
			n.Spec.Size, t.profile.Name, oneOf(slices.Sorted(maps.Keys(t.values.sizes))))
	}
	overrides := n.Spec.Overrides
	if overrides == nil {
		return size, nil
	}
	if errs := tenancy.CheckOverrides(n, t.profile); len(errs) > 0 {
		return nil, errs[0]
	}
	size = maps.Clone(size)
	if len(overrides.Quota) > 0 {
		quota, err := tenancy.QuotaOf(n, t.profile)
		if err != nil {
			return nil, err
		}
		size["quota"] = quantities(quota)
	}
	if len(overrides.Limits) > 0 {
		limits, err := listTree(overrides.Limits)
		if err != nil {
			return nil, fmt.Errorf("spec.overrides.limits: %w", err)
		}
		size["limits"] = limits
	}
	return size, nil
}

func viewTenant(t *v1alpha1.Tenant) map[string]any {
	place := tenancy.PlaceOf(t)
	return map[string]any{
		"name":            t.Name,
		"displayName":     cmp.Or(t.Spec.DisplayName, t.Name),
		"prefix":          t.Prefix(),
		"registries":      textList(t.Spec.Registries),
		"hostnames":       textList(t.Spec.Hostnames),
		"storageClasses":  textList(t.Spec.StorageClasses),
		"priorityClasses": textList(t.Spec.PriorityClasses),
		"nodeSelector":    mapTree(t.Spec.NodeSelector),
		"secrets":         map[string]any{"mount": place.Mount, "path": place.Path},
	}
}

func (t *Template) viewNamespace(in Inputs) (map[string]any, error) {
	n := in.Namespace
	cordoned := in.Cordoned || in.Tenant.Spec.Cordoned

	access, roles, err := t.access(in, cordoned)
	if err != nil {
		return nil, err
	}
	rules, err := network.Compile(network.Request{
		Tenant:            in.Tenant,
		Namespace:         n,
		Peers:             in.Peers,
		IngressController: t.profile.Spec.IngressController,
	})
	if err != nil {
		return nil, err
	}
	labels, err := metadataOf("labels", n.Spec.Labels, t.profile.Spec.Labels)
	if err != nil {
		return nil, err
	}
	annotations, err := metadataOf("annotations", n.Spec.Annotations, t.profile.Spec.Annotations)
	if err != nil {
		return nil, err
	}
	for k, v := range t.guardrails(in) {
		annotations[k] = v
	}
	secrets, err := viewSecrets(n.Spec.Secrets)
	if err != nil {
		return nil, err
	}
	level := podSecurity(t.profile)
	if n.Spec.Overrides != nil {
		level = cmp.Or(n.Spec.Overrides.PodSecurity, level)
	}
	return map[string]any{
		"name":        n.Name,
		"labels":      labels,
		"annotations": annotations,
		"podSecurity": string(level),
		"cordoned":    cordoned,
		"access":      access,
		"roles":       roles,
		"network":     map[string]any{"ingress": rules.Ingress, "egress": rules.Egress},
		"secrets":     secrets,
		"gitops":      viewGitOps(n.Spec.GitOps),
	}, nil
}

func viewSecrets(secrets []v1alpha1.NamespaceSecret) ([]any, error) {
	out := make([]any, len(secrets))
	for i := range secrets {
		s := &secrets[i]
		sync, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&s.SecretSource)
		if err != nil {
			return nil, fmt.Errorf("spec.secrets[%d]: %w", i, err)
		}
		out[i] = map[string]any{
			"name":            s.Name,
			"path":            s.Path,
			"keys":            mapTree(s.Keys),
			"refreshInterval": duration(s.RefreshInterval),
			"sync":            sync,
		}
	}
	return out, nil
}

// viewGitOps is nil, and not a map that is nil, where there is no GitOps.
func viewGitOps(g *v1alpha1.GitOps) any {
	if g == nil {
		return nil
	}
	view := map[string]any{
		"url":       g.URL,
		"branch":    cmp.Or(g.Branch, "main"),
		"path":      cmp.Or(g.Path, "./"),
		"interval":  duration(g.Interval),
		"secretRef": nil,
	}
	if g.SecretName != "" {
		view["secretRef"] = map[string]any{"name": g.SecretName}
	}
	return view
}

// metadataOf is labels or annotations of a Namespace: what the tenant asks for,
// under what the profile says.
func metadataOf(field string, asked, profile map[string]string) (map[string]any, error) {
	m := make(map[string]any, len(asked)+len(profile))
	for _, k := range slices.Sorted(maps.Keys(asked)) {
		if domain := reservedDomain(k); domain != "" {
			return nil, fmt.Errorf("spec.%s: %q: keys of %s are set by the platform; use a prefix of your own, such as example.com/team", field, k, domain)
		}
		m[k] = asked[k]
	}
	for k, v := range profile {
		m[k] = v
	}
	return m, nil
}

// reservedDomain is the domain of a key that only the platform may set.
func reservedDomain(key string) string {
	prefix, _, ok := strings.Cut(key, "/")
	if !ok {
		return ""
	}
	for _, domain := range []string{"kubernetes.io", "k8s.io", "aetherplatform.cloud", "cilium.io", "fluxcd.io"} {
		if prefix == domain || strings.HasSuffix(prefix, "."+domain) {
			return domain
		}
	}
	return ""
}

func oneOf(names []string) string { return strings.Join(names, ", ") }

func duration(d *metav1.Duration) string {
	if d == nil {
		return "5m0s"
	}
	return d.Duration.String()
}

func textList(items []string) []any {
	out := make([]any, len(items))
	for i, item := range items {
		out[i] = item
	}
	return out
}

// emptyMap stands for every map without entries; trees are not changed.
var emptyMap = map[string]any{}

func mapTree(m map[string]string) map[string]any {
	if len(m) == 0 {
		return emptyMap
	}
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

func quantities(list corev1.ResourceList) map[string]any {
	out := make(map[string]any, len(list))
	for name, q := range list {
		out[string(name)] = q.String()
	}
	return out
}

// listTree turns typed items into trees, as they are in JSON.
func listTree[T any](items []T) ([]any, error) {
	out := make([]any, len(items))
	for i := range items {
		m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&items[i])
		if err != nil {
			return nil, err
		}
		out[i] = m
	}
	return out, nil
}
