package doctor_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/doctor"
	"github.com/aetherplatform/aether/internal/testenv"
	"github.com/aetherplatform/aether/policies"
)

const system = v1alpha1.SystemNamespace

// One install, each part broken by itself and put right again.
func TestEachFaultIsFoundAndSaysWhatToDo(t *testing.T) {
	if testing.Short() {
		t.Skip("-short leaves out what needs an API server")
	}
	w := newWorld(t)
	t.Run("a healthy install", func(t *testing.T) {
		w.finds(t, asking{},
			"notChecked kyverno: Kyverno is not installed, and need not be: the API server itself holds what isolation depends on",
			"notChecked secrets: no namespace asks for secrets")
		for _, f := range w.look(t, asking{}) {
			if f.Subject == "" || f.Check == "" || f.LookedAt == "" || f.Message == "" {
				t.Errorf("a finding does not say all: %+v", f)
			}
		}
	})
	w.quiet = []string{"kyverno", "secrets"}

	for name, c := range map[string]struct {
		why    string
		breaks func(*world) (repair func())
		asking asking
		want   []string
	}{
		"a CRD is missing": {
			why:    "the operator cannot start",
			breaks: func(w *world) func() { return w.withoutCRD("workloadclusters.aetherplatform.cloud") },
			want: []string{"failed crds-served CustomResourceDefinition/workloadclusters.aetherplatform.cloud: is missing" +
				" | kubectl apply --server-side --force-conflicts -f config/crd/aetherplatform.cloud_workloadclusters.yaml"},
		},
		"a CRD is older": {
			why: "it lacks a field, and what Git says in it is lost",
			breaks: func(w *world) func() {
				return w.changed(crd("tenants.aetherplatform.cloud"), func(o client.Object) {
					delete(properties(o), "displayName")
				})
			},
			want: []string{"warning crds-schema CustomResourceDefinition/tenants.aetherplatform.cloud: is older than this program: it lacks spec.displayName" +
				" | kubectl apply --server-side --force-conflicts -f config/crd/aetherplatform.cloud_tenants.yaml"},
		},
		"a CRD is newer": {
			why: "this program does not know all of it",
			breaks: func(w *world) func() {
				return w.changed(crd("tenants.aetherplatform.cloud"), func(o client.Object) {
					properties(o)["mood"] = apiextensionsv1.JSONSchemaProps{Type: "string"}
				})
			},
			want: []string{"warning crds-schema CustomResourceDefinition/tenants.aetherplatform.cloud: is newer than this program: it has spec.mood" +
				" | use the aether of the version that is installed; if this one is to be installed: kubectl apply --server-side --force-conflicts -f config/crd/aetherplatform.cloud_tenants.yaml"},
		},
		"a CRD says it in other words": {
			why: "descriptions change nothing that the API server does, and charts leave them out",
			breaks: func(w *world) func() {
				return w.changed(crd("tenants.aetherplatform.cloud"), func(o client.Object) {
					p := properties(o)["displayName"]
					p.Description = ""
					properties(o)["displayName"] = p
				})
			},
		},
		"a policy was changed": {
			why: "it refuses less than it promises",
			breaks: func(w *world) func() {
				return w.changed(&admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "aether-hostnames"}}, func(o client.Object) {
					spec := &as[*admissionv1.ValidatingAdmissionPolicy](o).Spec
					spec.Validations = spec.Validations[:1]
				})
			},
			want: []string{"failed policies ValidatingAdmissionPolicy/aether-hostnames: is not the one of this program: it differs at spec.validations" +
				" | kubectl apply --server-side --force-conflicts -k policies/admission"},
		},
		"a policy was applied with kubectl -k, by a binding that audits too": {
			why: "other line breaks in an expression mean the same, and what is refused is also written down",
			breaks: func(w *world) func() {
				return all(
					w.changed(&admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "aether-hostnames"}}, func(o client.Object) {
						for i, v := range as[*admissionv1.ValidatingAdmissionPolicy](o).Spec.Variables {
							as[*admissionv1.ValidatingAdmissionPolicy](o).Spec.Variables[i].Expression = strings.ReplaceAll(v.Expression, "\n", "\n\n")
						}
					}),
					w.changed(&admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "aether-hostnames"}}, func(o client.Object) {
						as[*admissionv1.ValidatingAdmissionPolicyBinding](o).Spec.ValidationActions = []admissionv1.ValidationAction{admissionv1.Deny, admissionv1.Audit}
					}),
				)
			},
		},
		"a policy is gone": {
			why: "what it refuses is let through",
			breaks: func(w *world) func() {
				return w.without(&admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "aether-images"}})
			},
			want: []string{"failed policies ValidatingAdmissionPolicy/aether-images: is missing: what it refuses is let through" +
				" | kubectl apply --server-side --force-conflicts -k policies/admission"},
		},
		"a binding only audits": {
			why: "the policy is there, and does nothing",
			breaks: func(w *world) func() {
				return w.changed(&admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "aether-system-namespaces"}}, func(o client.Object) {
					as[*admissionv1.ValidatingAdmissionPolicyBinding](o).Spec.ValidationActions = []admissionv1.ValidationAction{admissionv1.Audit}
				})
			},
			want: []string{
				"failed policies ValidatingAdmissionPolicyBinding/aether-system-namespaces: is not the one of this program: it differs at spec.validationActions[0]" +
					" | kubectl apply --server-side --force-conflicts -k policies/admission",
				"failed enforced: the API server does not refuse what they forbid: a system namespace that a tenant may adopt" +
					" | kubectl apply --server-side --force-conflicts -k policies/admission; policies hold a moment after they are stored",
			},
		},
		"a policy does not fit the cluster's types": {
			why: "an expression that cannot be evaluated refuses everything",
			breaks: func(w *world) func() {
				policy := &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "aether-images"}}
				w.get(policy)
				warn := func(warnings ...admissionv1.ExpressionWarning) {
					policy.Status.TypeChecking = &admissionv1.TypeChecking{ExpressionWarnings: warnings}
					w.status(policy)
				}
				warn(admissionv1.ExpressionWarning{FieldRef: "spec.validations[0].expression", Warning: "apps/v1, Kind=Deployment:\n undefined field 'x'"})
				return func() { w.get(policy); warn() }
			},
			want: []string{"warning type-checks ValidatingAdmissionPolicy/aether-images: 1 expression warning: spec.validations[0].expression: apps/v1, Kind=Deployment: undefined field 'x'" +
				" | compare the cluster's version with the supported ones; kubectl describe shows all of it"},
		},
		"a rule is taken from the role": {
			why: "the operator cannot put isolation back",
			breaks: func(w *world) func() {
				return w.changed(&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "aether-namespace-operator"}}, func(o client.Object) {
					role := as[*rbacv1.ClusterRole](o)
					for i := range role.Rules {
						switch role.Rules[i].Resources[0] {
						case "networkpolicies":
							role.Rules[i].Verbs = []string{"get", "list", "watch"}
						case "resourcequotas":
							role.Rules[i].Resources = []string{"limitranges"}
						}
					}
				})
			},
			want: []string{
				"failed permissions ClusterRole/aether-namespace-operator: the operator may not create, patch, delete networkpolicies.networking.k8s.io" + applyRoles,
				"failed permissions ClusterRole/aether-namespace-operator: the operator may not get, list, watch, create, patch, delete resourcequotas" + applyRoles,
			},
		},
		"a role of the operator's namespace is not bound": {
			why: "it cannot read where tenants come from",
			breaks: func(w *world) func() {
				return w.without(&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: "aether-namespace-operator"}})
			},
			want: []string{
				inSystem("create leases.coordination.k8s.io"),
				inSystem("get, update leases.coordination.k8s.io aether-namespace-operator"),
				inSystem("get, list, watch tenantsources.aetherplatform.cloud"),
				inSystem("patch tenantsources.aetherplatform.cloud/status"),
				inSystem("get, list, watch ocirepositories.source.toolkit.fluxcd.io and get, list, watch buckets.source.toolkit.fluxcd.io"),
				inSystem("create serviceaccounts/token namespace-operator"),
				inSystem("create, patch events"),
				inSystem("get secrets"),
			},
		},
		"nothing is bound": {
			why: "one line says it better than dozens",
			breaks: func(w *world) func() {
				name := "aether-namespace-operator"
				return all(
					w.without(&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name}}),
					w.without(&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: name}}),
					w.without(&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}),
				)
			},
			want: []string{"failed permissions ServiceAccount/aether-system/namespace-operator: it may do nothing of what it needs: its roles are not bound to it" + applyRoles},
		},
		"the operator is a cluster administrator": {
			why:    "whoever takes it over has the cluster",
			breaks: func(w *world) func() { return w.with(bound("too-much", "cluster-admin")) },
			want:   []string{"failed excess ServiceAccount/aether-system/namespace-operator: the operator may do everything: it is a cluster administrator" + takeAway},
		},
		"the operator reads Secrets": {
			why: "it acts as the namespace's own account for them",
			breaks: func(w *world) func() {
				role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "reads-secrets"}, Rules: []rbacv1.PolicyRule{
					{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}},
				}}
				return all(w.with(role), w.with(bound("reads-secrets", "reads-secrets")))
			},
			want: []string{"failed excess ServiceAccount/aether-system/namespace-operator: the operator may get secrets in every namespace: it can read every Secret" + takeAway},
		},
		"a webhook without a Service": {
			why:    "it fails closed on what Aether writes",
			breaks: func(w *world) func() { return w.with(hook("gone", nil)) },
			want: []string{"failed webhooks ValidatingWebhookConfiguration/gone: gone.example.com fails closed and Service default/gone is not there: what Aether writes is refused" +
				" | bring what serves it up again; if it is gone for good: kubectl delete validatingwebhookconfiguration gone"},
		},
		"a webhook whose Service nobody answers at": {
			why: "its Pods are down",
			breaks: func(w *world) func() {
				service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "down"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 443}}}}
				return all(w.with(service), w.with(hook("down", nil)))
			},
			want: []string{"failed webhooks ValidatingWebhookConfiguration/down: down.example.com fails closed and Service default/down has no ready endpoint: what Aether writes is refused" +
				" | bring what serves it up again; if it is gone for good: kubectl delete validatingwebhookconfiguration down"},
		},
		"a webhook that selects namespaces": {
			why: "it may be asked about none of Aether's",
			breaks: func(w *world) func() {
				return w.with(hook("some", &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}))
			},
			want: []string{"warning webhooks ValidatingWebhookConfiguration/some: some.example.com fails closed and Service default/some is not there: what it selects of Aether's objects cannot be written" +
				" | bring what serves it up again; if it is gone for good: kubectl delete validatingwebhookconfiguration some"},
		},
		"a webhook that fails open": {
			why: "it is in nobody's way",
			breaks: func(w *world) func() {
				h := hook("open", nil)
				h.Webhooks[0].FailurePolicy = ptr.To(admissionv1.Ignore)
				return w.with(h)
			},
		},
		"the lease is stale": {
			why:    "the operator is down",
			breaks: func(w *world) func() { return w.lease("operator-1_uid", -1170*time.Second) },
			want: []string{"failed lease Lease/aether-system/aether-namespace-operator: operator-1 renewed it last 19m ago, and it holds for 15s: the operator is down, so nothing that is pushed is applied, and no drift is put back" +
				" | kubectl -n aether-system get pods, and read the operator's log"},
		},
		"the lease is let go": {
			why:    "the operator was stopped",
			breaks: func(w *world) func() { return w.lease("", 0) },
			want: []string{"failed lease Lease/aether-system/aether-namespace-operator: nobody holds it: the operator was stopped, so nothing that is pushed is applied, and no drift is put back" +
				" | kubectl -n aether-system get pods, and read the operator's log"},
		},
		"the lease is of the future": {
			why:    "the clock of its node is wrong",
			breaks: func(w *world) func() { return w.lease("operator-1_uid", 1170*time.Second) },
			want: []string{"warning lease Lease/aether-system/aether-namespace-operator: operator-1 renewed it 19m in the future: its clock is ahead of the API server's" +
				" | set the clock of the node that the operator runs on"},
		},
		"there is no lease": {
			why: "an operator that runs alone has none",
			breaks: func(w *world) func() {
				return w.without(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: "aether-namespace-operator"}})
			},
			want: []string{"notChecked lease Lease/aether-system/aether-namespace-operator: there is none, so the operator runs without --leader-elect, and cannot be seen to run; TenantSources were looked at"},
		},
		"no operator has ever run": {
			why: "there is no lease, and nobody has looked at what was asked",
			breaks: func(w *world) func() {
				return all(w.without(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: "aether-namespace-operator"}}),
					w.sourceStatus(v1alpha1.TenantSourceStatus{}))
			},
			want: []string{
				"failed lease Lease/aether-system/aether-namespace-operator: there is none, and TenantSource fleet is not looked at: no operator runs | start the namespace operator, or read its log",
				"failed tenant-sources TenantSource/aether-system/fleet: the operator has not looked at it | see that the namespace operator runs",
			},
		},
		"the operator's Pods are not ready": {
			why: "it is there, and does nothing",
			breaks: func(w *world) func() {
				return w.statusChanged(&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: "namespace-operator"}}, func(o client.Object) {
					as[*appsv1.Deployment](o).Status.ReadyReplicas = 0
				})
			},
			want: []string{"failed deployment Deployment/aether-system/namespace-operator: none of its 2 replicas is ready | kubectl -n aether-system describe pods, and read the operator's log"},
		},
		"the operator is of another version": {
			why:    "what this program renders is not what is applied",
			asking: asking{version: "v1.3.0"},
			want: []string{"warning deployment Deployment/aether-system/namespace-operator: is of version v1.2.3, and this program is v1.3.0: what they render may differ" +
				" | use the aether of the operator's version, or upgrade the operator"},
		},
		"this machine is a minute behind": {
			why:    "ages are wrong; the lease is compared with the API server's clock",
			asking: asking{ahead: -time.Minute},
			want:   []string{"warning clock: this machine is 60s behind the API server: ages and times that it shows are wrong by as much" + setClock},
		},
		"this machine is an hour ahead": {
			why:    "tokens and certificates are not yet, or no longer, valid",
			asking: asking{ahead: time.Hour},
			want:   []string{"failed clock: this machine is 60m ahead of the API server: tokens and certificates are taken for expired, or not yet valid" + setClock},
		},
		"Flux serves no Kustomization": {
			why:    "namespaces cannot be handed over",
			breaks: func(w *world) func() { return w.withoutCRD("kustomizations.kustomize.toolkit.fluxcd.io") },
			want: []string{"failed flux-served: kustomizations.kustomize.toolkit.fluxcd.io/v1 is not served: namespaces are handed over to them" +
				" | install Flux 2.3 or newer: flux install, or its manifests"},
		},
		"a Flux source is missing": {
			why: "nothing is read",
			breaks: func(w *world) func() {
				return w.changed(&v1alpha1.TenantSource{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: "fleet"}}, func(o client.Object) {
					as[*v1alpha1.TenantSource](o).Spec.SourceRef.Name = "fleeet"
				})
			},
			want: []string{
				"failed flux-sources GitRepository/aether-system/fleeet: is not there, and TenantSource fleet reads tenants from it | create it, or correct spec.sourceRef of the TenantSource",
				"warning tenant-sources TenantSource/aether-system/fleet: was changed, and the operator has not looked at it since; last applied: main@sha1:abc | see that the namespace operator runs",
			},
		},
		"a Flux source cannot be read": {
			why: "a wrong password, and Flux says so",
			breaks: func(w *world) func() {
				return w.statusChanged(&sourcev1.GitRepository{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: "fleet"}}, func(o client.Object) {
					as[*sourcev1.GitRepository](o).Status.Conditions = []metav1.Condition{is("Ready", metav1.ConditionFalse, "GitOperationFailed", "failed to checkout: authentication required")}
				})
			},
			want: []string{"failed flux-sources GitRepository/aether-system/fleet: is not Ready: GitOperationFailed: failed to checkout: authentication required" +
				" | `kubectl describe` it: its address, its credentials, and whether source-controller reaches the host"},
		},
		"Flux is not locked down": {
			why: "a tenant reaches another's source",
			breaks: func(w *world) func() {
				return w.changed(&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "flux-system", Name: "kustomize-controller"}}, func(o client.Object) {
					as[*appsv1.Deployment](o).Spec.Template.Spec.Containers[0].Args = []string{"--no-cross-namespace-refs=false", "--no-remote-bases", "--default-service-account=deploy"}
				})
			},
			want: []string{"failed flux-lockdown Deployment/flux-system/kustomize-controller: runs without --no-cross-namespace-refs: a tenant's Kustomization can be applied from another's source" +
				" | add the flag, as Flux advises for several tenants: https://fluxcd.io/flux/installation/configuration/multitenancy/"},
		},
		"Cilium is not there": {
			why:    "profiles with its policies wait",
			breaks: func(w *world) func() { return w.withoutCRD("ciliumnetworkpolicies.cilium.io") },
			want: []string{"warning cilium: CiliumNetworkPolicy is not served: namespaces of a profile whose base holds one stay sealed (KindNotServed), as of the base in this program" +
				" | install Cilium, or give the profiles a base without CiliumNetworkPolicies"},
		},
		"a TenantSource is stalled": {
			why: "only a person can help",
			breaks: func(w *world) func() {
				return w.sourceStatus(v1alpha1.TenantSourceStatus{ObservedGeneration: 1, LastAppliedRevision: "main@sha1:abc", Conditions: []metav1.Condition{
					is("Ready", metav1.ConditionFalse, "InvalidSpec", "spec.path: there is no ./tenant"), is("Stalled", metav1.ConditionTrue, "InvalidSpec", "spec.path: there is no ./tenant"),
				}})
			},
			want: []string{"failed tenant-sources TenantSource/aether-system/fleet: is Stalled: InvalidSpec: spec.path: there is no ./tenant; last applied: main@sha1:abc" +
				" | docs/reference/conditions.md says what to do about InvalidSpec"},
		},
		"secrets are not synced": {
			why: "OpenBao is away",
			breaks: func(w *world) func() {
				return w.secret(v1alpha1.ReasonOpenBaoUnavailable, "OpenBao is away: it is sealed (503)")
			},
			want: []string{"failed secrets SecretSync/default/db: 1 of 1 secret not synced; the first: OpenBaoUnavailable: OpenBao is away: it is sealed (503)" +
				" | `aether get secrets` lists them all; docs/how-to/keep-secrets-in-openbao.md says what to do about each reason"},
		},
		"no OpenBao is configured": {
			why: "an installation without it is whole",
			breaks: func(w *world) func() {
				return w.secret(v1alpha1.ReasonOpenBaoNotConfigured, "No OpenBao is configured")
			},
			want: []string{"warning secrets: no OpenBao is configured, and 1 secret is asked for" +
				" | start the operator with --openbao-address: docs/how-to/keep-secrets-in-openbao.md"},
		},
		"Kyverno runs without Aether's policies": {
			why:    "they were forgotten",
			breaks: func(w *world) func() { return w.kyverno(0) },
			want:   []string{fmt.Sprintf("warning kyverno: Kyverno is installed, and none of Aether's %d policies is | kubectl apply --server-side --force-conflicts -k policies/kyverno", w.kyvernos)},
		},
		"Kyverno does not hold a policy": {
			why:    "its webhook is not there",
			breaks: func(w *world) func() { return w.kyverno(w.kyvernos) },
			want: []string{"failed kyverno ValidatingPolicy/aether-classes: Kyverno does not hold it (WebhookConfigured: no webhook)" +
				" | see that Kyverno's admission controller runs, and read its log"},
		},
		"somebody without rights asks": {
			why:    "each line names the right that is missing, and nothing breaks",
			asking: asking{as: w.nobody},
			want: []string{
				"notChecked crds-served: you may not get customresourcedefinitions.apiextensions.k8s.io",
				"notChecked crds-schema: you may not get customresourcedefinitions.apiextensions.k8s.io",
				"notChecked flux-sources: you may not list tenantsources.aetherplatform.cloud in namespace aether-system",
				"notChecked flux-lockdown: you may not get deployments.apps in namespace flux-system",
				"notChecked policies: you may not get validatingadmissionpolicies.admissionregistration.k8s.io",
				"notChecked type-checks: you may not get validatingadmissionpolicies.admissionregistration.k8s.io",
				"notChecked enforced: you may not create namespaces, not even as a dry run",
				"notChecked permissions: you may not create subjectaccessreviews.authorization.k8s.io",
				"notChecked excess: you may not create subjectaccessreviews.authorization.k8s.io",
				"notChecked webhooks: you may not list validatingwebhookconfigurations.admissionregistration.k8s.io",
				"notChecked lease Lease/aether-system/aether-namespace-operator: you may not get leases.coordination.k8s.io aether-namespace-operator in namespace aether-system",
				"notChecked deployment: you may not get deployments.apps in namespace aether-system",
				"notChecked tenant-sources: you may not list tenantsources.aetherplatform.cloud in namespace aether-system",
				"notChecked secrets: you may not list secretsyncs.aetherplatform.cloud",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.of(t)
			if c.breaks != nil {
				repair := c.breaks(w)
				defer repair()
			}
			w.finds(t, c.asking, c.want...)
			if t.Failed() {
				t.Log("it has to be found, because " + c.why)
			}
		})
	}
}

