// Package review says what a change of a fleet repository will do: which objects
// it creates, changes and deletes, and what that means.
//
// It compares what the renderer makes of two revisions, never lines of YAML. The
// types here are the report that every output is written from; the packages below
// fill it and print it:
//
//	compare    objects of base and head, field by field
//	live       the same with a cluster in place of base
//	meaning    what the differences mean, by risk
//	authority  what the change may not do, and who has to approve it
//	policy     which admission policies would newly refuse it
//	report     text, Markdown, JSON, HTML and SARIF
package review

import "fmt"

// Report is what one change does.
type Report struct {
	Base Revision `json:"base"`
	Head Revision `json:"head"`
	// Summary counts what follows.
	Summary Summary `json:"summary"`
	// Findings are what the change means, highest risk first.
	Findings []Finding `json:"findings"`
	// Errors are why head, or a part of it, would not be applied. Those that base
	// has as well are marked.
	Errors []Error `json:"errors"`
	// Approvals are the paths of which someone else has to approve the change.
	Approvals []Approval `json:"approvals"`
	// Violations are the objects that an admission policy would refuse.
	Violations []Violation `json:"violations"`
	// Changes are the objects that differ, by tenant, cluster, namespace, kind and name.
	Changes []Change `json:"changes"`
	// Groups stand for changes that are the same in many namespaces, such as those
	// that a base or a profile makes. The changes themselves are in Changes.
	Groups []Group `json:"groups"`
}

// Revision is one side.
type Revision struct {
	// Name as the user wrote it: "main", "HEAD~1", "working tree".
	Name string `json:"name"`
	// Commit is the full hash; empty for the working tree.
	Commit string `json:"commit,omitempty"`
	// Digest of everything that is rendered: what TenantSource.status reports once
	// it is applied. Empty while a tenant has errors.
	Digest string `json:"digest,omitempty"`
}

// Summary counts.
type Summary struct {
	Created int `json:"created"`
	Changed int `json:"changed"`
	Deleted int `json:"deleted"`
	Moved   int `json:"moved"`
	// Tenants and Namespaces that are touched.
	Tenants    int `json:"tenants"`
	Namespaces int `json:"namespaces"`
}

