package tenancy

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// The builders have defaults, so that a case shows what matters.

func tenant(name string, change ...func(*v1alpha1.TenantSpec)) *v1alpha1.Tenant {
	t := &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, c := range change {
		c(&t.Spec)
	}
	return t
}

func prefix(p string) func(*v1alpha1.TenantSpec) {
	return func(s *v1alpha1.TenantSpec) { s.Namespaces.Prefix = p }
}

func room(n int32) func(*v1alpha1.TenantSpec) {
	return func(s *v1alpha1.TenantSpec) { s.Namespaces.Max = &n }
}

func hard(pairs ...string) func(*v1alpha1.TenantSpec) {
	return func(s *v1alpha1.TenantSpec) { s.Quota = &v1alpha1.TenantQuota{Hard: list(pairs...)} }
}

func peers(names ...string) func(*v1alpha1.TenantSpec) {
	return func(s *v1alpha1.TenantSpec) {
		for _, name := range names {
			s.Network.Peers = append(s.Network.Peers, v1alpha1.Peer{Tenant: name})
		}
	}
}

func namespace(name, size string, change ...func(*v1alpha1.TenantNamespace)) *v1alpha1.TenantNamespace {
	n := &v1alpha1.TenantNamespace{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       v1alpha1.TenantNamespaceSpec{Tenant: "acme", Profile: "default", Size: size},
	}
	for _, c := range change {
		c(n)
	}
	return n
}

func created(second int64) func(*v1alpha1.TenantNamespace) {
	return func(n *v1alpha1.TenantNamespace) { n.CreationTimestamp = metav1.NewTime(time.Unix(second, 0)) }
}

func placed(clusters ...string) func(*v1alpha1.TenantNamespace) {
	return func(n *v1alpha1.TenantNamespace) { n.Spec.Clusters = clusters }
}

func quota(pairs ...string) func(*v1alpha1.TenantNamespace) {
	return func(n *v1alpha1.TenantNamespace) {
		n.Spec.Overrides = &v1alpha1.Overrides{Quota: list(pairs...)}
	}
}

func list(pairs ...string) corev1.ResourceList {
	l := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		l[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return l
}

func profile(overridable ...v1alpha1.Overridable) *v1alpha1.NamespaceProfile {
	return &v1alpha1.NamespaceProfile{
		ObjectMeta: metav1.ObjectMeta{Name: "default"},
		Spec: v1alpha1.NamespaceProfileSpec{
			Overridable: overridable,
			Sizes: map[string]v1alpha1.Size{
				"small": {Quota: list("requests.cpu", "2", "requests.memory", "4Gi")},
				"large": {Quota: list("requests.cpu", "16", "requests.memory", "64Gi")},
				"short": {Quota: list("cpu", "3")},
			},
		},
	}
}

func TestSystemNamespacesAreReserved(t *testing.T) {
	for name, want := range map[string]bool{
		"default": true, "kube-system": true, "kube": true, "aether-system": true, "flux-system": true, "kyverno": true,
		"cilium-secrets": true, "openshift-config": true, "cert-manager": true, "ingress-nginx": true,
		"acme-web": false, "kubernetes-team": false, "defaults-web": false, "fluxion-web": false, "my-kube-system": false,
	} {
		if got := Reserved(name); got != want {
			t.Errorf("Reserved(%q) is %v", name, got)
		}
	}
}

func TestNamesOfATenant(t *testing.T) {
	cases := map[string]struct {
		why       string
		tenant    *v1alpha1.Tenant
		namespace string
		want      string
	}{
		"its own":              {"the prefix is the tenant's name by default", tenant("acme"), "acme-web", ""},
		"another's":            {"names tell tenants apart", tenant("acme"), "globex-web", `metadata.name: "globex-web" is not under the prefix "acme-" of Tenant "acme"; call it "acme-globex-web"`},
		"its name alone":       {"it is not under the prefix", tenant("acme"), "acme", `metadata.name: "acme" is not under the prefix "acme-" of Tenant "acme"; call it "acme-acme"`},
		"one that runs on":     {"acmecorp is another tenant", tenant("acme"), "acmecorp-web", `metadata.name: "acmecorp-web" is not under the prefix "acme-" of Tenant "acme"; call it "acme-acmecorp-web"`},
		"under its own prefix": {"the platform team may choose it", tenant("acme", prefix("ac-")), "ac-web", ""},
		"the system's":         {"whatever the prefix is", tenant("x", prefix("kube-")), "kube-system", `metadata.name: "kube-system" is reserved for the system; choose another name under "kube-"`},
		"too long": {
			"Kubernetes has a bound", tenant("acme"), "acme-" + strings.Repeat("w", 59),
			`metadata.name: "acme-` + strings.Repeat("w", 59) + `" has 64 characters; use at most 63`,
		},
		"the prefix alone": {"it is no name", tenant("acme"), "acme-", `metadata.name: "acme-" is no namespace's name; use lower-case letters, digits and '-', ending with a letter or digit`},
		"with capitals":    {"it is no name", tenant("acme"), "acme-Web", `metadata.name: "acme-Web" is no namespace's name; use lower-case letters, digits and '-', ending with a letter or digit`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := ""
			if err := CheckName(c.tenant, c.namespace); err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("%s:\ngot  %s\nwant %s", c.why, got, c.want)
			}
		})
	}
}