// What follows a finding as its advice.
const (
	applyRoles = " | kubectl apply --server-side --force-conflicts -f config/rbac/namespace-operator.yaml"
	takeAway   = " | take the right away: find the binding with `kubectl get clusterrolebindings -o wide | grep namespace-operator`, and apply config/rbac/namespace-operator.yaml"
	setClock   = " | set the clock of whichever is wrong: `timedatectl status` on both, and run chrony or systemd-timesyncd"
)

// inSystem is a finding of a right in the operator's namespace.
func inSystem(right string) string {
	return "failed permissions Role/aether-system/aether-namespace-operator: the operator may not " + right + " in namespace aether-system" + applyRoles
}

func TestAClusterThatDoesNotAnswerIsToldOnce(t *testing.T) {
	_, err := doctor.New(t.Context(), doctor.Options{Config: &rest.Config{Host: "http://127.0.0.1:1"}, Timeout: time.Second, Now: time.Now})
	if err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("got %v, want that the connection is refused", err)
	}
}

// world is a cluster with all of Aether in it.
type world struct {
	*testing.T
	env    *testenv.Env
	nobody *rest.Config
	// quiet are checks that say only that there is nothing to look at.
	quiet    []string
	kyvernos int
}

// asking is who asks, with which program, by which clock.
type asking struct {
	as      *rest.Config
	ahead   time.Duration
	version string
}

