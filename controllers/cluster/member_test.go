package cluster

import (
	"context"
	"net"
	"net/url"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cpv1 "github.com/aetherplatform/aether/api/controlplane/v1alpha1"
	"github.com/aetherplatform/aether/internal/controlplane"
	"github.com/aetherplatform/aether/internal/testenv"
)

// Whoever is outside of the cluster that API servers run in reaches them in a way of its
// own, and what a cluster has from its beginning is put back where it was changed.
func TestAClusterGetsWhatEveryClusterHas(t *testing.T) {
	env := testenv.Start(t)
	at, err := url.Parse(env.Config.Host)
	if err != nil {
		t.Fatal(err)
	}
	var asked string
	dial := Dial(func(ctx context.Context, network, address string) (net.Conn, error) {
		asked = address
		return (&net.Dialer{}).DialContext(ctx, network, at.Host)
	})
	m, err := dial.reach(credential{
		endpoint: cpv1.APIEndpoint{Host: "localhost", Port: controlplane.APIServerPort},
		ca:       env.Config.CAData, cert: env.Config.CertData, key: env.Config.KeyData,
	})
	if err != nil {
		t.Fatal(err)
	}
	prepare := func() {
		t.Helper()
		if err := m.prepare(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, want := range controlplane.Inside() {
			is := &rbacv1.ClusterRoleBinding{}
			if err := env.Client.Get(t.Context(), client.ObjectKeyFromObject(want), is); err != nil {
				t.Fatal(err)
			}
			if is.RoleRef != want.RoleRef || len(is.Subjects) != 1 || is.Subjects[0] != want.Subjects[0] {
				t.Errorf("%s binds %v to %v, want %v to %v", want.Name, is.Subjects, is.RoleRef, want.Subjects, want.RoleRef)
			}
		}
	}
	prepare()
	if asked != "localhost:6443" {
		t.Errorf("a connection was opened to %q, want localhost:6443", asked)
	}
	changed := controlplane.Inside()[0]
	changed.Subjects[0].Name = "somebody"
	if err := env.Client.Update(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	prepare()
	if err := env.Client.Get(t.Context(), client.ObjectKeyFromObject(changed), changed); err != nil {
		t.Fatal(err)
	}
	changed.Annotations, changed.Subjects = map[string]string{rbacv1.AutoUpdateAnnotationKey: "false"}, nil
	if err := env.Client.Update(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	if err := m.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := env.Client.Get(t.Context(), client.ObjectKeyFromObject(changed), changed); err != nil || len(changed.Subjects) > 0 {
		t.Errorf("rights that were taken away are back: %v (%v)", changed.Subjects, err)
	}
}

// Cluster API waits for it, and a status that was written when an API server answered for
// the first time may have been refused.
func TestAControlPlaneThatHasAnsweredStaysInitialized(t *testing.T) {
	cp := &cpv1.AetherControlPlane{ObjectMeta: metav1.ObjectMeta{Namespace: "aether-cluster-acme-prod", Name: "acme-prod", UID: "one"}, Spec: cpv1.AetherControlPlaneSpec{
		Version: "v1.36.3", Network: cpv1.Network{PodCIDR: "10.100.0.0/16", ServiceCIDR: "10.101.0.0/16"},
	}}
	r := &Reconciler{}
	plan, err := controlplane.NewPlan(cp, controlplane.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r.met.meet(cp, "v1.36.3")
	if err := r.greet(t.Context(), &scope{cp: cp, plan: plan}); err != nil {
		t.Fatal(err)
	}
	if !ptr.Deref(cp.Status.Initialization.ControlPlaneInitialized, false) {
		t.Error("it is not initialized any more")
	}
}
