package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cpv1 "github.com/aetherplatform/aether/api/controlplane/v1alpha1"
	"github.com/aetherplatform/aether/internal/controlplane"
	"github.com/aetherplatform/aether/internal/testenv"
)

func TestAnUpgrade(t *testing.T) {
	w := newWorld(t)
	w.withCertManager()
	w.operate()
	w.asks("acme-prod")
	w.comesUp("acme-prod")

	w.run("replaces API servers first, and nothing else before they answer as the new version", func(w *world) {
		w.members.pretend("v1.36.3")
		w.upgrades("acme-prod", "v1.36.4", 5*time.Minute)
		w.becomes("acme-prod", "apiserver", "v1.36.4")
		w.says("acme-prod", "Ready", metav1.ConditionFalse, "Upgrade from v1.36.3 to v1.36.4: Waiting for the API servers: ")
		w.says("acme-prod", "Available", metav1.ConditionTrue, "The API servers answer; Upgrade from v1.36.3")
		w.runs(deploymentOf("acme-prod", "apiserver"))
		w.says("acme-prod", "Ready", metav1.ConditionFalse, "Upgrade from v1.36.3 to v1.36.4: The API servers answer as v1.36.3, want v1.36.4")
		w.has("acme-prod", "controller-manager", "v1.36.3")
		w.members.pretend("")
	})
	w.run("then controller manager and scheduler", func(w *world) {
		w.becomes("acme-prod", "controller-manager", "v1.36.4")
		cp := w.says("acme-prod", "Ready", metav1.ConditionFalse, "Upgrade from v1.36.3 to v1.36.4: Waiting for the controller manager")
		if u := cp.Status.Upgrade; u == nil || u.From != "v1.36.3" || u.To != "v1.36.4" || u.StartedAt == nil || u.APIServersAt == nil {
			w.Errorf("the upgrade is said to be %+v", u)
		}
		w.becomes("acme-prod", "scheduler", "v1.36.4")
		cp = w.comesUp("acme-prod")
		if diff := cmp.Diff([]cpv1.ComponentVersion{{Name: "apiserver", Version: "v1.36.4"}, {Name: "controller-manager", Version: "v1.36.4"}, {Name: "scheduler", Version: "v1.36.4"}}, cp.Status.Components); diff != "" {
			w.Errorf("versions are not as wanted (-want +got):\n%s", diff)
		}
		if cp.Status.Upgrade != nil || cp.Status.Version != "v1.36.4" {
			w.Errorf("it is of %s, and the upgrade is %+v", cp.Status.Version, cp.Status.Upgrade)
		}
		w.silent()
	})
	w.run("is taken back by itself when API servers do not become healthy", func(w *world) {
		w.upgrades("acme-prod", "v1.37.0", 4*time.Second)
		w.becomes("acme-prod", "apiserver", "v1.37.0")
		w.struggles("acme-prod")
		w.becomes("acme-prod", "apiserver", "v1.36.4")
		cp := w.says("acme-prod", "Stalled", metav1.ConditionTrue, "The upgrade to v1.37.0 failed, and the API servers go back to v1.36.4: not healthy after 4s: "+
			"Waiting for the API servers: 2 of 2 are available, 1 up to date; kube-apiserver of v1.37.0 is in ImagePullBackOff. "+
			"It is tried again when spec.version has been another; to stay, write v1.36.4")
		if cp.Spec.Version != "v1.37.0" {
			w.Errorf("the spec, which is Git's, now asks for %s", cp.Spec.Version)
		}
		w.says("acme-prod", "Available", metav1.ConditionTrue, "The API servers answer")
		w.has("acme-prod", "controller-manager", "v1.36.4")
		w.runs(deploymentOf("acme-prod", "apiserver"))
		w.says("acme-prod", "APIServerReady", metav1.ConditionTrue, "The API servers answer")
		w.says("acme-prod", "Stalled", metav1.ConditionTrue, "The upgrade to v1.37.0 failed")
		w.silent()
	})
	w.stop()
	w.operate()
	w.run("that failed is not tried again by another process", func(w *world) {
		w.silent()
		w.has("acme-prod", "apiserver", "v1.36.4")
	})
	w.run("that failed can be reverted in Git, and no further", func(w *world) {
		for _, version := range []string{"v1.36.3", "v1.38.0", "v1.35.9"} {
			err := w.changes("acme-prod", func(cp *cpv1.AetherControlPlane) { cp.Spec.Version = version })
			if want := "spec.version: a cluster goes up by one minor version at a time, and never back but to the version that its API servers still run"; err == nil || !strings.Contains(err.Error(), want) {
				w.Errorf("to %s: the API server says %v, want %s", version, err, want)
			}
		}
		w.upgrades("acme-prod", "v1.36.4", time.Minute)
		cp := w.says("acme-prod", "Ready", metav1.ConditionTrue, "")
		if cp.Status.Upgrade != nil {
			w.Errorf("the upgrade is still said to be %+v", cp.Status.Upgrade)
		}
	})
	w.run("is tried again when Git asks for it again", func(w *world) {
		w.upgrades("acme-prod", "v1.37.0", 5*time.Minute)
		for _, component := range []string{"apiserver", "controller-manager", "scheduler"} {
			w.becomes("acme-prod", component, "v1.37.0")
			w.runs(deploymentOf("acme-prod", component))
		}
		w.says("acme-prod", "Ready", metav1.ConditionTrue, "")
	})
	w.run("takes nothing back of controller manager and scheduler, of which those of before lead on", func(w *world) {
		w.upgrades("acme-prod", "v1.37.1", 3*time.Second)
		w.becomes("acme-prod", "apiserver", "v1.37.1")
		w.runs(deploymentOf("acme-prod", "apiserver"))
		w.says("acme-prod", "Stalled", metav1.ConditionTrue, "The API servers are of v1.37.1, but not healthy after 3s: Waiting for the controller manager: ")
		w.has("acme-prod", "apiserver", "v1.37.1")
		w.comesUp("acme-prod")
		w.silent()
	})
	w.run("to a version that is too far ahead of the controller manager waits for it", func(w *world) {
		w.upgrades("acme-prod", "v1.38.0", 5*time.Minute)
		w.becomes("acme-prod", "apiserver", "v1.38.0")
		w.runs(deploymentOf("acme-prod", "apiserver"))
		w.becomes("acme-prod", "controller-manager", "v1.38.0")
		w.says("acme-prod", "Ready", metav1.ConditionFalse, "Upgrade from v1.37.1 to v1.38.0: Waiting for the controller manager")
		w.upgrades("acme-prod", "v1.39.0", 5*time.Minute)
		w.says("acme-prod", "Ready", metav1.ConditionFalse, "Upgrade from v1.37.1 to v1.38.0: ")
		w.has("acme-prod", "apiserver", "v1.38.0")
		w.runs(deploymentOf("acme-prod", "controller-manager"))
		w.runs(deploymentOf("acme-prod", "scheduler"))
		w.becomes("acme-prod", "apiserver", "v1.39.0")
	})
}