func TestPeeringTakesTwo(t *testing.T) {
	all := map[string]*v1alpha1.Tenant{}
	for _, other := range []*v1alpha1.Tenant{tenant("globex", peers("initech", "acme")), tenant("initech", peers("globex")), tenant("acme", peers("acme"))} {
		all[other.Name] = other
	}
	us := tenant("acme", peers("initech", "globex", "nobody", "acme", "globex"))
	got := MutualPeers(us, func(name string) *v1alpha1.Tenant { return all[name] })
	if diff := cmp.Diff([]string{"globex"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestQuotaIsTheSizesWithOverrides(t *testing.T) {
	cases := map[string]struct {
		why       string
		namespace *v1alpha1.TenantNamespace
		profile   *v1alpha1.NamespaceProfile
		want      corev1.ResourceList
		err       string
	}{
		"a size":               {"it is what was offered", namespace("acme-web", "small"), profile(), list("requests.cpu", "2", "requests.memory", "4Gi"), ""},
		"no size":              {"the sizes are listed", namespace("acme-web", "huge"), profile(), nil, `spec.size: "huge" is not a size of profile "default"; use large, short or small`},
		"an override":          {"it replaces one resource and adds another", namespace("acme-web", "small", quota("requests.cpu", "3", "pods", "9")), profile(v1alpha1.OverrideQuota), list("requests.cpu", "3", "requests.memory", "4Gi", "pods", "9"), ""},
		"an override not open": {"the profile decides", namespace("acme-web", "small", quota("pods", "9")), profile(v1alpha1.OverrideLimits), nil, `spec.overrides.quota: profile "default" does not let a namespace override it; remove it, or override limits`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := QuotaOf(c.namespace, c.profile)
			if message := text(err); message != c.err {
				t.Errorf("%s:\ngot  %s\nwant %s", c.why, message, c.err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.why, diff)
			}
			if diff := cmp.Diff(list("requests.cpu", "2", "requests.memory", "4Gi"), c.profile.Spec.Sizes["small"].Quota); diff != "" {
				t.Errorf("the profile was changed:\n%s", diff)
			}
		})
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestOnlyWhatFitsIsAdmitted(t *testing.T) {
	cases := map[string]struct {
		why    string
		tenant *v1alpha1.Tenant
		all    []*v1alpha1.TenantNamespace
		want   map[string]string
	}{
		"no bounds": {
			why: "ten namespaces are the default, and quota is unbounded", tenant: tenant("acme"),
			all: []*v1alpha1.TenantNamespace{namespace("acme-a", "large"), namespace("acme-b", "large")},
		},
		"max, by name": {
			why: "offline nothing has been created", tenant: tenant("acme", room(1)),
			all:  []*v1alpha1.TenantNamespace{namespace("acme-b", "small"), namespace("acme-a", "small")},
			want: map[string]string{"acme-b": `metadata.name: "acme-b" is one namespace more than the 1 that Tenant "acme" may have; remove one, or raise its spec.namespaces.max`},
		},
		"max, by age": {
			why: "what is there stays", tenant: tenant("acme", room(1)),
			all:  []*v1alpha1.TenantNamespace{namespace("acme-b", "small", created(1)), namespace("acme-a", "small", created(2))},
			want: map[string]string{"acme-a": `metadata.name: "acme-a" is one namespace more than the 1 that Tenant "acme" may have; remove one, or raise its spec.namespaces.max`},
		},
		"none": {
			why: "max 0 is written, not left out", tenant: tenant("acme", room(0)),
			all:  []*v1alpha1.TenantNamespace{namespace("acme-a", "small")},
			want: map[string]string{"acme-a": `metadata.name: "acme-a" is one namespace more than the 0 that Tenant "acme" may have; remove one, or raise its spec.namespaces.max`},
		},
		"exactly the budget": {
			why: "all of it may be used", tenant: tenant("acme", hard("requests.cpu", "18")),
			all: []*v1alpha1.TenantNamespace{namespace("acme-a", "large"), namespace("acme-b", "small")},
		},
		"over the budget": {
			why: "a smaller one after it still fits", tenant: tenant("acme", hard("requests.cpu", "20", "requests.memory", "100Gi")),
			all:  []*v1alpha1.TenantNamespace{namespace("acme-a", "large"), namespace("acme-b", "large"), namespace("acme-c", "small")},
			want: map[string]string{"acme-b": `spec.size: "large" brings Tenant "acme" to requests.cpu 32 of 20, requests.memory 128Gi of 100Gi; use a smaller size, or raise its spec.quota.hard`},
		},
		"another name of a resource": {
			why: "a ResourceQuota takes cpu for requests.cpu", tenant: tenant("acme", hard("requests.cpu", "4")),
			all:  []*v1alpha1.TenantNamespace{namespace("acme-a", "small"), namespace("acme-b", "short")},
			want: map[string]string{"acme-b": `spec.size: "short" brings Tenant "acme" to requests.cpu 5 of 4; use a smaller size, or raise its spec.quota.hard`},
		},
		"an unbounded resource": {
			why: "the namespace could use all of it", tenant: tenant("acme", hard("requests.cpu", "4", "pods", "9")),
			all:  []*v1alpha1.TenantNamespace{namespace("acme-a", "small")},
			want: map[string]string{"acme-a": `spec.size: "small" does not bound pods, which the budget of Tenant "acme" does; use a size that bounds it, or take it out of spec.quota.hard`},
		},
		"several clusters": {
			why: "the quota is there in each of them", tenant: tenant("acme", hard("requests.cpu", "3")),
			all:  []*v1alpha1.TenantNamespace{namespace("acme-a", "small", placed("x", "y"))},
			want: map[string]string{"acme-a": `spec.size: "small" brings Tenant "acme" to requests.cpu 4 of 3; use a smaller size, or raise its spec.quota.hard`},
		},
		"an override": {
			why: "the line to change is its own", tenant: tenant("acme", hard("requests.cpu", "4")),
			all:  []*v1alpha1.TenantNamespace{namespace("acme-a", "small", quota("requests.cpu", "5"))},
			want: map[string]string{"acme-a": `spec.overrides.quota: "small" brings Tenant "acme" to requests.cpu 5 of 4; use a smaller size, or raise its spec.quota.hard`},
		},
		"a profile that is not there": {
			why: "it has no quota yet, and is one of max", tenant: tenant("acme", room(1), hard("requests.cpu", "1")),
			all:  []*v1alpha1.TenantNamespace{namespace("acme-a", "small", func(n *v1alpha1.TenantNamespace) { n.Spec.Profile = "gone" }), namespace("acme-b", "small")},
			want: map[string]string{"acme-b": `metadata.name: "acme-b" is one namespace more than the 1 that Tenant "acme" may have; remove one, or raise its spec.namespaces.max`},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			p := profile(v1alpha1.OverrideQuota)
			got := map[string]string{}
			for name, err := range Admit(c.tenant, c.all, func(name string) *v1alpha1.NamespaceProfile {
				if name == p.Name {
					return p
				}
				return nil
			}) {
				got[name] = err.Error()
			}
			if want := maps.Clone(c.want); !maps.Equal(want, got) {
				t.Errorf("%s (-want +got):\n%s", c.why, cmp.Diff(want, got))
			}
		})
	}
}
