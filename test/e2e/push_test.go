package e2e

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/testenv"
)

// What `make up` does: the example fleet becomes namespaces that are open, closed
// in by everything that was rendered for them.
func TestPushBecomesReadyNamespaces(t *testing.T) {
	w := startWorld(t, filepath.Join(testenv.Root(), "tenants"))
	head, err := w.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	outcome := w.becomesReady(head)
	if len(outcome.Namespaces) < 3 {
		t.Errorf("the example fleet has %d namespaces; it should show more", len(outcome.Namespaces))
	}
	w.holdsWhatIsRendered()

	begun := time.Now()
	w.becomesReady(w.pushes("Give acme a place to try things", map[string]string{
		"acme/namespaces/lab.yaml": namespaceYAML("acme", "acme-lab"),
	}))
	t.Logf("a push became a ready namespace in %.2f s", time.Since(begun).Seconds())

	var lab corev1.Namespace
	if err := w.Client.Get(t.Context(), client.ObjectKey{Name: "acme-lab"}, &lab); err != nil {
		t.Fatal(err)
	}
	if lab.Labels[v1alpha1.LabelSealed] != "false" || lab.Labels[v1alpha1.LabelTenant] != "acme" {
		t.Errorf("the namespace is ready and labelled %v", lab.Labels)
	}
	w.holdsWhatIsRendered()
}

func TestBrokenPushShowsItsErrorAndOthersAreReady(t *testing.T) {
	w := newWorld(t, fleetOf("ant", "bee"))
	head, err := w.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.becomesReady(head)

	outcome := w.settles(w.pushes("A mistake of ant's beside a wish of bee's", map[string]string{
		"ant/namespaces/web.yaml": sizedYAML("ant", "ant-web", "huge"),
		"ant/namespaces/two.yaml": namespaceYAML("ant", "ant-two"),
		"bee/namespaces/two.yaml": namespaceYAML("bee", "bee-two"),
	}))

	if len(outcome.Source.Status.Failures) != 1 || outcome.Source.Status.Failures[0].Tenant != "ant" {
		t.Fatalf("the source reports %+v, want errors of ant only", outcome.Source.Status.Failures)
	}
	want := []string{`ant/namespaces/web.yaml:7: spec.size: "huge" is not a size of profile "default"; use small`}
	if diff := cmp.Diff(want, outcome.Source.Status.Failures[0].Errors); diff != "" {
		t.Errorf("the errors of ant (-want +got):\n%s", diff)
	}
	var names []string
	for _, n := range outcome.Namespaces {
		names = append(names, n.Name)
	}
	slices.Sort(names)
	if diff := cmp.Diff([]string{"ant-web", "bee-two", "bee-web"}, names); diff != "" {
		t.Errorf("namespaces: ant keeps what it had, bee gets what it asked for (-want +got):\n%s", diff)
	}
	for _, n := range outcome.Namespaces {
		if n.Spec.Size == "huge" {
			t.Errorf("%s was changed by a push that is wrong", n.Name)
		}
	}

	w.becomesReady(w.pushes("Put it right", map[string]string{
		"ant/namespaces/web.yaml": namespaceYAML("ant", "ant-web"),
	}))
	w.holdsWhatIsRendered()
}
