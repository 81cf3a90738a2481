package doctor

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/policies"
)

// checkCilium asks for the kind alone: whether Cilium enforces is seen by `aether verify`.
func (c *cluster) checkCilium(ctx context.Context) []Finding {
	is, err := c.serves("cilium.io/v2", "ciliumnetworkpolicies")
	if err != nil {
		return one(c.unread(err, right{verb: "discover", resource: "cilium.io/v2"}))
	}
	if is {
		return one(ok("CiliumNetworkPolicy is served; `aether verify isolation` proves that it is enforced"))
	}
	const advice = "install Cilium, or give the profiles a base without CiliumNetworkPolicies"
	var waiting v1alpha1.TenantNamespaceList
	if err := c.List(ctx, &waiting); err == nil {
		n := 0
		for i := range waiting.Items {
			if ready := meta.FindStatusCondition(waiting.Items[i].Status.Conditions, v1alpha1.ConditionReady); ready != nil && ready.Reason == v1alpha1.ReasonKindNotServed {
				n++
			}
		}
		if n > 0 {
			return one(failed("", advice, "CiliumNetworkPolicy is not served, and %s cannot be opened for want of a kind", count(n, "namespace")))
		}
	}
	return one(warning("", advice, "CiliumNetworkPolicy is not served: namespaces of a profile whose base holds one stay sealed (KindNotServed), as of the base in this program"))
}

func (c *cluster) checkKyverno(ctx context.Context) []Finding {
	const apply = "kubectl apply --server-side --force-conflicts -k policies/kyverno"
	is, err := c.serves("policies.kyverno.io/v1", "validatingpolicies")
	if err != nil {
		return one(c.unread(err, right{verb: "discover", resource: "policies.kyverno.io/v1"}))
	}
	if !is {
		return one(unchecked("Kyverno is not installed, and need not be: the API server itself holds what isolation depends on"))
	}
	ours, err := policies.Kyverno()
	if err != nil {
		return one(failed("", "", "%v", err))
	}
	var found []Finding
	missing := 0
	for _, want := range ours {
		object := want.GetKind() + "/" + want.GetName()
		have := &unstructured.Unstructured{}
		have.SetGroupVersionKind(want.GroupVersionKind())
		err := c.Get(ctx, client.ObjectKeyFromObject(want), have)
		if apierrors.IsNotFound(err) {
			missing++
			found = append(found, warning(object, apply, "is missing, while others of Aether's are there"))
			continue
		}
		if err != nil {
			return one(c.unread(err, right{verb: "get", resource: "validatingpolicies.policies.kyverno.io"}))
		}
		if ready, waitsFor := policies.Ready(have); !ready {
			found = append(found, failed(object, "see that Kyverno's admission controller runs, and read its log", "Kyverno does not hold it%s", waitsFor))
			continue
		}
		if d := comparePolicies(want, have); len(d) > 0 && d[0].kind != beyond {
			found = append(found, warning(object, apply, "is not the one of this program: it differs at spec.%s", d[0].path))
		}
	}
	switch {
	case missing == len(ours):
		return one(warning("", apply, "Kyverno is installed, and none of Aether's %s is", count(len(ours), "policy")))
	case len(found) > 0:
		return found
	}
	return one(ok("Kyverno holds Aether's %s", count(len(ours), "policy")))
}
