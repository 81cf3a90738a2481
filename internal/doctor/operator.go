package doctor

import (
	"cmp"
	"context"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// Names that the operator is installed with.
const (
	leaseName      = "aether-namespace-operator"
	deploymentName = v1alpha1.ManagedBy
)

// leaseDuration is how long a lease holds that does not say so, as of the operator's flag
// --leader-elect-lease-duration.
const leaseDuration = 15 * time.Second

func (c *cluster) checkLease(ctx context.Context) []Finding {
	object := "Lease/" + c.namespace + "/" + leaseName
	advice := "kubectl -n " + c.namespace + " get pods, and read the operator's log"
	var lease coordinationv1.Lease
	err := c.Get(ctx, client.ObjectKey{Namespace: c.namespace, Name: leaseName}, &lease)
	switch {
	case apierrors.IsNotFound(err):
		return one(c.noLease().about(object))
	case err != nil:
		return one(c.unread(err, right{"get", "leases.coordination.k8s.io " + leaseName, c.namespace}).about(object))
	}
	if lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "" {
		return one(failed(object, advice, "nobody holds it: the operator was stopped, so nothing that is pushed is applied, and no drift is put back"))
	}
	holder, _, _ := strings.Cut(*lease.Spec.HolderIdentity, "_")
	if lease.Spec.RenewTime == nil {
		return one(failed(object, advice, "%s holds it and has never renewed it", holder))
	}
	holds := leaseDuration
	if lease.Spec.LeaseDurationSeconds != nil {
		holds = time.Duration(*lease.Spec.LeaseDurationSeconds) * time.Second
	}
	age := c.serverNow().Sub(lease.Spec.RenewTime.Time)
	switch {
	case age > holds+clockTolerance:
		return one(failed(object, advice, "%s renewed it last %s ago, and it holds for %s: the operator is down, so nothing that is pushed is applied, and no drift is put back",
			holder, duration.HumanDuration(age), holds))
	case age < -clockTolerance:
		return one(warning(object, "set the clock of the node that the operator runs on", "%s renewed it %s in the future: its clock is ahead of the API server's", holder, duration.HumanDuration(-age)))
	default:
		return one(ok("held by %s, and fresh", holder))
	}
}

// noLease is what it means that there is no Lease: an operator that runs alone, without
// --leader-elect, has none.
func (c *cluster) noLease() Finding {
	all, err := c.sources()
	if err != nil {
		return unchecked("there is none, and TenantSources cannot be read: whether an operator runs cannot be told")
	}
	for i := range all {
		if all[i].Status.ObservedGeneration == 0 || all[i].Status.ObservedGeneration != all[i].Generation {
			return failed("", "start the namespace operator, or read its log", "there is none, and TenantSource %s is not looked at: no operator runs", all[i].Name)
		}
	}
	if len(all) == 0 {
		return warning("", "start the namespace operator", "there is none: no operator runs, or it runs without --leader-elect")
	}
	return unchecked("there is none, so the operator runs without --leader-elect, and cannot be seen to run; TenantSources were looked at")
}

func (c *cluster) checkDeployment(ctx context.Context) []Finding {
	object := "Deployment/" + c.namespace + "/" + deploymentName
	var d appsv1.Deployment
	err := c.Get(ctx, client.ObjectKey{Namespace: c.namespace, Name: deploymentName}, &d)
	switch {
	case apierrors.IsNotFound(err):
		return one(unchecked("there is no such Deployment in namespace %s: the operator runs some other way", c.namespace))
	case err != nil:
		return one(c.unread(err, right{"get", "deployments.apps", c.namespace}))
	}
	wanted := int32(1)
	if d.Spec.Replicas != nil {
		wanted = *d.Spec.Replicas
	}
	advice := "kubectl -n " + c.namespace + " describe pods, and read the operator's log"
	var found []Finding
	switch ready := d.Status.ReadyReplicas; {
	case wanted == 0:
		found = append(found, failed(object, "kubectl -n "+c.namespace+" scale deployment "+deploymentName+" --replicas=2", "is scaled to nothing"))
	case ready == 0:
		found = append(found, failed(object, advice, "none of its %s is ready", count(int(wanted), "replica")))
	case ready < wanted:
		found = append(found, warning(object, advice, "%d of its %s are ready", ready, count(int(wanted), "replica")))
	}
	version := imageVersion(&d)
	if f := c.sameVersion(version); f != nil {
		found = append(found, f.about(object))
	}
	if len(found) > 0 {
		return found
	}
	return one(ok("%d of %s ready, version %s", d.Status.ReadyReplicas, count(int(wanted), "replica"), cmp.Or(version, "unknown")))
}

// imageVersion is the tag of the operator's image.
func imageVersion(d *appsv1.Deployment) string {
	for _, container := range d.Spec.Template.Spec.Containers {
		name, _, _ := strings.Cut(container.Image, "@")
		path := name[strings.LastIndex(name, "/")+1:]
		image, tag, has := strings.Cut(path, ":")
		if has && strings.Contains(image, deploymentName) {
			return tag
		}
	}
	return ""
}

// sameVersion is a warning where the operator is of another version than this program,
// as far as both are known.
func (c *cluster) sameVersion(version string) *Finding {
	if version == "" || c.program == "" || c.program == "devel" || strings.TrimPrefix(version, "v") == strings.TrimPrefix(c.program, "v") {
		return nil
	}
	f := warning("", "use the aether of the operator's version, or upgrade the operator", "is of version %s, and this program is %s: what they render may differ", version, c.program)
	return &f
}
