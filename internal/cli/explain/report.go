package explain

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/cli"
	"github.com/aetherplatform/aether/internal/observe"
	"github.com/aetherplatform/aether/internal/render"
	"github.com/aetherplatform/aether/internal/tenancy"
)

// Report is the story, in the order in which it is told. Its JSON is stable.
type Report struct {
	Namespace   string   `json:"namespace"`
	Tenant      string   `json:"tenant"`
	DisplayName string   `json:"displayName,omitempty"`
	Profile     string   `json:"profile"`
	Size        string   `json:"size"`
	PodSecurity string   `json:"podSecurity,omitempty"`
	Clusters    []string `json:"clusters,omitempty"`
	Source      Source   `json:"source"`
	Ready       bool     `json:"ready"`
	Reason      string   `json:"reason,omitempty"`
	Message     string   `json:"message"`
	// Isolated is True, False or Unknown; IsolatedMessage says whether Pods are
	// admitted, and why not.
	Isolated        string `json:"isolated"`
	IsolatedMessage string `json:"isolatedMessage,omitempty"`
	// SecretsSynced is True, False or Unknown where spec.secrets is set.
	SecretsSynced        string `json:"secretsSynced,omitempty"`
	SecretsSyncedMessage string `json:"secretsSyncedMessage,omitempty"`

	Removed *Removed     `json:"removed,omitempty"`
	Objects []Object     `json:"objects"`
	Secrets []Secret     `json:"secrets,omitempty"`
	Quota   []Quota      `json:"quota,omitempty"`
	Access  []Access     `json:"access"`
	Ingress []Connection `json:"ingress"`
	Egress  []Connection `json:"egress"`
	GitOps  string       `json:"gitops,omitempty"`
	// Exceptions that it has, ended ones included.
	Exceptions []Exception `json:"exceptions,omitempty"`
	// Notes are what a person should know beside the above.
	Notes []string `json:"notes,omitempty"`
}

// Source is a place in Git.
type Source struct {
	Path     string `json:"path,omitempty"`
	Revision string `json:"revision,omitempty"`
}

// Removed is how a namespace left Git.
type Removed struct {
	At string `json:"at"`
	In string `json:"in,omitempty"`
	// Until is when it is deleted; empty when only a person deletes it.
	Until string `json:"until,omitempty"`
}

// States of an object.
const (
	Present = "present"
	Drifted = "drifted"
	Missing = "missing"
)

// Object is one object made for the namespace.
type Object struct {
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	State     string `json:"state"`
	Component string `json:"component,omitempty"`
	Source    Source `json:"source"`
}

// Quota is one resource.
type Quota struct {
	Resource string `json:"resource"`
	Used     string `json:"used,omitempty"`
	Hard     string `json:"hard"`
	// TenantUsed and TenantHard are the tenant's budget and how much of it its
	// namespaces' quotas take; TenantHard is empty where it is not bounded.
	TenantUsed string `json:"tenantUsed,omitempty"`
	TenantHard string `json:"tenantHard,omitempty"`
}

// Access is who may do what.
type Access struct {
	Who  string `json:"who"`
	Role string `json:"role"`
	// From is the field that grants it.
	From string `json:"from"`
}

// Connection is a peer, and the ports it may use or be reached on.
type Connection struct {
	Peer  string `json:"peer"`
	Ports string `json:"ports"`
	From  string `json:"from"`
	// Blocked says what on the other side still refuses it.
	Blocked string `json:"blocked,omitempty"`
}

// Exception is what the namespace may do for a time that policies refuse otherwise.
type Exception struct {
	// Name of the TenantException, or of the profile's entry and the profile.
	Name   string   `json:"name"`
	Allows []string `json:"allows"`
	Until  string   `json:"until"`
	Ended  bool     `json:"ended,omitempty"`
	Owner  string   `json:"owner"`
	Reason string   `json:"reason"`
	Source Source   `json:"source"`
}