func newWorld(t *testing.T) *world {
	w := &world{T: t, env: testenv.Start(t)}
	w.env.Install(t)
	w.nobody = w.env.As(t, "mallory", "nobody")
	ours, err := policies.Kyverno()
	if err != nil {
		t.Fatal(err)
	}
	w.kyvernos = len(ours)

	w.with(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "flux-system"}})
	w.with(deployment("flux-system", "kustomize-controller", "ghcr.io/fluxcd/kustomize-controller:v1.9.5",
		"--no-cross-namespace-refs=true", "--no-remote-bases=true", "--default-service-account=deploy"))
	operator := deployment(system, "namespace-operator", "registry.example.com:5000/aether/namespace-operator:v1.2.3@sha256:"+strings.Repeat("a", 64))
	w.with(operator)
	operator.Status = appsv1.DeploymentStatus{Replicas: 2, ReadyReplicas: 2}
	w.status(operator)
	w.with(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: "aether-namespace-operator"}, Spec: coordinationv1.LeaseSpec{
		HolderIdentity: ptr.To("operator-1_uid"), LeaseDurationSeconds: ptr.To[int32](3600), RenewTime: ptr.To(metav1.NowMicro()),
	}})

	git := &sourcev1.GitRepository{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: "fleet"}, Spec: sourcev1.GitRepositorySpec{
		URL: "https://git.example.com/fleet.git", Interval: metav1.Duration{Duration: time.Hour},
	}}
	w.with(git)
	git.Status = sourcev1.GitRepositoryStatus{Conditions: []metav1.Condition{is("Ready", metav1.ConditionTrue, "Succeeded", "stored artifact")},
		Artifact: &meta.Artifact{Revision: "main@sha1:abc", Path: "x", URL: "http://x", Digest: "sha256:" + strings.Repeat("a", 64), LastUpdateTime: metav1.Now()}}
	w.status(git)
	w.with(&v1alpha1.TenantSource{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: "fleet"}, Spec: v1alpha1.TenantSourceSpec{
		SourceRef: v1alpha1.SourceRef{Kind: "GitRepository", Name: "fleet"},
	}})
	w.sourceStatus(healthySource())

	// Limit ranges, because nothing here writes one: the API server would call it.
	served := hook("served", nil)
	w.with(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "served"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 443}}}})
	w.with(&discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "served-1", Labels: map[string]string{discoveryv1.LabelServiceName: "served"}},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"192.0.2.1"}}}})
	w.with(served)
	return w
}

