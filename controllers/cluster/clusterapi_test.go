package cluster

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	cpv1 "github.com/aetherplatform/aether/api/controlplane/v1alpha1"
	"github.com/aetherplatform/aether/internal/testenv"
)

// machines is the infrastructure of a Cluster of Cluster API: one that is there already.
var machines = schema.GroupVersionKind{Group: "infrastructure.example.com", Version: "v1", Kind: "Machines"}

// Cluster API's own controller takes a control plane for what its contract v1beta2 asks
// for (docs/book/src/developer/providers/contracts/control-plane.md of its repository):
// it becomes its owner, takes over its endpoint, hears when it is initialized and what is
// available, has it paused, and deletes it with its Cluster.
func TestAControlPlaneOfClusterAPI(t *testing.T) {
	w := newWorld(t)
	w.withCertManager()
	w.withClusterAPI()
	w.operate()

	cp := w.asks("acme-capi", func(cp *cpv1.AetherControlPlane) {
		cp.Labels = map[string]string{"cluster.x-k8s.io/cluster-name": "acme-capi"}
	})
	cluster := w.object(clusterKind, "acme-capi", map[string]any{
		"controlPlaneRef":   map[string]any{"apiGroup": cpv1.GroupVersion.Group, "kind": cpv1.KindAetherControlPlane, "name": cp.Name},
		"infrastructureRef": map[string]any{"apiGroup": machines.Group, "kind": machines.Kind, "name": "acme-capi"},
	})
	w.create(cluster)
	infrastructure := w.object(machines, "acme-capi", map[string]any{})
	infrastructure.SetLabels(map[string]string{"cluster.x-k8s.io/cluster-name": "acme-capi"})
	w.create(infrastructure)
	if err := unstructured.SetNestedField(infrastructure.Object, true, "status", "initialization", "provisioned"); err != nil {
		t.Fatal(err)
	}
	if err := w.Client.Status().Update(t.Context(), infrastructure); err != nil {
		t.Fatal(err)
	}

	w.run("belongs to its Cluster", func(w *world) {
		testenv.Eventually(w.T, func(ctx context.Context) error {
			cp, err := w.controlPlane(ctx, "acme-capi")
			if err != nil {
				return err
			}
			for _, owner := range cp.OwnerReferences {
				if owner.Kind == "Cluster" && owner.UID == cluster.GetUID() {
					return nil
				}
			}
			return fmt.Errorf("its owners are %+v", cp.OwnerReferences)
		})
	})
	w.run("is initialized once an API server has answered, and hands over its endpoint", func(w *world) {
		w.showsIn(cluster, "status.initialization.controlPlaneInitialized", nil)
		w.comesUp("acme-capi")
		w.showsIn(cluster, "status.initialization.controlPlaneInitialized", true)
		w.showsIn(cluster, "spec.controlPlaneEndpoint.host", "acme-capi-apiserver.aether-cluster-acme-capi.svc")
		w.showsIn(cluster, "spec.controlPlaneEndpoint.port", int64(6443))
		w.showsIn(cluster, "status.phase", "Provisioned")
	})
	w.run("says how many there are, and that they are available", func(w *world) {
		for _, field := range []string{"desiredReplicas", "replicas", "readyReplicas", "availableReplicas", "upToDateReplicas"} {
			w.showsIn(cluster, "status.controlPlane."+field, int64(2))
		}
		w.conditionOf(cluster, "ControlPlaneInitialized")
		w.conditionOf(cluster, "ControlPlaneAvailable")
	})
	w.run("is left alone while its Cluster is paused, and no longer", func(w *world) {
		w.pauses(cluster, true)
		w.says("acme-capi", "Paused", metav1.ConditionTrue, "spec.paused of Cluster acme-capi is set")
		scheduler := deploymentOf("acme-capi", "scheduler")
		if err := w.Client.Delete(w.Context(), scheduler); err != nil {
			w.Fatal(err)
		}
		<-time.After(time.Second)
		w.missing(scheduler)
		w.pauses(cluster, false)
		w.says("acme-capi", "Paused", metav1.ConditionFalse, "")
		w.there(deploymentOf("acme-capi", "scheduler"))
	})
	w.run("goes with its Cluster", func(w *world) {
		if err := w.Client.Delete(w.Context(), cluster); err != nil {
			w.Fatal(err)
		}
		testenv.Eventually(w.T, func(ctx context.Context) error {
			infrastructure := infrastructure.DeepCopy()
			return errors.Join(
				testenv.Gone(w.Client.Get(ctx, client.ObjectKeyFromObject(cp), cp)),
				testenv.Gone(w.Client.Get(ctx, client.ObjectKeyFromObject(infrastructure), infrastructure)),
				testenv.Gone(w.Client.Get(ctx, client.ObjectKeyFromObject(cluster), cluster.DeepCopy())),
			)
		})
	})
}

