package render

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// guardrails are the annotations of a Namespace that admission policies hold its
// tenant to. They are not a component's: no base can forget them.
func (t *Template) guardrails(in Inputs) map[string]string {
	spec := &in.Tenant.Spec
	all := map[string]string{
		v1alpha1.AnnotationRegistries:      strings.Join(spec.Registries, " "),
		v1alpha1.AnnotationHostnames:       strings.Join(spec.Hostnames, " "),
		v1alpha1.AnnotationStorageClasses:  strings.Join(spec.StorageClasses, " "),
		v1alpha1.AnnotationPriorityClasses: strings.Join(spec.PriorityClasses, " "),
		v1alpha1.AnnotationNodeSelector:    strings.Join(pairs(spec.NodeSelector), " "),
		v1alpha1.AnnotationExposure:        strings.Join(words(t.profile.Spec.Exposure), " "),
		v1alpha1.AnnotationExceptions:      strings.Join(granted(in.standing(t.profile)), " "),
	}
	maps.DeleteFunc(all, func(_, value string) bool { return value == "" })
	return all
}

func pairs(m map[string]string) []string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, k+"="+m[k])
	}
	return out
}

// standing are the exceptions that the namespace has, those of its profile first.
// What had ended by Inputs.Now is left out.
func (in *Inputs) standing(profile *v1alpha1.NamespaceProfile) []*v1alpha1.ExceptionSpec {
	var out []*v1alpha1.ExceptionSpec
	for _, e := range ExceptionsOf(in.Namespace, profile, in.Exceptions) {
		if in.Now.IsZero() || e.Expires.After(in.Now) {
			out = append(out, e.ExceptionSpec)
		}
	}
	return out
}

// Exception is one that a namespace has, and where it stands.
type Exception struct {
	// Kind and Name of the object that grants it: a TenantException or a
	// NamespaceProfile.
	Kind, Name string
	// Entry is what a profile calls it.
	Entry string
	*v1alpha1.ExceptionSpec
}

// String names the object that grants it: "TenantException acme-quay".
func (e Exception) String() string {
	if e.Entry != "" {
		return fmt.Sprintf("Exception %s of %s %s", e.Entry, e.Kind, e.Name)
	}
	return e.Kind + " " + e.Name
}

// ExceptionsOf are those that a namespace has from its profile and from the
// platform, ended ones included, in the order of their names.
func ExceptionsOf(n *v1alpha1.TenantNamespace, profile *v1alpha1.NamespaceProfile, platform []*v1alpha1.TenantException) []Exception {
	var out []Exception
	covers := func(e *v1alpha1.ExceptionSpec) bool {
		return e.Tenant == n.Spec.Tenant && (len(e.Namespaces) == 0 || slices.Contains(e.Namespaces, n.Name))
	}
	if profile != nil {
		for i := range profile.Spec.Exceptions {
			if e := &profile.Spec.Exceptions[i]; covers(&e.ExceptionSpec) {
				out = append(out, Exception{v1alpha1.KindNamespaceProfile, profile.Name, e.Name, &e.ExceptionSpec})
			}
		}
	}
	platform = slices.Clone(platform)
	slices.SortFunc(platform, func(a, b *v1alpha1.TenantException) int { return strings.Compare(a.Name, b.Name) })
	for _, e := range platform {
		if covers(&e.Spec) {
			out = append(out, Exception{v1alpha1.KindTenantException, e.Name, "", &e.Spec})
		}
	}
	return out
}

// granted are the entries of v1alpha1.AnnotationExceptions, each once: of two that
// allow the same, the one that ends last.
func granted(exceptions []*v1alpha1.ExceptionSpec) []string {
	until := map[string]time.Time{}
	add := func(annotation string, values []string, ends time.Time) {
		for _, value := range values {
			entry := strings.TrimPrefix(annotation, v1alpha1.LabelPrefix) + ":" + value
			if ends.After(until[entry]) {
				until[entry] = ends
			}
		}
	}
	for _, e := range exceptions {
		ends := e.Expires.UTC()
		add(v1alpha1.AnnotationRegistries, e.Allow.Registries, ends)
		add(v1alpha1.AnnotationHostnames, e.Allow.Hostnames, ends)
		add(v1alpha1.AnnotationStorageClasses, e.Allow.StorageClasses, ends)
		add(v1alpha1.AnnotationPriorityClasses, e.Allow.PriorityClasses, ends)
		add(v1alpha1.AnnotationExposure, words(e.Allow.Exposure), ends)
	}
	var out []string
	for _, entry := range slices.Sorted(maps.Keys(until)) {
		out = append(out, entry+"@"+until[entry].Format(time.RFC3339))
	}
	return out
}

// NextEnd is when the first of the exceptions that stand at a moment ends; zero
// where none does.
func NextEnd(exceptions []Exception, now time.Time) time.Time {
	var next time.Time
	for _, e := range exceptions {
		if ends := e.Expires.Time; ends.After(now) && (next.IsZero() || ends.Before(next)) {
			next = ends
		}
	}
	return next
}

func words[T ~string](list []T) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = string(v)
	}
	slices.Sort(out)
	return out
}
