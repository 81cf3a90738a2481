package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	cpv1 "github.com/aetherplatform/aether/api/controlplane/v1alpha1"
	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/apply"
	"github.com/aetherplatform/aether/internal/controlplane"
	"github.com/aetherplatform/aether/internal/status"
)

const (
	// namespacePrefix begins the name of a cluster's namespace. No tenant can have one
	// that begins so.
	namespacePrefix = "aether-cluster-"

	// finalizer holds a WorkloadCluster until its namespace is gone.
	finalizer = v1alpha1.LabelPrefix + "workload-cluster"

	// workloadOwner is who writes specs of AetherControlPlanes in managed fields. It is
	// somebody else than who writes an endpoint into them.
	workloadOwner = "aether-workload-clusters"
)

// WorkloadReconciler makes of each WorkloadCluster a namespace with an
// AetherControlPlane, and says what became of that.
type WorkloadReconciler struct {
	// Client reads from informers and writes to the API server.
	client.Client
	applier *apply.Applier
	now     func() time.Time
}

// Reconcile brings one cluster to what its WorkloadCluster asks for.
func (r *WorkloadReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	wc := &v1alpha1.WorkloadCluster{}
	if err := r.Get(ctx, req.NamespacedName, wc); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	before := wc.DeepCopy()
	var err error
	if wc.DeletionTimestamp != nil {
		err = r.end(ctx, wc)
	} else {
		err = r.make(ctx, wc)
	}
	var w *waiting
	again := time.Duration(0)
	switch {
	case errors.As(err, &w):
		r.conclude(wc, metav1.Condition{Status: metav1.ConditionFalse, Reason: w.reason, Message: w.message}, w.stuck)
		again, err = w.after, nil
	case err != nil:
		r.conclude(wc, metav1.Condition{Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonApplyFailed, Message: err.Error()}, false)
	}
	if wc.DeletionTimestamp != nil && !controllerutil.ContainsFinalizer(wc, finalizer) {
		return ctrl.Result{}, err
	}
	if !equality.Semantic.DeepEqual(before.Status, wc.Status) {
		_, failed := status.Write(ctx, r.Client, wc, &wc.Status, fieldOwner)
		err = errors.Join(err, failed)
	}
	return ctrl.Result{RequeueAfter: again}, err
}

// make brings the namespace and the AetherControlPlane to what they shall be.
func (r *WorkloadReconciler) make(ctx context.Context, wc *v1alpha1.WorkloadCluster) error {
	if !controllerutil.ContainsFinalizer(wc, finalizer) {
		changed := wc.DeepCopy()
		controllerutil.AddFinalizer(changed, finalizer)
		if err := r.Patch(ctx, changed, client.MergeFromWithOptions(wc, client.MergeFromWithOptimisticLock{}), client.FieldOwner(fieldOwner)); err != nil {
			return fmt.Errorf("cannot set the finalizer of WorkloadCluster %s: %w", wc.Name, err)
		}
		wc.ResourceVersion, wc.Finalizers = changed.ResourceVersion, changed.Finalizers
	}
	if err := r.namespace(ctx, wc); err != nil {
		return err
	}
	cp, err := r.controlPlane(ctx, wc)
	if err != nil {
		return err
	}
	wc.Status.ControlPlane = &v1alpha1.ControlPlaneStatus{Namespace: cp.Namespace, Version: cp.Status.Version}
	if e := cp.Endpoint(); e.Host != "" {
		wc.Status.ControlPlane.Endpoint = fmt.Sprintf("https://%s:%d", e.Host, e.Port)
	}

	ready := meta.FindStatusCondition(cp.Status.Conditions, v1alpha1.ConditionReady)
	switch asked := unsupported(wc); {
	case wc.Annotations[v1alpha1.AnnotationRemovedAt] != "":
		return &waiting{reason: v1alpha1.ReasonRemovedFromGit, stuck: true, message: fmt.Sprintf(
			"Removed from Git at %s in %s; it runs on until its WorkloadCluster is deleted or its file is put back",
			wc.Annotations[v1alpha1.AnnotationRemovedAt], wc.Annotations[v1alpha1.AnnotationRemovedIn])}
	case ready == nil || cp.Status.ObservedGeneration < cp.Generation:
		return &waiting{reason: v1alpha1.ReasonProgressing, message: "Waiting for the control plane"}
	case ready.Status != metav1.ConditionTrue:
		stuck := meta.IsStatusConditionTrue(cp.Status.Conditions, v1alpha1.ConditionStalled)
		return &waiting{reason: ready.Reason, message: ready.Message, stuck: stuck}
	case len(asked) > 0:
		return &waiting{reason: v1alpha1.ReasonNotSupported, stuck: true, message: fmt.Sprintf(
			"The control plane is ready; this release does not make %s", strings.Join(asked, " and "))}
	}
	message := "The control plane is ready"
	if cp.Spec.Hibernated {
		message = "The control plane hibernates"
	}
	r.conclude(wc, metav1.Condition{Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonReconciled, Message: message}, false)
	return nil
}