// withClusterAPI installs Cluster API, and runs its controller of Clusters.
func (w *world) withClusterAPI() {
	w.Helper()
	_, err := envtest.InstallCRDs(w.Config, envtest.CRDInstallOptions{Paths: []string{filepath.Join(testenv.Root(), "bin", "cluster-api-crds")}})
	if err == nil {
		_, err = envtest.InstallCRDs(w.Config, envtest.CRDInstallOptions{CRDs: []*apiextensionsv1.CustomResourceDefinition{{
			ObjectMeta: metav1.ObjectMeta{
				Name:   "machines." + machines.Group,
				Labels: map[string]string{"cluster.x-k8s.io/v1beta2": machines.Version, "cluster.x-k8s.io/provider": "infrastructure-example"},
			},
			Spec: apiextensionsv1.CustomResourceDefinitionSpec{
				Group: machines.Group, Scope: apiextensionsv1.NamespaceScoped,
				Names: apiextensionsv1.CustomResourceDefinitionNames{Kind: machines.Kind, ListKind: machines.Kind + "List", Plural: "machines", Singular: "machines"},
				Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
					Name: machines.Version, Served: true, Storage: true,
					Subresources: &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}},
					Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
						Type: "object", XPreserveUnknownFields: ptr.To(true),
					}},
				}},
			},
		}}})
	}
	if err != nil {
		w.Fatal(err)
	}
	w.Env.Run(w.T, "cluster-api", nil, "--kubeconfig="+w.Kubeconfig(w.T, "cluster-api"))
}

// object is one of a kind that has no type here, in the namespace of a control plane.
func (w *world) object(kind schema.GroupVersionKind, name string, spec map[string]any) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	u.SetGroupVersionKind(kind)
	u.SetNamespace(namespaceOf(name))
	u.SetName(name)
	return u
}

// showsIn waits until a field of an object has a value; nil is none.
func (w *world) showsIn(o *unstructured.Unstructured, field string, want any) {
	w.Helper()
	testenv.Eventually(w.T, func(ctx context.Context) error {
		if err := w.Client.Get(ctx, client.ObjectKeyFromObject(o), o); err != nil {
			return err
		}
		got, _, err := unstructured.NestedFieldNoCopy(o.Object, strings.Split(field, ".")...)
		if err == nil && got != want {
			err = fmt.Errorf("%s is %v, want %v; its status is %v", field, got, want, o.Object["status"])
		}
		return err
	})
}

// conditionOf waits until a condition of an object is True.
func (w *world) conditionOf(o *unstructured.Unstructured, condition string) {
	w.Helper()
	testenv.Eventually(w.T, func(ctx context.Context) error {
		if err := w.Client.Get(ctx, client.ObjectKeyFromObject(o), o); err != nil {
			return err
		}
		var of struct {
			Status struct {
				Conditions []metav1.Condition `json:"conditions"`
			} `json:"status"`
		}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &of); err != nil {
			return err
		}
		if !meta.IsStatusConditionTrue(of.Status.Conditions, condition) {
			return fmt.Errorf("conditions are %+v", of.Status.Conditions)
		}
		return nil
	})
}

func (w *world) pauses(cluster *unstructured.Unstructured, paused bool) {
	w.Helper()
	patch := fmt.Appendf(nil, `{"spec":{"paused":%v}}`, paused)
	if err := w.Client.Patch(w.Context(), cluster, client.RawPatch("application/merge-patch+json", patch)); err != nil {
		w.Fatal(err)
	}
}
