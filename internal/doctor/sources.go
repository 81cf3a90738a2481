package doctor

import (
	"context"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

func (c *cluster) readTenantSources() right {
	return right{"list", "tenantsources.aetherplatform.cloud", c.namespace}
}

func (c *cluster) readSources() ([]v1alpha1.TenantSource, error) {
	ctx, cancel := c.once()
	defer cancel()
	var list v1alpha1.TenantSourceList
	err := c.List(ctx, &list, client.InNamespace(c.namespace))
	return list.Items, err
}

func (c *cluster) checkTenantSources(context.Context) []Finding {
	all, err := c.sources()
	if err != nil {
		return one(c.unread(err, c.readTenantSources()))
	}
	if len(all) == 0 {
		return one(warning("", "kubectl apply a TenantSource in namespace "+c.namespace+": docs/reference/tenantsource.md",
			"there is none in namespace %s: no tenants come from anywhere", c.namespace))
	}
	found := make([]Finding, 0, len(all))
	for i := range all {
		found = append(found, sourceState(&all[i]).about("TenantSource/"+all[i].Namespace+"/"+all[i].Name))
	}
	return found
}

func sourceState(s *v1alpha1.TenantSource) Finding {
	last := ""
	if s.Status.LastAppliedRevision != "" {
		last = "; last applied: " + s.Status.LastAppliedRevision
	}
	ready := meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionReady)
	stalled := meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionStalled)
	switch {
	case s.Spec.Suspend:
		return warning("", "set spec.suspend to false", "is suspended: nothing that is pushed is applied%s", last)
	case ready == nil:
		return failed("", "see that the namespace operator runs", "the operator has not looked at it")
	case stalled != nil && stalled.Status == metav1.ConditionTrue:
		return failed("", "docs/reference/conditions.md says what to do about "+stalled.Reason, "is Stalled: %s: %s%s", stalled.Reason, oneLine(stalled.Message), last)
	case ready.Status == metav1.ConditionTrue && s.Status.ObservedGeneration != s.Generation:
		return warning("", "see that the namespace operator runs", "was changed, and the operator has not looked at it since%s", last)
	case ready.Status == metav1.ConditionTrue:
		return ok("Ready, %s tenants, at %s", s.Status.Summary, s.Status.LastAppliedRevision)
	case ready.Status == metav1.ConditionFalse:
		return failed("", "`aether get sources -o wide`; docs/reference/conditions.md says what to do about "+ready.Reason, "is not Ready: %s: %s%s", ready.Reason, oneLine(ready.Message), last)
	default:
		return warning("", "ask again in a moment", "is not Ready yet: %s: %s%s", ready.Reason, oneLine(ready.Message), last)
	}
}

func (c *cluster) checkSecrets(ctx context.Context) []Finding {
	var list v1alpha1.SecretSyncList
	if err := c.List(ctx, &list); err != nil {
		return one(c.unread(err, right{verb: "list", resource: "secretsyncs.aetherplatform.cloud"}))
	}
	if len(list.Items) == 0 {
		return one(unchecked("no namespace asks for secrets"))
	}
	failing, unconfigured := 0, 0
	var first *v1alpha1.SecretSync
	for i := range list.Items {
		s := &list.Items[i]
		if !meta.IsStatusConditionTrue(s.Status.Conditions, v1alpha1.ConditionReady) {
			if failing++; first == nil {
				first = s
			}
			if ready := meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionReady); ready != nil && ready.Reason == v1alpha1.ReasonOpenBaoNotConfigured {
				unconfigured++
			}
		}
	}
	if first == nil {
		return one(ok("%s: all hold what OpenBao has", count(len(list.Items), "secret")))
	}
	object := "SecretSync/" + first.Namespace + "/" + first.Name
	const advice = "`aether get secrets` lists them all; docs/how-to/keep-secrets-in-openbao.md says what to do about each reason"
	ready := meta.FindStatusCondition(first.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil {
		return one(failed(object, "see that the namespace operator runs", "%d of %s not synced; the first was not looked at yet", failing, count(len(list.Items), "secret")))
	}
	if unconfigured == len(list.Items) { // an installation without secrets, and nothing that has broken
		return one(warning("", "start the operator with --openbao-address: docs/how-to/keep-secrets-in-openbao.md",
			"no OpenBao is configured, and %s asked for", plural(len(list.Items), "secret is", "secrets are")))
	}
	return one(failed(object, advice, "%d of %s not synced; the first: %s: %s", failing, count(len(list.Items), "secret"), ready.Reason, oneLine(ready.Message)))
}
