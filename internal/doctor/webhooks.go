package doctor

import (
	"context"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// webhook is what both kinds of webhook have in common.
type webhook struct {
	object, name string
	policy       *admissionv1.FailurePolicyType
	service      *admissionv1.ServiceReference
	rules        []admissionv1.RuleWithOperations
	selects      bool // it says which namespaces or objects it is asked about
}

func (c *cluster) checkWebhooks(ctx context.Context) []Finding {
	hooks, unread := c.readWebhooks(ctx)
	if unread != nil {
		return one(*unread)
	}
	written, err := c.written()
	if err != nil {
		return one(failed("", "", "%v", err))
	}
	var found []Finding
	n := 0
	for i := range hooks {
		h := &hooks[i]
		if h.policy != nil && *h.policy != admissionv1.Fail || h.service == nil || !h.matches(written) {
			continue
		}
		n++
		problem, unread := c.unanswered(ctx, h.service)
		switch {
		case unread != nil:
			found = append(found, unread.about(h.object))
		case problem != "" && h.selects:
			found = append(found, warning(h.object, hookAdvice(h), "%s fails closed and %s: what it selects of Aether's objects cannot be written", h.name, problem))
		case problem != "":
			found = append(found, failed(h.object, hookAdvice(h), "%s fails closed and %s: what Aether writes is refused", h.name, problem))
		}
	}
	switch {
	case len(found) > 0:
		return found
	case n == 0:
		return one(ok("none fails closed on what Aether writes"))
	}
	return one(ok("%s fail closed on what Aether writes, and each has a Service with a ready endpoint", count(n, "webhook")))
}

func hookAdvice(h *webhook) string {
	kind, name, _ := strings.Cut(h.object, "/")
	return "bring what serves it up again; if it is gone for good: kubectl delete " + strings.ToLower(kind) + " " + name
}

func (c *cluster) readWebhooks(ctx context.Context) ([]webhook, *Finding) {
	var all []webhook
	var validating admissionv1.ValidatingWebhookConfigurationList
	if err := c.List(ctx, &validating); err != nil {
		f := c.unread(err, right{verb: "list", resource: "validatingwebhookconfigurations.admissionregistration.k8s.io"})
		return nil, &f
	}
	for i := range validating.Items {
		for j := range validating.Items[i].Webhooks {
			w := &validating.Items[i].Webhooks[j]
			all = append(all, webhook{"ValidatingWebhookConfiguration/" + validating.Items[i].Name, w.Name, w.FailurePolicy,
				w.ClientConfig.Service, w.Rules, selects(w.NamespaceSelector, w.ObjectSelector, w.MatchConditions)})
		}
	}
	var mutating admissionv1.MutatingWebhookConfigurationList
	if err := c.List(ctx, &mutating); err != nil {
		f := c.unread(err, right{verb: "list", resource: "mutatingwebhookconfigurations.admissionregistration.k8s.io"})
		return nil, &f
	}
	for i := range mutating.Items {
		for j := range mutating.Items[i].Webhooks {
			w := &mutating.Items[i].Webhooks[j]
			all = append(all, webhook{"MutatingWebhookConfiguration/" + mutating.Items[i].Name, w.Name, w.FailurePolicy,
				w.ClientConfig.Service, w.Rules, selects(w.NamespaceSelector, w.ObjectSelector, w.MatchConditions)})
		}
	}
	return all, nil
}

func selects(namespaces, objects *metav1.LabelSelector, conditions []admissionv1.MatchCondition) bool {
	some := func(s *metav1.LabelSelector) bool {
		return s != nil && len(s.MatchLabels)+len(s.MatchExpressions) > 0
	}
	return some(namespaces) || some(objects) || len(conditions) > 0
}

// resource of an API group.
type resource struct{ group, name string }

// written are the resources that the operator writes, or people do for it.
func (c *cluster) written() ([]resource, error) {
	rules, err := c.rules()
	if err != nil {
		return nil, err
	}
	all := []resource{{"aetherplatform.cloud", "tenantsources"}}
	for i := range rules {
		if !slices.Contains(rules[i].Verbs, "create") && !slices.Contains(rules[i].Verbs, "patch") && !slices.Contains(rules[i].Verbs, "update") {
			continue
		}
		for _, group := range rules[i].APIGroups {
			for _, name := range rules[i].Resources {
				all = append(all, resource{group, name})
			}
		}
	}
	return all, nil
}

// matches says whether a webhook is asked about one of these resources.
func (h *webhook) matches(written []resource) bool {
	for i := range h.rules {
		r := &h.rules[i]
		if len(r.Operations) == 1 && r.Operations[0] == admissionv1.Connect {
			continue
		}
		for _, w := range written {
			group := slices.Contains(r.APIGroups, "*") || slices.Contains(r.APIGroups, w.group)
			if group && slices.ContainsFunc(r.Resources, func(pattern string) bool { return covers(pattern, w.name) }) {
				return true
			}
		}
	}
	return false
}

// covers says whether a webhook's resource, such as "*", "*/*", "pods/*" or "*/status",
// stands for one that is written.
func covers(pattern, name string) bool {
	wanted, sub, hasSub := strings.Cut(name, "/")
	p, pSub, pHasSub := strings.Cut(pattern, "/")
	return (p == "*" || p == wanted) && (pSub == "*" && (hasSub || p == "*") || pHasSub == hasSub && pSub == sub)
}

// unanswered is why nobody answers at a Service; "" where somebody does.
func (c *cluster) unanswered(ctx context.Context, ref *admissionv1.ServiceReference) (problem string, unread *Finding) {
	name := "Service " + ref.Namespace + "/" + ref.Name
	var service corev1.Service
	err := c.Get(ctx, client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}, &service)
	if apierrors.IsNotFound(err) {
		return name + " is not there", nil
	}
	if err != nil {
		f := c.unread(err, right{"get", "services", ref.Namespace})
		return "", &f
	}
	if service.Spec.Type == corev1.ServiceTypeExternalName {
		return "", nil
	}
	var slices discoveryv1.EndpointSliceList
	if err := c.List(ctx, &slices, client.InNamespace(ref.Namespace), client.MatchingLabels{discoveryv1.LabelServiceName: ref.Name}); err != nil {
		f := c.unread(err, right{"list", "endpointslices.discovery.k8s.io", ref.Namespace})
		return "", &f
	}
	for i := range slices.Items {
		for _, e := range slices.Items[i].Endpoints {
			if len(e.Addresses) > 0 && (e.Conditions.Ready == nil || *e.Conditions.Ready) {
				return "", nil
			}
		}
	}
	return name + " has no ready endpoint", nil
}
