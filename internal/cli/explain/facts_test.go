package explain

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

func TestInventoryIDsAreRead(t *testing.T) {
	for id, test := range map[string]struct {
		why  string
		want identity
	}{
		"_acme-web__Namespace": {
			why:  "a cluster-scoped object has no namespace, and the core group no name",
			want: identity{name: "acme-web", kind: schema.GroupVersionKind{Version: "v1", Kind: "Namespace"}},
		},
		"acme-web_default-deny_networking.k8s.io_NetworkPolicy": {
			why:  "the usual case",
			want: identity{"acme-web", "default-deny", schema.GroupVersionKind{Group: "networking.k8s.io", Version: "v1", Kind: "NetworkPolicy"}},
		},
		"acme-web_team__viewer_rbac.authorization.k8s.io_Role": {
			why:  "RBAC allows colons in names, and inventories write them as __",
			want: identity{"acme-web", "team:viewer", schema.GroupVersionKind{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "Role"}},
		},
	} {
		got, ok := parseID(v1alpha1.InventoryEntry{ID: id, Version: "v1"})
		if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(identity{})); !ok || diff != "" {
			t.Errorf("%s, because %s (-want +got):\n%s", id, test.why, diff)
		}
	}
	if _, ok := parseID(v1alpha1.InventoryEntry{ID: "nonsense"}); ok {
		t.Error("an ID that is none was read")
	}
}
