package cluster

import (
	"context"
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cpv1 "github.com/aetherplatform/aether/api/controlplane/v1alpha1"
	"github.com/aetherplatform/aether/internal/testenv"
)

func TestHibernation(t *testing.T) {
	w := newWorld(t)
	w.withCertManager()
	w.operate()
	w.asks("acme-prod")
	w.comesUp("acme-prod")
	hibernates := func(w *world, is bool) {
		w.Helper()
		if err := w.changes("acme-prod", func(cp *cpv1.AetherControlPlane) { cp.Spec.Hibernated = is }); err != nil {
			w.Fatal(err)
		}
	}
	components := []string{"apiserver", "controller-manager", "scheduler"}

	w.run("ends etcd only after the last API server has ended", func(w *world) {
		d := deploymentOf("acme-prod", "apiserver")
		w.there(d)
		w.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: d.Namespace, Name: "default"}})
		last := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: d.Namespace, Name: "last", Labels: d.Spec.Template.Labels}, Spec: d.Spec.Template.Spec}
		w.create(last)

		hibernates(w, true)
		for _, component := range components {
			w.scaled(deploymentOf("acme-prod", component), 0)
			w.says("acme-prod", "Hibernated", metav1.ConditionFalse, "Waiting for ")
			w.runs(deploymentOf("acme-prod", component))
		}
		w.says("acme-prod", "Hibernated", metav1.ConditionFalse, "Waiting for 1 of apiserver to end")
		w.scaled(etcdOf("acme-prod"), 1)
		if err := w.Client.Delete(w.Context(), last, client.GracePeriodSeconds(0)); err != nil {
			w.Fatal(err)
		}
		w.scaled(etcdOf("acme-prod"), 0)
		w.says("acme-prod", "Hibernated", metav1.ConditionFalse, "Waiting for 1 members of etcd to end")
		w.runs(etcdOf("acme-prod"))
		w.says("acme-prod", "Hibernated", metav1.ConditionTrue, "None of its programs runs; its volumes, certificates and addresses are kept")
		w.says("acme-prod", "Available", metav1.ConditionFalse, "It hibernates")
		cp := w.says("acme-prod", "Ready", metav1.ConditionTrue, "")
		if *cp.Status.Replicas != 0 || cp.Status.Version != "v1.36.3" {
			w.Errorf("%d replicas of %s are said to be there", *cp.Status.Replicas, cp.Status.Version)
		}
		w.silent()
	})
	w.stop()
	w.operate()
	w.run("is kept by another process, which writes nothing", func(w *world) { w.silent() })
	w.run("ends with etcd, and the others come once that is ready", func(w *world) {
		hibernates(w, false)
		w.scaled(etcdOf("acme-prod"), 1)
		w.says("acme-prod", "EtcdReady", metav1.ConditionFalse, "Waiting for etcd: 0 of 1 members are ready")
		w.scaled(deploymentOf("acme-prod", "apiserver"), 0)
		w.runs(etcdOf("acme-prod"))
		for _, component := range components {
			w.scaled(deploymentOf("acme-prod", component), 2)
			w.runs(deploymentOf("acme-prod", component))
		}
		cp := w.says("acme-prod", "Ready", metav1.ConditionTrue, "")
		w.says("acme-prod", "Available", metav1.ConditionTrue, "The API servers answer")
		for _, c := range cp.Status.Conditions {
			if c.Type == cpv1.ConditionHibernated {
				w.Errorf("it is still said to hibernate: %+v", c)
			}
		}
		w.silent()
	})
}

// scaled waits until so many Pods are asked for.
func (w *world) scaled(o client.Object, want int32) {
	w.Helper()
	testenv.Eventually(w.T, func(ctx context.Context) error {
		if err := w.Client.Get(ctx, client.ObjectKeyFromObject(o), o); err != nil {
			return err
		}
		var is *int32
		switch o := o.(type) {
		case *appsv1.Deployment:
			is = o.Spec.Replicas
		case *appsv1.StatefulSet:
			is = o.Spec.Replicas
		}
		if ptr.Deref(is, 1) != want {
			return fmt.Errorf("%s is asked to have %d, want %d", o.GetName(), ptr.Deref(is, 1), want)
		}
		return nil
	})
}