// of is the same world for a subtest.
func (w *world) of(t *testing.T) *world {
	c := *w
	c.T = t
	return &c
}

func (w *world) look(t *testing.T, a asking) []doctor.Finding {
	t.Helper()
	config := w.env.Config
	if a.as != nil {
		config = a.as
	}
	version := "v1.2.3"
	if a.version != "" {
		version = a.version
	}
	d, err := doctor.New(t.Context(), doctor.Options{
		Config: config, Namespace: system, Version: version, Timeout: 30 * time.Second, Now: func() time.Time { return time.Now().Add(a.ahead) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return d.Look(t.Context())
}

// finds waits until all that is not ok is what is wanted: policies hold, and CRDs are
// served, a moment after they are stored.
func (w *world) finds(t *testing.T, a asking, want ...string) {
	t.Helper()
	testenv.Eventually(t, func(context.Context) error {
		var got []string
		for _, f := range w.look(t, a) {
			if f.Outcome == doctor.OK {
				continue
			}
			line := fmt.Sprintf("%s %s", f.Outcome, f.Check)
			if f.Object != "" {
				line += " " + f.Object
			}
			line += ": " + f.Message
			if f.Advice != "" {
				line += " | " + f.Advice
			}
			if f.Outcome == doctor.NotChecked && !strings.Contains(f.Message, "you may not") && strings.Contains(strings.Join(w.quiet, " "), f.Check) {
				continue
			}
			got = append(got, line)
		}
		if a.as != nil { // as nobody, Kyverno is not there either
			got = without(got, "notChecked kyverno:")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			return fmt.Errorf("findings (-want +got):\n%s", diff)
		}
		return nil
	})
}

func without(lines []string, prefix string) []string {
	var rest []string
	for _, l := range lines {
		if !strings.HasPrefix(l, prefix) {
			rest = append(rest, l)
		}
	}
	return rest
}

func (w *world) fatal(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) get(o client.Object) {
	w.Helper()
	w.fatal(w.env.Client.Get(context.WithoutCancel(w.Context()), client.ObjectKeyFromObject(o), o))
}

func (w *world) status(o client.Object) {
	w.Helper()
	w.fatal(w.env.Client.Status().Update(context.WithoutCancel(w.Context()), o))
}

// with adds an object; repair takes it away.
func (w *world) with(o client.Object) (repair func()) {
	w.Helper()
	w.fatal(w.env.Client.Create(w.Context(), o))
	return func() { w.fatal(w.env.Client.Delete(context.WithoutCancel(w.Context()), o)) }
}

// without takes an object away; repair puts it back.
func (w *world) without(o client.Object) (repair func()) {
	w.Helper()
	w.get(o)
	w.fatal(w.env.Client.Delete(w.Context(), o))
	return func() {
		o.SetResourceVersion("")
		o.SetUID("")
		w.fatal(w.env.Client.Create(context.WithoutCancel(w.Context()), o))
	}
}

// withoutCRD takes a CRD away; repair puts it back and waits until it is served.
func (w *world) withoutCRD(name string) (repair func()) {
	w.Helper()
	o := crd(name)
	w.get(o)
	back := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: o.Annotations}, Spec: *o.Spec.DeepCopy()}
	w.fatal(w.env.Client.Delete(w.Context(), o))
	testenv.Eventually(w.T, func(ctx context.Context) error {
		return testenv.Gone(w.env.Client.Get(ctx, client.ObjectKeyFromObject(o), o))
	})
	return func() { w.fatal(w.env.Client.Create(context.WithoutCancel(w.Context()), back)) }
}

// changed changes an object; repair changes its spec back.
func (w *world) changed(o client.Object, change func(client.Object)) (repair func()) {
	w.Helper()
	w.get(o)
	before := as[client.Object](o.DeepCopyObject())
	change(o)
	w.fatal(w.env.Client.Update(w.Context(), o))
	return func() {
		before.SetResourceVersion("")
		o.SetManagedFields(nil)
		before.SetManagedFields(nil)
		w.get(o)
		before.SetResourceVersion(o.GetResourceVersion())
		w.fatal(w.env.Client.Update(context.WithoutCancel(w.Context()), before))
		if _, isSource := o.(*v1alpha1.TenantSource); isSource {
			w.sourceStatus(healthySource())
		}
	}
}

func (w *world) statusChanged(o client.Object, change func(client.Object)) (repair func()) {
	w.Helper()
	w.get(o)
	before := as[client.Object](o.DeepCopyObject())
	change(o)
	w.status(o)
	return func() {
		before.SetResourceVersion(o.GetResourceVersion())
		w.status(before)
	}
}

func healthySource() v1alpha1.TenantSourceStatus {
	return v1alpha1.TenantSourceStatus{Summary: "2/2", LastAppliedRevision: "main@sha1:abc",
		Conditions: []metav1.Condition{is("Ready", metav1.ConditionTrue, "Reconciled", "2 tenants applied")}}
}

// sourceStatus is what the operator says of the source, of its newest generation where it
// says anything.
func (w *world) sourceStatus(s v1alpha1.TenantSourceStatus) (repair func()) {
	w.Helper()
	source := &v1alpha1.TenantSource{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: "fleet"}}
	w.get(source)
	source.Status = s
	if len(s.Conditions) > 0 {
		source.Status.ObservedGeneration = source.Generation
	}
	w.status(source)
	return func() { w.sourceStatus(healthySource()) }
}

