package render

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// until is an exception for a tenant that ends at midnight of a day.
func until(day string, tenant string, allow v1alpha1.Allowance, namespaces ...string) v1alpha1.ExceptionSpec {
	ends, err := time.Parse(time.DateOnly, day)
	if err != nil {
		panic(err)
	}
	return v1alpha1.ExceptionSpec{
		Tenant: tenant, Namespaces: namespaces, Allow: allow,
		Owner: "platform@example.com", Reason: "until it is moved", Expires: metav1.NewTime(ends),
	}
}

func exception(name string, spec v1alpha1.ExceptionSpec) *v1alpha1.TenantException {
	return &v1alpha1.TenantException{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}
}

func TestANamespaceCarriesWhatItsTenantIsHeldTo(t *testing.T) {
	quay := v1alpha1.Allowance{Registries: []string{"quay.io/acme"}}
	balancer := v1alpha1.Allowance{Exposure: []v1alpha1.Exposure{v1alpha1.ExposeLoadBalancer}}
	now := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		change func(*Inputs, *v1alpha1.NamespaceProfile)
		want   map[string]string
	}{
		"nothing where nothing is said": {func(*Inputs, *v1alpha1.NamespaceProfile) {}, nil},
		"what the tenant and the profile say": {
			func(in *Inputs, p *v1alpha1.NamespaceProfile) {
				in.Tenant.Spec.Registries = []string{"registry.example.com/acme", "ghcr.io/acme"}
				in.Tenant.Spec.Hostnames = []string{"*.acme.example.com"}
				in.Tenant.Spec.StorageClasses = []string{"fast"}
				in.Tenant.Spec.PriorityClasses = []string{"low", "high"}
				in.Tenant.Spec.NodeSelector = map[string]string{"zone": "a", "pool": "acme"}
				p.Spec.Exposure = []v1alpha1.Exposure{v1alpha1.ExposeNodePort, v1alpha1.ExposeLoadBalancer}
			},
			map[string]string{
				"registries": "registry.example.com/acme ghcr.io/acme", "hostnames": "*.acme.example.com",
				"storage-classes": "fast", "priority-classes": "low high", "node-selector": "pool=acme zone=a",
				"exposure": "LoadBalancer NodePort",
			},
		},
		"what the profile would set itself": {
			func(in *Inputs, p *v1alpha1.NamespaceProfile) {
				in.Tenant.Spec.Registries = []string{"registry.example.com/acme"}
				p.Spec.Annotations = map[string]string{v1alpha1.AnnotationRegistries: "evil.example.com"}
			},
			map[string]string{"registries": "registry.example.com/acme"},
		},
		"exceptions of this tenant for this namespace": {
			func(in *Inputs, p *v1alpha1.NamespaceProfile) {
				p.Spec.Exceptions = []v1alpha1.ProfileException{
					{Name: "quay", ExceptionSpec: until("2027-03-31", "acme", quay)},
					{Name: "not-theirs", ExceptionSpec: until("2027-03-31", "globex", balancer)},
				}
				in.Exceptions = []*v1alpha1.TenantException{
					exception("b", until("2027-01-01", "acme", balancer, "acme-payments", "acme-web")),
					exception("a", until("2027-01-01", "acme", v1alpha1.Allowance{Hostnames: []string{"old.example.org"}}, "acme-web")),
				}
			},
			map[string]string{"exceptions": "exposure:LoadBalancer@2027-01-01T00:00:00Z registries:quay.io/acme@2027-03-31T00:00:00Z"},
		},
		"of two for the same the one that ends last": {
			func(in *Inputs, _ *v1alpha1.NamespaceProfile) {
				in.Exceptions = []*v1alpha1.TenantException{
					exception("short", until("2027-01-01", "acme", quay)), exception("long", until("2028-01-01", "acme", quay)),
				}
			},
			map[string]string{"exceptions": "registries:quay.io/acme@2028-01-01T00:00:00Z"},
		},
		"those that have ended, where nobody asks for a moment": {
			func(in *Inputs, _ *v1alpha1.NamespaceProfile) {
				in.Exceptions = []*v1alpha1.TenantException{exception("old", until("2020-01-01", "acme", quay))}
			},
			map[string]string{"exceptions": "registries:quay.io/acme@2020-01-01T00:00:00Z"},
		},
		"at a moment, only those that stand": {
			func(in *Inputs, p *v1alpha1.NamespaceProfile) {
				in.Now = now
				p.Spec.Exceptions = []v1alpha1.ProfileException{{Name: "ends-now", ExceptionSpec: until("2026-12-01", "acme", quay)}}
				in.Exceptions = []*v1alpha1.TenantException{
					exception("ended", until("2026-11-30", "acme", quay)), exception("stands", until("2026-12-02", "acme", balancer)),
				}
			},
			map[string]string{"exceptions": "exposure:LoadBalancer@2026-12-02T00:00:00Z"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			in, p := example(t), parse[v1alpha1.NamespaceProfile](t, profileYAML)
			p.Spec.Base.Path = "profiles/default"
			c.change(&in, p)
			template, err := Compile(p, EmbeddedBase())
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for k, v := range mustRender(t, template, in)[0].GetAnnotations() {
				got[strings.TrimPrefix(k, v1alpha1.LabelPrefix)] = v
			}
			for _, provenance := range []string{"component", "digest", "source-revision", "source-path"} {
				delete(got, provenance)
			}
			if diff := cmp.Diff(c.want, got); diff != "" && len(got)+len(c.want) > 0 {
				t.Error(diff)
			}
		})
	}
}

// A tenant is rendered anew, and only it, when what it is granted changes.
func TestAnExceptionTouchesItsTenantOnly(t *testing.T) {
	r := New(Options{})
	before := r.Render(smallFleet(), nil)
	granted := with(smallFleet(), "_platform/quay.yaml", file(v1alpha1.KindTenantException, `
metadata: {name: quay}
spec: {tenant: acme, allow: {registries: [quay.io/acme]}, owner: platform, reason: until it is mirrored, expires: "2027-03-31T00:00:00Z"}
`))
	after := r.Render(granted, nil)
	for _, e := range after.Fleet.Errors() {
		t.Fatal(e)
	}
	for i, now := range after.Tenants {
		if changed := now.Name == "acme"; now.Changed != changed || (before.Tenants[i].Digest != now.Digest) != changed {
			t.Errorf("%s: changed %t, digest %s then %s", now.Name, now.Changed, before.Tenants[i].Digest, now.Digest)
		}
	}

	// While the platform's directory cannot be read, what it granted stands.
	broken := r.Render(with(granted, "_platform/quay.yaml", file(v1alpha1.KindTenantException, "\nmetadata: {name: quay}\nspec: {tenat: acme}\n")), nil)
	if len(broken.Fleet.PlatformErrors) == 0 || broken.Digest != after.Digest {
		t.Errorf("errors %v; digest %s, want %s", broken.Fleet.PlatformErrors, broken.Digest, after.Digest)
	}
}

func TestTheNextEndIsThatOfWhatStands(t *testing.T) {
	now := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	var all []Exception
	for _, day := range []string{"2026-12-01", "2027-05-01", "2027-02-01", "2020-01-01"} {
		spec := until(day, "acme", v1alpha1.Allowance{})
		all = append(all, Exception{ExceptionSpec: &spec})
	}
	if got, want := NextEnd(all, now), time.Date(2027, 2, 1, 0, 0, 0, 0, time.UTC); !got.Equal(want) {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := NextEnd(all[:1], now); !got.IsZero() {
		t.Errorf("of one that has ended: %s", got)
	}
}
