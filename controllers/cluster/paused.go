package cluster

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cpv1 "github.com/aetherplatform/aether/api/controlplane/v1alpha1"
)

// clusterKind is Cluster API's.
var clusterKind = schema.GroupVersionKind{Group: "cluster.x-k8s.io", Version: "v1beta2", Kind: "Cluster"}

// annotationPaused is Cluster API's: who owns an object may have it left as it is.
const annotationPaused = "cluster.x-k8s.io/paused"

// paused is whether the control plane is to be left as it is: it says so, or the Cluster
// of Cluster API that owns it does.
func (r *Reconciler) paused(ctx context.Context, cp *cpv1.AetherControlPlane) (is bool, why string, err error) {
	if _, is := cp.Annotations[annotationPaused]; is {
		return true, "The annotation " + annotationPaused + " is set", nil
	}
	for _, owner := range cp.OwnerReferences {
		group, err := schema.ParseGroupVersion(owner.APIVersion)
		if err != nil || group.Group != clusterKind.Group || owner.Kind != clusterKind.Kind {
			continue
		}
		if err := r.watchClusters(); err != nil {
			return false, "", err
		}
		cluster := &unstructured.Unstructured{}
		cluster.SetGroupVersionKind(clusterKind)
		if err := r.reader.Get(ctx, client.ObjectKey{Namespace: cp.Namespace, Name: owner.Name}, cluster); err != nil {
			return false, "", fmt.Errorf("cannot read Cluster %s of Cluster API: %w", owner.Name, err)
		}
		if paused, _, _ := unstructured.NestedBool(cluster.Object, "spec", "paused"); paused {
			return true, "spec.paused of Cluster " + owner.Name + " is set", nil
		}
	}
	return false, "", nil
}