// Killed at any of its writes during an upgrade, the controller that comes after it brings
// the upgrade to its end.
func TestAControllerThatIsKilledInAnUpgradeEndsIt(t *testing.T) {
	w := newWorld(t)
	w.withCertManager()
	const writes = 8 // and no fewer does it take
	for round := range 3 {
		name := fmt.Sprintf("killed-%d", round)
		at, late := 1+rand.IntN(writes), round%2 == 0
		w.run(fmt.Sprintf("at write %d, late %t", at, late), func(w *world) {
			w.wire.kill(0, false)
			w.operate()
			w.asks(name)
			w.comesUp(name)
			w.silent()
			w.wire.kill(at, late)
			go w.playsAlong(name)
			w.upgrades(name, "v1.37.0", 5*time.Minute)
			testenv.Eventually(w.T, func(context.Context) error {
				if !w.wire.isDead() {
					return fmt.Errorf("it lives on after %d writes", len(w.wire.take()))
				}
				return nil
			})
			w.stop()
			w.wire.kill(0, false)
			w.operate()
			defer w.stop()
			for _, component := range []string{"apiserver", "controller-manager", "scheduler"} {
				w.becomes(name, component, "v1.37.0")
			}
			cp := w.says(name, "Ready", metav1.ConditionTrue, "")
			if cp.Status.Upgrade != nil || cp.Status.Version != "v1.37.0" {
				w.Errorf("it is of %s, and the upgrade is %+v", cp.Status.Version, cp.Status.Upgrade)
			}
			w.silent()
		})
	}
}

// upgrades asks for a version, with a deadline.
func (w *world) upgrades(name, version string, deadline time.Duration) {
	w.Helper()
	if err := w.changes(name, func(cp *cpv1.AetherControlPlane) {
		cp.Spec.Version, cp.Spec.Upgrade = version, &cpv1.UpgradeSpec{ProgressDeadline: &metav1.Duration{Duration: deadline}}
	}); err != nil {
		w.Fatal(err)
	}
}

