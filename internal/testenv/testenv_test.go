package testenv_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
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

// bystander is set in a test process that starts an API server and waits to be killed.
const bystander = "TESTENV_BYSTANDER"

func TestKilledTestLeavesNoAPIServer(t *testing.T) {
	if os.Getenv(bystander) != "" {
		fmt.Println(testenv.Start(t).Config.Host)
		select {}
	}
	if runtime.GOOS != "linux" {
		t.Skip("the guard needs /proc, so Linux")
	}
	test := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	test.Env = append(os.Environ(), bystander+"=1")
	out, err := test.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := test.Start(); err != nil {
		t.Fatal(err)
	}
	var host string
	if _, err := fmt.Fscanln(out, &host); err != nil {
		t.Fatal(err)
	}
	if err := answers(t.Context(), host); err != nil {
		t.Fatalf("the API server does not answer while its test runs: %v", err)
	}
	if err := test.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = test.Wait()
	testenv.Eventually(t, func(ctx context.Context) error {
		if answers(ctx, host) == nil {
			return errors.New("the API server still answers")
		}
		return nil
	})
}

// answers is nil when something speaks HTTP there; its certificate is not looked at.
func answers(ctx context.Context, host string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+strings.TrimPrefix(host, "https://"), nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	return response.Body.Close()
}