func (w *world) lease(holder string, renewed time.Duration) (repair func()) {
	w.Helper()
	return w.changed(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: "aether-namespace-operator"}}, func(o client.Object) {
		// Half a second, so that it rounds to the same however long the test takes to ask.
		as[*coordinationv1.Lease](o).Spec = coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: ptr.To[int32](15),
			RenewTime: ptr.To(metav1.NewMicroTime(time.Now().Add(renewed)))}
	})
}

func (w *world) secret(reason, message string) (repair func()) {
	w.Helper()
	db := &v1alpha1.SecretSync{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "db"}, Spec: v1alpha1.SecretSyncSpec{SecretSource: v1alpha1.SecretSource{Path: "db"}}}
	repair = w.with(db)
	db.Status.Conditions = []metav1.Condition{is("Ready", metav1.ConditionFalse, reason, message)}
	w.status(db)
	return repair
}

// kyverno serves Kyverno's kind, with so many of Aether's policies: ready but for the first.
func (w *world) kyverno(n int) (repair func()) {
	w.Helper()
	definition := &apiextensionsv1.CustomResourceDefinition{}
	w.fatal(yaml.Unmarshal([]byte(`
metadata: {name: validatingpolicies.policies.kyverno.io}
spec:
  group: policies.kyverno.io
  scope: Cluster
  names: {kind: ValidatingPolicy, plural: validatingpolicies}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`), definition))
	remove := w.with(definition)
	ours, err := policies.Kyverno()
	w.fatal(err)
	for i, p := range ours[:n] {
		testenv.Eventually(w.T, func(ctx context.Context) error { return w.env.Client.Create(ctx, p.DeepCopy()) })
		have := &unstructured.Unstructured{}
		have.SetGroupVersionKind(p.GroupVersionKind())
		have.SetName(p.GetName())
		w.get(have)
		condition := map[string]any{"type": "WebhookConfigured", "status": "True", "message": "configured"}
		if i == 0 {
			condition["status"], condition["message"] = "False", "no webhook"
		}
		have.Object["status"] = map[string]any{"conditionStatus": map[string]any{"ready": i > 0, "conditions": []any{condition}}}
		w.status(have)
	}
	return func() {
		remove()
		testenv.Eventually(w.T, func(ctx context.Context) error {
			return testenv.Gone(w.env.Client.Get(ctx, client.ObjectKeyFromObject(definition), definition))
		})
	}
}