// explain tells what the facts mean.
func explain(f *facts, now time.Time) *Report {
	n := f.namespace
	ready := cli.ReadyOf(n.Status.Conditions)
	r := &Report{
		Namespace: n.Name,
		Tenant:    n.Spec.Tenant,
		Profile:   n.Spec.Profile,
		Size:      n.Spec.Size,
		Clusters:  n.Spec.Clusters,
		Source:    sourceOf(n.Annotations),
		Ready:     ready.True(),
		Reason:    ready.Reason,
		Message:   ready.Message,
		Isolated:  "Unknown",
		Objects:   objects(f),
		Secrets:   secrets(f, now),
		Quota:     quota(f),
		Access:    access(f),
		Ingress:   ingress(f),
		Egress:    egress(f),
		Removed:   removed(f),
		Notes:     notes(f),

		Exceptions: exceptions(f, now),
	}
	if c := meta.FindStatusCondition(n.Status.Conditions, v1alpha1.ConditionIsolated); c != nil {
		r.Isolated, r.IsolatedMessage = string(c.Status), c.Message
	}
	if c := meta.FindStatusCondition(n.Status.Conditions, v1alpha1.ConditionSecretsSynced); c != nil {
		r.SecretsSynced, r.SecretsSyncedMessage = string(c.Status), c.Message
	}
	if f.tenant != nil {
		r.DisplayName = f.tenant.Spec.DisplayName
	}
	if f.profile != nil {
		r.PodSecurity = string(f.profile.Spec.PodSecurity)
	}
	if o := n.Spec.Overrides; o != nil && o.PodSecurity != "" {
		r.PodSecurity = string(o.PodSecurity)
	}
	if g := n.Spec.GitOps; g != nil {
		r.GitOps = fmt.Sprintf("%s, branch %s, path %s", g.URL, g.Branch, g.Path)
		if f.cordoned() {
			r.GitOps += " (suspended)"
		}
	}
	return r
}

func exceptions(f *facts, now time.Time) []Exception {
	var list []Exception
	for _, e := range render.ExceptionsOf(f.namespace, f.profile, f.exceptions) {
		one := Exception{
			Name: e.String(), Until: e.Expires.UTC().Format(time.RFC3339), Ended: !e.Expires.After(now),
			Owner: e.Owner, Reason: e.Reason, Source: sourceOf(f.granting(e)),
		}
		for what, values := range map[string][]string{
			"registry": e.Allow.Registries, "hostname": e.Allow.Hostnames, "storage class": e.Allow.StorageClasses, "priority class": e.Allow.PriorityClasses,
		} {
			for _, value := range values {
				one.Allows = append(one.Allows, what+" "+value)
			}
		}
		for _, value := range e.Allow.Exposure {
			one.Allows = append(one.Allows, string(value))
		}
		slices.Sort(one.Allows)
		list = append(list, one)
	}
	return list
}

// granting are the annotations of the object that an exception is written in.
func (f *facts) granting(e render.Exception) map[string]string {
	if e.Kind == v1alpha1.KindNamespaceProfile {
		return f.profile.Annotations
	}
	for _, x := range f.exceptions {
		if x.Name == e.Name {
			return x.Annotations
		}
	}
	return nil
}

func sourceOf(annotations map[string]string) Source {
	return Source{Path: annotations[v1alpha1.AnnotationPath], Revision: annotations[v1alpha1.AnnotationRevision]}
}

// objects are in the order of the inventory, which is the order of applying.
func objects(f *facts) []Object {
	list := []Object{}
	for _, entry := range f.namespace.Status.Inventory {
		id, ok := parseID(entry)
		if !ok {
			continue
		}
		o := Object{Kind: id.kind.Kind, Name: id.name, State: stateOf(f.live[entry.ID], entry)}
		if live := f.live[entry.ID]; live != nil {
			o.Component = live.GetAnnotations()[v1alpha1.AnnotationComponent]
			o.Source = sourceOf(live.GetAnnotations())
		}
		list = append(list, o)
	}
	return list
}

func stateOf(live *unstructured.Unstructured, entry v1alpha1.InventoryEntry) string {
	switch {
	case live == nil:
		return Missing
	case entry.Observed != "" && observe.HashOf(live).String() != entry.Observed:
		return Drifted
	default:
		return Present
	}
}

