// Package doctor looks at a cluster that Aether runs in, or is to run in, and says what
// is wrong with it and what to do about it.
//
// It changes nothing: the one request that would is a dry run. It reads no Secret. What
// the person who asks may not read is not checked, and the right that is missing is named.
package doctor

import (
	"context"
	"sync"
	"time"
)

// Outcome is what came of a check.
type Outcome string

// Outcomes.
const (
	// OK: as it has to be.
	OK Outcome = "ok"
	// Warning: it works, and somebody should look at it.
	Warning Outcome = "warning"
	// Failed: something of Aether does not work, or is not held.
	Failed Outcome = "failed"
	// NotChecked: it cannot be told from here, or there is nothing to tell.
	NotChecked Outcome = "notChecked"
)

// Finding is one line of the answer.
type Finding struct {
	// Subject that the check belongs to.
	Subject string `json:"subject"`
	// Check is its name, the same whatever is found.
	Check string `json:"check"`
	// LookedAt is what it looks at.
	LookedAt string `json:"lookedAt"`
	// Object that this finding is about, as kind/name or kind/namespace/name; empty where
	// it is about all that was looked at.
	Object  string  `json:"object,omitempty"`
	Outcome Outcome `json:"outcome"`
	// Message is what was found, in one line.
	Message string `json:"message"`
	// Advice is what to do about it.
	Advice string `json:"advice,omitempty"`
}

// check is one thing to look at.
type check struct {
	subject, name, looksAt string
	look                   func(*cluster, context.Context) []Finding
}

// Subjects, in the order that they are told in.
const (
	kubernetes  = "Kubernetes"
	crds        = "CRDs of Aether"
	flux        = "Flux"
	addOns      = "Cilium and Kyverno"
	admission   = "Admission policies"
	permissions = "Permissions of the operator"
	webhooks    = "Webhooks"
	operator    = "Namespace operator"
	fleets      = "Tenant sources"
	openBao     = "OpenBao"
)

// checks are all of them. A name is what scripts know a check by.
var checks = []check{
	{kubernetes, "version", "the API server's version", (*cluster).checkVersion},
	{kubernetes, "clock", "the date of the API server's answer, and the clock of this machine", (*cluster).checkClock},
	{crds, "crds-served", "the CustomResourceDefinitions of aetherplatform.cloud", (*cluster).checkServed},
	{crds, "crds-schema", "their spec, and the one in this program", (*cluster).checkSchemas},
	{flux, "flux-served", "the kinds of source.toolkit.fluxcd.io and kustomize.toolkit.fluxcd.io at v1", (*cluster).checkFlux},
	{flux, "flux-sources", "the Flux sources that TenantSources name", (*cluster).checkFluxSources},
	{flux, "flux-lockdown", "the flags of Deployment kustomize-controller in flux-system", (*cluster).checkLockdown},
	{addOns, "cilium", "the kind CiliumNetworkPolicy of cilium.io/v2", (*cluster).checkCilium},
	{addOns, "kyverno", "the kind ValidatingPolicy of policies.kyverno.io/v1, and Aether's policies of it", (*cluster).checkKyverno},
	{admission, "policies", "Aether's ValidatingAdmissionPolicies and bindings, and those in this program", (*cluster).checkPolicies},
	{admission, "type-checks", "what the API server's type check says of them", (*cluster).checkTypes},
	{admission, "enforced", "a dry run of what only they refuse", (*cluster).checkEnforced},
	{permissions, "permissions", "every rule of config/rbac/namespace-operator.yaml, by SubjectAccessReview", (*cluster).checkPermissions},
	{permissions, "excess", "rights that it must not have, by SubjectAccessReview", (*cluster).checkExcess},
	{webhooks, "webhooks", "webhooks that fail closed on what Aether writes, and their Services", (*cluster).checkWebhooks},
	{operator, "lease", "Lease " + leaseName, (*cluster).checkLease},
	{operator, "deployment", "Deployment " + deploymentName, (*cluster).checkDeployment},
	{fleets, "tenant-sources", "the TenantSources' conditions", (*cluster).checkTenantSources},
	{openBao, "secrets", "the SecretSyncs' conditions", (*cluster).checkSecrets},
}

// Look makes every check, side by side, and returns what they found in the order that
// they are told in.
func (d *Doctor) Look(ctx context.Context) []Finding {
	found := make([][]Finding, len(checks))
	var all sync.WaitGroup
	for i, k := range checks {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, d.cluster.timeout)
			defer cancel()
			found[i] = k.look(d.cluster, ctx)
			for j := range found[i] {
				f := &found[i][j]
				f.Subject, f.Check, f.LookedAt = k.subject, k.name, k.looksAt
			}
		})
	}
	all.Wait()
	var findings []Finding
	for _, f := range found {
		findings = append(findings, f...)
	}
	return findings
}

// DefaultTimeout is how long one check may take.
const DefaultTimeout = 10 * time.Second
