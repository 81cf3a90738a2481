package testenv_test

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/testenv"
)

func TestAPIServerKnowsAetherAndTellsUsersApart(t *testing.T) {
	env := testenv.Start(t)
	tenant := &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "acme"}}
	if err := env.Client.Create(t.Context(), tenant); err != nil {
		t.Fatal(err)
	}
	if got := *tenant.Spec.Namespaces.Max; got != 10 {
		t.Errorf("namespaces.max defaults to %d, want 10", got)
	}
	if err := env.ClientAs(t, "nobody").Get(t.Context(), client.ObjectKeyFromObject(tenant), tenant); err == nil {
		t.Error("a user without rights can read a Tenant")
	}
}

func TestControllerManagerEndsNamespaces(t *testing.T) {
	env := testenv.Start(t)
	env.StartControllerManager(t)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "short-lived"}}
	if err := env.Client.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	if err := env.Client.Delete(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, func(ctx context.Context) error {
		return testenv.Gone(env.Client.Get(ctx, client.ObjectKeyFromObject(ns), ns))
	})
}