// Object names an object of the render.
type Object struct {
	// Tenant is the directory it comes from; "_platform" for the platform's own.
	Tenant string `json:"tenant"`
	// Cluster is where it is; "" is the cluster that the fleet is reconciled in.
	Cluster    string `json:"cluster,omitempty"`
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	// Namespace is the Kubernetes namespace it belongs to: for a Namespace and a
	// TenantNamespace its own name, for a Tenant or a profile "".
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

// Action is what becomes of an object.
type Action string

// Actions.
const (
	Created Action = "created"
	Changed Action = "changed"
	Deleted Action = "deleted"
	// Moved: the object is the same, and another file, tenant or cluster has it.
	Moved Action = "moved"
)

// Change is what becomes of one object.
type Change struct {
	Object
	Action Action `json:"action"`
	// Place in Git at head, or at base when the object is gone.
	Place Place `json:"place"`
	// From is what a moved object was.
	From *Object `json:"from,omitempty"`
	// Fields that differ, by path. A created or deleted object has none.
	Fields []Field `json:"fields,omitempty"`
	// Content of a created or deleted object, without provenance; what is secret is
	// replaced by Redacted.
	Content map[string]any `json:"content,omitempty"`
	// Unchanged are the other fields of a changed object, for context.
	Unchanged map[string]any `json:"unchanged,omitempty"`
	// Group is the key of the Group that it belongs to; "" for none.
	Group string `json:"group,omitempty"`
	// Key is a digest of kind, name and fields with the namespace's and tenant's own
	// names taken out: changes with the same key are the same change elsewhere.
	Key string `json:"-"`
}

// Place is a line of a file of the repository.
type Place struct {
	// File is relative to the root of the repository: "tenants/acme/web.yaml".
	File string `json:"file,omitempty"`
	// Line counts from 1; 0 means the whole file.
	Line int `json:"line,omitempty"`
}

// String is "file:line".
func (p Place) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// Redacted stands for a value that is not shown.
const Redacted = "(redacted)"

// Field is one field that differs.
type Field struct {
	// Path is as kubectl and errors of the API server write it:
	// spec.egress[0].toPorts, rules[apiGroups=apps].verbs.
	Path string `json:"path"`
	// Old and New are JSON values; nil together with Added or Removed.
	Old     any  `json:"old,omitempty"`
	New     any  `json:"new,omitempty"`
	Added   bool `json:"added,omitempty"`
	Removed bool `json:"removed,omitempty"`
}

// Group is one change in many namespaces.
type Group struct {
	Key string `json:"key"`
	// Cause is the file that made it, where one did: "base/namespace/network".
	Cause string `json:"cause,omitempty"`
	// Tenants and Namespaces that it is in, sorted.
	Tenants    []string `json:"tenants"`
	Namespaces []string `json:"namespaces"`
	// Representative is the index in Report.Changes of the one to show.
	Representative int `json:"representative"`
	// Otherwise are the namespaces in which the same object changes in another way, and
	// Unchanged those of the same profile in which it does not; sorted.
	Otherwise []string `json:"otherwise,omitempty"`
	Unchanged []string `json:"unchanged,omitempty"`
}

// Risk of a finding.
type Risk string

// Risks, highest first.
const (
	High   Risk = "high"
	Medium Risk = "medium"
	Low    Risk = "low"
	Info   Risk = "info"
)

// Weight orders risks: the highest is 0.
func (r Risk) Weight() int {
	switch r {
	case High:
		return 0
	case Medium:
		return 1
	case Low:
		return 2
	default:
		return 3
	}
}

// Category of a finding; one can search for it.
type Category string

// Categories.
const (
	RightsGained    Category = "RightsGained"
	RightsLost      Category = "RightsLost"
	NetworkOpened   Category = "NetworkOpened"
	NetworkClosed   Category = "NetworkClosed"
	PodSecurity     Category = "PodSecurity"
	QuotaMoved      Category = "QuotaMoved"
	DataDeleted     Category = "DataDeleted"
	SoftDeleted     Category = "SoftDeleted"
	NameClaimed     Category = "NameClaimed"
	NameReleased    Category = "NameReleased"
	SecretSource    Category = "SecretSourceChanged"
	Immutable       Category = "CannotChangeInPlace"
	BlastRadius     Category = "ManyNamespaces"
	TenantLimits    Category = "TenantLimits"
	PolicyChanged   Category = "PolicyChanged"
	Exception       Category = "Exception"
	IsolationEroded Category = "IsolationEroded"
)

// Finding is one thing that a change means.
type Finding struct {
	Risk     Risk     `json:"risk"`
	Category Category `json:"category"`
	// Title is one sentence: "Group acme-web-team can now delete Secrets".
	Title string `json:"title"`
	// Details are further lines; values of secrets are never among them.
	Details []string `json:"details,omitempty"`
	// Tenants and Namespaces that it is about, sorted; findings that are alike are
	// one finding with many namespaces.
	Tenants    []string `json:"tenants,omitempty"`
	Namespaces []string `json:"namespaces,omitempty"`
	// Place that caused it, where one did.
	Place Place `json:"place"`
}

// Error is why something of head would not be applied.
type Error struct {
	Place   Place  `json:"place"`
	Tenant  string `json:"tenant"`
	Message string `json:"message"`
	// Old: base has it too.
	Old bool `json:"old,omitempty"`
}

// Approval is a path that the change touches and that has owners, by the
// CODEOWNERS of base.
type Approval struct {
	Path string `json:"path"`
	// Owners as CODEOWNERS has them: "@platform-team".
	Owners []string `json:"owners,omitempty"`
	// Needed is how many of the owners have to approve, where it is more than one.
	Needed int `json:"needed,omitempty"`
	// Platform: only the platform team may make this change.
	Platform bool   `json:"platform,omitempty"`
	Reason   string `json:"reason"`
}

// Violation is an object that an admission policy refuses.
type Violation struct {
	Object
	// Place in Git of what made the object.
	Place   Place  `json:"place,omitzero"`
	Policy  string `json:"policy"`
	Message string `json:"message"`
	// Old: the policy refuses it at base too. Only new ones fail the check.
	Old bool `json:"old,omitempty"`
}

// Weights are what decides about a merge, counted.
type Weights struct {
	// Errors and Violations that base has not.
	Errors, Violations int
	// HighRisks are findings of high risk.
	HighRisks int
	// Platform approvals are those that only the platform team can give.
	Platform int
}

// Weigh counts what decides about a merge.
func (r *Report) Weigh() Weights {
	var w Weights
	for _, e := range r.Errors {
		if !e.Old {
			w.Errors++
		}
	}
	for _, v := range r.Violations {
		if !v.Old {
			w.Violations++
		}
	}
	for _, f := range r.Findings {
		if f.Risk == High {
			w.HighRisks++
		}
	}
	for _, a := range r.Approvals {
		if a.Platform {
			w.Platform++
		}
	}
	return w
}

// Failed is whether the change must not be merged as it is: head has new errors
// or new violations.
func (r *Report) Failed() bool {
	w := r.Weigh()
	return w.Errors > 0 || w.Violations > 0
}

// Empty is whether nothing that is rendered changes.
func (r *Report) Empty() bool {
	return len(r.Changes) == 0 && len(r.Errors) == 0 && len(r.Violations) == 0
}