// becomes waits until a component is asked to be of a version.
func (w *world) becomes(name, component, version string) {
	w.Helper()
	testenv.Eventually(w.T, func(ctx context.Context) error {
		got, err := w.versionOf(ctx, name, component)
		if err == nil && got != version {
			err = fmt.Errorf("%s is asked to be of %s, want %s", component, got, version)
		}
		return err
	})
}

// has fails unless a component is asked to be of a version.
func (w *world) has(name, component, version string) {
	w.Helper()
	if got, err := w.versionOf(w.Context(), name, component); err != nil || got != version {
		w.Errorf("%s is asked to be of %s (%v), want %s", component, got, err, version)
	}
}

func (w *world) versionOf(ctx context.Context, name, component string) (string, error) {
	d := deploymentOf(name, component)
	if err := w.Client.Get(ctx, client.ObjectKeyFromObject(d), d); err != nil {
		return "", err
	}
	return controlplane.VersionOf(d.Spec.Template.Spec.Containers[0].Image), nil
}

// struggles says of the API servers that those of before run on, and that one of the new
// ones cannot get its image.
func (w *world) struggles(name string) {
	w.Helper()
	testenv.Eventually(w.T, func(ctx context.Context) error {
		d := deploymentOf(name, "apiserver")
		if err := w.Client.Get(ctx, client.ObjectKeyFromObject(d), d); err != nil {
			return err
		}
		d.Status.ObservedGeneration = d.Generation
		d.Status.Replicas, d.Status.ReadyReplicas, d.Status.AvailableReplicas, d.Status.UpdatedReplicas = 3, 2, 2, 1
		return w.Client.Status().Update(ctx, d)
	})
	d := deploymentOf(name, "apiserver")
	w.there(d)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: d.Namespace, Name: name + "-new", Labels: d.Spec.Template.Labels}, Spec: d.Spec.Template.Spec}
	pod.Spec.TerminationGracePeriodSeconds = nil
	w.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: d.Namespace, Name: "default"}})
	w.create(pod)
	w.Cleanup(func() { _ = w.Client.Delete(context.Background(), pod, client.GracePeriodSeconds(0)) })
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "kube-apiserver", Image: pod.Spec.Containers[0].Image,
		State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "whatever a registry says"}},
	}}
	if err := w.Client.Status().Update(w.Context(), pod); err != nil {
		w.Fatal(err)
	}
}

// Cluster API, and the rule of how far a version may go, read what there is from the
// status of a Deployment, which knows what is up to date and not what the others are.
func TestTheOldestVersionIsToldWhicheverWayVersionsGo(t *testing.T) {
	for name, test := range map[string]struct {
		known             []string
		now               string
		replicas, updated int32
		want              string
	}{
		"of one version":    {[]string{"v1.36.3"}, "v1.36.3", 2, 1, "v1.36.3:2"},
		"begun":             {[]string{"v1.36.3"}, "v1.36.4", 2, 0, "v1.36.3:2"},
		"half done":         {[]string{"v1.36.3"}, "v1.36.4", 3, 1, "v1.36.3:2 v1.36.4:1"},
		"done":              {[]string{"v1.36.3", "v1.36.4"}, "v1.36.4", 2, 2, "v1.36.4:2"},
		"half taken back":   {[]string{"v1.36.3", "v1.36.4"}, "v1.36.3", 3, 2, "v1.36.3:2 v1.36.4:1"},
		"none there":        {[]string{"v1.36.3"}, "v1.36.3", 0, 0, ""},
		"never known":       {nil, "v1.36.3", 2, 1, "v1.36.3:2"},
		"v1.9 before v1.10": {[]string{"v1.9.0"}, "v1.10.0", 2, 1, "v1.9.0:1 v1.10.0:1"},
	} {
		t.Run(name, func(t *testing.T) {
			d := deploymentOf("acme-prod", "apiserver")
			d.Spec.Template.Spec.Containers = []corev1.Container{{Image: "registry.k8s.io/kube-apiserver:" + test.now}}
			d.Status.Replicas, d.Status.UpdatedReplicas = test.replicas, test.updated
			var got []string
			for _, v := range versions(test.known, d) {
				got = append(got, fmt.Sprintf("%s:%d", v.Version, *v.Replicas))
			}
			if got := strings.Join(got, " "); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