// unsupported is what a cluster asks for that nothing makes yet.
func unsupported(wc *v1alpha1.WorkloadCluster) []string {
	var asked []string
	if len(wc.Spec.NodePools) > 0 {
		asked = append(asked, "spec.nodePools")
	}
	if wc.Spec.Endpoint.Public.Enabled {
		asked = append(asked, "spec.endpoint.public")
	}
	return asked
}

// namespace keeps the cluster's own, which holds Pods to the Pod Security Standard
// restricted. One that somebody else made is not taken.
func (r *WorkloadReconciler) namespace(ctx context.Context, wc *v1alpha1.WorkloadCluster) error {
	labels := map[string]string{
		controlplane.LabelCluster:   wc.Name,
		controlplane.LabelManagedBy: controlplane.ManagedBy,
	}
	for _, mode := range []string{"enforce", "audit", "warn"} {
		labels["pod-security.kubernetes.io/"+mode] = "restricted"
	}
	ns := &unstructured.Unstructured{}
	ns.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	ns.SetName(namespacePrefix + wc.Name)
	ns.SetLabels(labels)

	live := ns.DeepCopy()
	switch err := r.Get(ctx, client.ObjectKeyFromObject(ns), live); {
	case apierrors.IsNotFound(err):
		_, err := r.applier.CreateOnly(ctx, ns)
		if apierrors.IsAlreadyExists(err) {
			// Not one of ours, or ours and not seen yet.
			return &waiting{reason: v1alpha1.ReasonNamespaceNotOwned, after: soon, message: fmt.Sprintf(
				"Namespace %s is there and is not this cluster's; delete it, or name the cluster otherwise", ns.GetName())}
		}
		return err
	case err != nil:
		return fmt.Errorf("cannot get Namespace %s: %w", ns.GetName(), err)
	case live.GetDeletionTimestamp() != nil:
		return &waiting{reason: v1alpha1.ReasonNamespaceTerminating, message: fmt.Sprintf("Namespace %s is being deleted; it is made anew when it is gone", ns.GetName())}
	case apply.Includes(live, ns):
		return nil
	default:
		_, err := r.applier.Apply(ctx, ns)
		return err
	}
}

