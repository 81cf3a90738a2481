package kyverno

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aetherplatform/aether/internal/kyverno"
	"github.com/aetherplatform/aether/internal/testenv"
	"github.com/aetherplatform/aether/policies"
)

// startKyverno runs Kyverno, as its own service account, and returns what kills it.
func startKyverno(t testing.TB, e *testenv.Env) (kill func()) {
	t.Helper()
	account := "system:serviceaccount:" + strings.ReplaceAll(kyverno.Account.String(), "/", ":")
	kubeconfig := e.Kubeconfig(t, account, "system:authenticated", "system:serviceaccounts", "system:serviceaccounts:"+kyverno.Account.Namespace)
	port := freePort(t)
	kill = e.Run(t, "kyverno", kyverno.Env(), kyverno.Args(kubeconfig, port, freePort(t))...)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := kyverno.AwaitServing(ctx, port); err != nil {
		t.Fatal(err)
	}
	return kill
}

// installKyverno installs and runs Kyverno with every policy.
func installKyverno(t testing.TB, e *testenv.Env) (kill func()) {
	t.Helper()
	e.StartControllerManager(t) // puts the parts of Kyverno's roles together
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := kyverno.Install(ctx, e.Client, filepath.Join(testenv.Root(), "bin")); err != nil {
		t.Fatal(err)
	}
	kill = startKyverno(t, e)
	if err := policies.InstallKyverno(ctx, e.Client); err != nil {
		t.Fatal(err)
	}
	return kill
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

func every(folder, string) bool { return true }

// Kyverno holds every policy by itself: none of the floor is installed.
func TestKyvernoHolds(t *testing.T) {
	e := testenv.Start(t, withoutPodSecurity())
	all := folders(t)
	installKyverno(t, e)
	populate(t, e.Client, all)
	alice := e.ClientAs(t, tenantUser, "system:masters")
	awaitRefusal(t, alice, all, every)

	holds(t, alice, all, every)

	t.Run("and leaves other Namespaces alone", func(t *testing.T) {
		if err := e.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "nobodys"}}); err != nil {
			t.Fatal(err)
		}
		for _, f := range all {
			for _, c := range f.cases {
				if c.admits || c.schema {
					continue
				}
				elsewhere := c.object.DeepCopy()
				elsewhere.SetNamespace("nobodys")
				if err := attempt(t.Context(), alice, elsewhere); err != nil && strings.Contains(err.Error(), "aether-") {
					t.Errorf("%s %s is refused where no tenant is: %v", f.name, c, err)
				}
			}
		}
	})
}

// Isolation does not depend on Kyverno being up: what of it is essential the API
// server refuses while Kyverno's webhooks fail, and when they are gone.
func TestFloorHoldsWhileKyvernoIsDown(t *testing.T) {
	e := testenv.Start(t, withoutPodSecurity())
	all := folders(t)
	installFloor(t, e, all)
	kill := installKyverno(t, e)
	populate(t, e.Client, all)
	alice := e.ClientAs(t, tenantUser, "system:masters")
	awaitRefusal(t, alice, all, every)

	kill()
	t.Run("killed, with webhooks that fail closed", func(t *testing.T) {
		for _, f := range all {
			for _, c := range f.cases {
				if !f.essential(c.policy) {
					continue
				}
				err := attempt(t.Context(), alice, c.object)
				switch {
				case err == nil && c.admits && strings.HasPrefix(f.name, "service-accounts") && c.object.GetKind() == "Secret":
				case err == nil:
					t.Errorf("%s %s went through while Kyverno could not be asked", f.name, c)
				case c.admits && !strings.Contains(err.Error(), "failed calling webhook"):
					t.Errorf("%s %s is refused for another reason than that Kyverno is down: %v", f.name, c, err)
				case !c.admits:
					c.check(t, alice)
				}
			}
		}
	})
	t.Run("gone, with its webhooks", func(t *testing.T) {
		if err := e.Client.DeleteAllOf(t.Context(), &admissionv1.ValidatingWebhookConfiguration{}); err != nil {
			t.Fatal(err)
		}
		if err := e.Client.DeleteAllOf(t.Context(), &admissionv1.MutatingWebhookConfiguration{}); err != nil {
			t.Fatal(err)
		}
		testenv.Eventually(t, func(ctx context.Context) error { // until the API server has forgotten them
			for _, f := range all {
				for _, c := range f.cases {
					if c.admits {
						if err := attempt(ctx, alice, c.object); err != nil {
							return fmt.Errorf("%s %s: %w", f.name, c, err)
						}
					}
				}
			}
			return nil
		})
		holds(t, alice, all, folder.essential)
	})
	t.Run("and Kyverno takes up again when it is back", func(t *testing.T) {
		startKyverno(t, e)
		awaitRefusal(t, alice, all, func(f folder, policy string) bool { return !f.essential(policy) })
		testenv.Eventually(t, func(ctx context.Context) error {
			for _, f := range all {
				if f.name == "exposure" {
					for _, c := range f.cases {
						if !c.admits {
							continue
						}
						if err := attempt(ctx, alice, c.object); err != nil {
							return err
						}
					}
					return nil
				}
			}
			return errors.New("there is no folder exposure")
		})
	})
}