func all(repairs ...func()) func() {
	return func() {
		for _, r := range repairs {
			r()
		}
	}
}

// as is an object of a type that it is known to have.
func as[T any](o any) T { return o.(T) }

func crd(name string) *apiextensionsv1.CustomResourceDefinition {
	return &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

// properties of spec, in the CRD's only version.
func properties(o client.Object) map[string]apiextensionsv1.JSONSchemaProps {
	return as[*apiextensionsv1.CustomResourceDefinition](o).Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"].Properties
}

func is(kind string, status metav1.ConditionStatus, reason, message string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message, LastTransitionTime: metav1.Now()}
}

// bound gives the operator a ClusterRole.
func bound(name, role string) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: system, Name: "namespace-operator"}}}
}

// hook is a webhook that fails closed on limit ranges.
func hook(name string, namespaces *metav1.LabelSelector) *admissionv1.ValidatingWebhookConfiguration {
	return &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}, Webhooks: []admissionv1.ValidatingWebhook{{
		Name: name + ".example.com", NamespaceSelector: namespaces, SideEffects: ptr.To(admissionv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
		ClientConfig: admissionv1.WebhookClientConfig{Service: &admissionv1.ServiceReference{Namespace: "default", Name: name}},
		Rules: []admissionv1.RuleWithOperations{{Operations: []admissionv1.OperationType{admissionv1.Create},
			Rule: admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"limitranges"}}}},
	}}}
}

func deployment(namespace, name, image string, args ...string) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: appsv1.DeploymentSpec{
		Replicas: ptr.To[int32](2), Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "manager", Image: image, Args: args}},
		}},
	}}
}