// quota is what the profile's size and overrides grant, and whatever else the
// profile's components bound.
func quota(f *facts) []Quota {
	hard := corev1.ResourceList{}
	used := corev1.ResourceList{}
	for _, q := range f.quotas {
		maps.Copy(hard, q.Spec.Hard)
		maps.Copy(used, q.Status.Used)
	}
	if f.profile != nil {
		// What cannot be computed is in Ready's message.
		granted, _ := tenancy.QuotaOf(f.namespace, f.profile)
		maps.Copy(hard, granted)
	}
	var list []Quota
	for _, name := range slices.Sorted(maps.Keys(hard)) {
		q := Quota{Resource: string(name), Hard: quantity(hard, name), Used: quantity(used, name)}
		if t := f.tenant; t != nil && t.Spec.Quota != nil {
			q.TenantHard = quantity(t.Spec.Quota.Hard, name)
			q.TenantUsed = quantity(t.Status.Used, name)
		}
		list = append(list, q)
	}
	return list
}

func access(f *facts) []Access {
	list := []Access{}
	add := func(a v1alpha1.Access, from string) {
		role := string(a.Role)
		if f.cordoned() && a.Role != v1alpha1.RoleViewer {
			from += fmt.Sprintf(" (%s, when no longer cordoned)", role)
			role = string(v1alpha1.RoleViewer)
		}
		list = append(list, Access{Who: subject(a.Subject), Role: role, From: from})
	}
	if f.tenant != nil {
		for i, a := range f.tenant.Spec.Owners {
			add(a, fmt.Sprintf("Tenant %s: owners[%d]", f.tenant.Name, i))
		}
	}
	for i, a := range f.namespace.Spec.Access {
		add(a, fmt.Sprintf("access[%d]", i))
	}
	if f.has("RoleBinding", deploy) {
		list = append(list, Access{Who: fmt.Sprintf("ServiceAccount %s/%s", f.namespace.Name, deploy), Role: deploy, From: "the profile, for GitOps and pipelines"})
	}
	return list
}

// deploy is the service account, and the role, that GitOps runs as.
const deploy = "deploy"

// has says whether the inventory holds an object.
func (f *facts) has(kind, name string) bool {
	return slices.ContainsFunc(f.namespace.Status.Inventory, func(e v1alpha1.InventoryEntry) bool {
		id, ok := parseID(e)
		return ok && id.kind.Kind == kind && id.name == name
	})
}

// cordoned says whether write access is withdrawn.
func (f *facts) cordoned() bool {
	_, removed := f.namespace.Annotations[v1alpha1.AnnotationRemovedAt]
	return removed || f.tenant != nil && f.tenant.Spec.Cordoned
}

func subject(s v1alpha1.Subject) string {
	if s.Namespace != "" {
		return fmt.Sprintf("%s %s/%s", s.Kind, s.Namespace, s.Name)
	}
	return s.Kind + " " + s.Name
}

// removed is nil while the namespace is in Git.
func removed(f *facts) *Removed {
	at, ok := f.namespace.Annotations[v1alpha1.AnnotationRemovedAt]
	if !ok {
		return nil
	}
	r := &Removed{At: at, In: f.namespace.Annotations[v1alpha1.AnnotationRemovedIn]}
	since, err := time.Parse(time.RFC3339, at)
	if t := f.tenant; err == nil && t != nil && t.Spec.Deletion.Policy == v1alpha1.DeletionDelete && t.Spec.Deletion.Retention != nil {
		r.Until = since.Add(t.Spec.Deletion.Retention.Duration).UTC().Format(time.RFC3339)
	}
	return r
}

func notes(f *facts) []string {
	var list []string
	n := f.namespace
	if f.tenant == nil {
		list = append(list, fmt.Sprintf("there is no Tenant %q in the cluster", n.Spec.Tenant))
	} else if f.tenant.Spec.Cordoned {
		list = append(list, "the tenant is cordoned: no new Pods, write access is withdrawn, GitOps is suspended")
	}
	if f.profile == nil {
		list = append(list, fmt.Sprintf("there is no NamespaceProfile %q in the cluster", n.Spec.Profile))
	} else if ready := cli.ReadyOf(f.profile.Status.Conditions); !ready.True() {
		list = append(list, fmt.Sprintf("NamespaceProfile %s is not ready: %s", n.Spec.Profile, ready.Message))
	}
	if len(n.Spec.Clusters) > 0 {
		list = append(list, fmt.Sprintf("placed on %s: its objects are in that cluster; ask there", strings.Join(n.Spec.Clusters, ", ")))
	}
	return list
}