// controlPlane keeps the AetherControlPlane, and returns it as it is.
func (r *WorkloadReconciler) controlPlane(ctx context.Context, wc *v1alpha1.WorkloadCluster) (*cpv1.AetherControlPlane, error) {
	asked := wc.Spec.ControlPlane
	cp := &cpv1.AetherControlPlane{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespacePrefix + wc.Name, Name: wc.Name, Labels: map[string]string{
			controlplane.LabelCluster: wc.Name, controlplane.LabelManagedBy: controlplane.ManagedBy,
		}},
		Spec: cpv1.AetherControlPlaneSpec{
			Version: wc.Spec.Version, Hibernated: wc.Spec.Hibernated, Resources: asked.Resources,
			Network: cpv1.Network{PodCIDR: wc.Spec.Network.PodCIDR, ServiceCIDR: wc.Spec.Network.ServiceCIDR, Domain: wc.Spec.Network.Domain},
			Etcd:    cpv1.EtcdSpec{Replicas: asked.Etcd.Replicas, Storage: asked.Etcd.Storage},
			PKI:     cpv1.PKISpec{Generation: asked.PKI.Generation},
		},
	}
	if asked.Replicas > 0 {
		cp.Spec.Replicas = ptr.To(asked.Replicas)
	}
	if asked := asked.Etcd.Snapshots; asked != nil {
		cp.Spec.Etcd.Snapshots = &cpv1.Snapshots{Schedule: asked.Schedule, Keep: asked.Keep, Volume: cpv1.SnapshotVolume{Size: asked.Size}}
	}
	want, err := encode(cp, r.Scheme())
	if err != nil {
		return nil, err
	}
	live := &cpv1.AetherControlPlane{}
	err = r.Get(ctx, client.ObjectKeyFromObject(cp), live)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("cannot get AetherControlPlane %s: %w", wc.Name, err)
	}
	if err == nil {
		is, err := plain(live, r.Scheme())
		if err != nil {
			return nil, err
		}
		if apply.Includes(is, want) { // the digest as well
			return live, nil
		}
	}
	if err := r.Apply(ctx, client.ApplyConfigurationFromUnstructured(want), client.FieldOwner(workloadOwner), client.ForceOwnership); err != nil {
		return nil, fmt.Errorf("cannot apply AetherControlPlane %s/%s: %w", cp.Namespace, cp.Name, err)
	}
	return live, nil
}

// end deletes the namespace of a cluster, once Git has let go of the cluster: data that
// Git still asks for is nobody's to delete.
func (r *WorkloadReconciler) end(ctx context.Context, wc *v1alpha1.WorkloadCluster) error {
	if !controllerutil.ContainsFinalizer(wc, finalizer) {
		return nil
	}
	if wc.Annotations[v1alpha1.AnnotationRemovedAt] == "" && wc.Labels[v1alpha1.LabelSource] != "" {
		return &waiting{reason: v1alpha1.ReasonStillInGit, stuck: true, message: "It is being deleted while Git asks for it, so its control plane is kept: remove its file from the fleet repository"}
	}
	ns := &unstructured.Unstructured{}
	ns.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	switch err := r.Get(ctx, client.ObjectKey{Name: namespacePrefix + wc.Name}, ns); {
	case apierrors.IsNotFound(err):
		changed := wc.DeepCopy()
		controllerutil.RemoveFinalizer(changed, finalizer)
		if err := r.Patch(ctx, changed, client.MergeFrom(wc), client.FieldOwner(fieldOwner)); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("cannot take the finalizer off WorkloadCluster %s: %w", wc.Name, err)
		}
		wc.Finalizers = changed.Finalizers
		return nil
	case err != nil:
		return fmt.Errorf("cannot get Namespace %s: %w", namespacePrefix+wc.Name, err)
	case ns.GetDeletionTimestamp() == nil:
		if err := r.applier.Delete(ctx, ns.GroupVersionKind(), "", ns.GetName(), ns.GetUID()); err != nil {
			return err
		}
	}
	return &waiting{reason: v1alpha1.ReasonNamespaceTerminating, message: fmt.Sprintf("Waiting until Namespace %s is gone", ns.GetName())}
}

func (r *WorkloadReconciler) conclude(wc *v1alpha1.WorkloadCluster, ready metav1.Condition, stuck bool) {
	wc.Status.ObservedGeneration = wc.Generation
	working := ready.Status != metav1.ConditionTrue && !stuck
	status.SetConditions(&wc.Status.Conditions, wc.Generation, metav1.NewTime(r.now()), ready, working, stuck)
}
