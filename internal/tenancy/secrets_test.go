package tenancy

import (
	"testing"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

func TestPlacesOverlapBySegments(t *testing.T) {
	for name, c := range map[string]struct {
		why  string
		a, b Place
		want bool
	}{
		"the same":               {"it is one place", Place{"secret", "acme"}, Place{"secret", "acme"}, true},
		"one inside another":     {"who has the outer has the inner", Place{"secret", "acme"}, Place{"secret", "acme/x"}, true},
		"deep inside":            {"it is the same further down", Place{"secret", "teams"}, Place{"secret", "teams/acme/x"}, true},
		"names that begin alike": {"acme-b is not acme's", Place{"secret", "teams/acme"}, Place{"secret", "teams/acme-b"}, false},
		"another mount":          {"it is another engine", Place{"secret", "acme"}, Place{"kv", "acme"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got, back := c.a.Overlaps(c.b), c.b.Overlaps(c.a); got != c.want || back != c.want {
				t.Errorf("%s and %s: %t and %t, want %t: %s", c.a, c.b, got, back, c.want, c.why)
			}
		})
	}
}

func TestATenantsPlaceIsItsNameWhereItSaysNothing(t *testing.T) {
	for want, secrets := range map[string]*v1alpha1.TenantSecrets{
		"secret/acme":   nil,
		"kv/acme":       {Mount: "kv"},
		"secret/a/acme": {Path: "a/acme"},
	} {
		if got := PlaceOf(tenant("acme", func(s *v1alpha1.TenantSpec) { s.Secrets = secrets })).String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
