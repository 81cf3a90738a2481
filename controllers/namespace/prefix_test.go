package namespace

import (
	"context"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// fakeIndexer has a fake client's indexes added as a manager's are.
type fakeIndexer struct{ *fake.ClientBuilder }

func (f fakeIndexer) IndexField(_ context.Context, o client.Object, field string, of client.IndexerFunc) error {
	f.WithIndex(o, field, of)
	return nil
}

// indexed reads tenants by what they are indexed by.
func indexed(t *testing.T, tenants ...*v1alpha1.Tenant) client.Reader {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	builder := fake.NewClientBuilder().WithScheme(scheme)
	if err := index(fakeIndexer{builder}); err != nil {
		t.Fatal(err)
	}
	for _, tenant := range tenants {
		builder.WithObjects(tenant)
	}
	return builder.Build()
}

// prefixed is a tenant that was made at a second; without a prefix it has that of its name.
func prefixed(name, prefix string, made int64) *v1alpha1.Tenant {
	tenant := &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.Unix(made, 0)}}
	tenant.Spec.Namespaces.Prefix = prefix
	return tenant
}

func TestPrefixesOverlapWhereANameCouldHaveBoth(t *testing.T) {
	var all []*v1alpha1.Tenant
	for _, name := range []string{"a", "a-b", "a-b-c", "a-bc", "ab", "ab-c", "b", "c", "c-c"} {
		all = append(all, prefixed(name, "", 1))
	}
	all = append(all, prefixed("x", "a-b-d-", 1), prefixed("y", "b--", 1), prefixed("z", "c-c-c-c-", 1))
	reader := indexed(t, all...)
	met := 0
	for _, tenant := range all {
		var want []string
		for _, other := range all {
			a, b := tenant.Prefix(), other.Prefix()
			if other != tenant && (strings.HasPrefix(a, b) || strings.HasPrefix(b, a)) {
				want = append(want, other.Name)
			}
		}
		met += len(want)
		got := neighbours(t.Context(), reader, []*v1alpha1.Tenant{tenant})
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%q meets the prefixes of %q, not of %q", tenant.Prefix(), got, want)
		}
	}
	if met != 22 {
		t.Errorf("%d meet: the cases are not what they were", met)
	}
}

func TestWhoHasAPrefixForLongestHoldsIt(t *testing.T) {
	inner, outer, between := prefixed("team-web-shop", "", 3), prefixed("team", "", 2), prefixed("team-web", "", 1)
	twin := prefixed("a-twin", "team-web-", 1)
	reader := indexed(t, inner, outer, between, twin, prefixed("other", "", 0))
	for _, c := range []struct{ tenant, holder *v1alpha1.Tenant }{
		{inner, twin}, {outer, twin}, {between, twin}, {twin, nil},
	} {
		got, err := prefixHolder(t.Context(), reader, c.tenant)
		if err != nil {
			t.Fatal(err)
		}
		if (got == nil) != (c.holder == nil) || got != nil && got.Name != c.holder.Name {
			t.Errorf("the prefix of %s is held by %v, not %v", c.tenant.Name, got, c.holder)
		}
	}
}
