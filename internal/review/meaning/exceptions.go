package meaning

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/prose"
	"github.com/aetherplatform/aether/internal/review"
)

// grant is an exception, or what a profile lets all its namespaces do.
type grant struct {
	spec  *v1alpha1.ExceptionSpec
	place review.Place
}

// grants of a side by the name that they are told by.
func grants(side *review.Side) map[string]grant {
	out := map[string]grant{}
	for name, e := range side.Result.Fleet.Exceptions {
		out[prose.Plain(name)] = grant{&e.Value.Spec, side.Exceptions[name].Place}
	}
	for name, p := range side.Result.Fleet.Profiles {
		for i := range p.Value.Spec.Exceptions {
			e := &p.Value.Spec.Exceptions[i]
			out[prose.Plain(e.Name)+" of profile "+prose.Plain(name)] = grant{&e.ExceptionSpec, side.Profiles[name].Place}
		}
	}
	return out
}

// exceptions tells which of the platform's rules a tenant is let off, and until when.
func (w *world) exceptions(f *facts) {
	if w.before.Result == nil || w.after.Result == nil {
		return
	}
	before, after := grants(w.before), grants(w.after)
	names := maps.Clone(before)
	maps.Copy(names, after)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		was, had := before[name]
		is, has := after[name]
		one := fact{risk: review.Medium, category: review.Exception, place: is.place}
		var verb string
		switch {
		case !has && len(w.after.Result.Fleet.PlatformErrors) > 0:
			continue // it may only be unreadable
		case !has:
			one.risk, one.place = review.Low, was.place
			one.tenant, one.text = was.spec.Tenant, "Exception "+name+" is taken back: "+allowed(was.spec, "may no longer")
			f.add(one)
			continue
		case !had:
			verb = "is granted:"
		default:
			changes := differences(was.spec, is.spec)
			if len(changes) == 0 {
				continue
			}
			verb = "changes: " + strings.Join(changes, ", ") + ";"
		}
		one.tenant = is.spec.Tenant
		if slices.Contains(is.spec.Allow.Exposure, v1alpha1.ExposeExternalIPs) {
			one.risk = review.High // it takes traffic to addresses of others
		}
		one.text = fmt.Sprintf("Exception %s %s %s", name, verb, allowed(is.spec, "may"))
		one.detail = []string{"Reason: " + prose.Plain(is.spec.Reason), "Owner: " + prose.Plain(is.spec.Owner)}
		f.add(one)
	}
	w.exposure(f)
}

// allowed is "tenant acme (acme-web) may take images from quay.io/acme until 2027-03-31".
func allowed(e *v1alpha1.ExceptionSpec, may string) string {
	var parts []string
	add := func(format string, values []string) {
		if len(values) > 0 {
			parts = append(parts, fmt.Sprintf(format, prose.List(plainAll(values))))
		}
	}
	add("take images from %s", e.Allow.Registries)
	add("serve %s", e.Allow.Hostnames)
	add("use storage class %s", e.Allow.StorageClasses)
	add("use priority class %s", e.Allow.PriorityClasses)
	add("open %s", exposures(e.Allow.Exposure))
	who := "tenant " + prose.Plain(e.Tenant)
	if len(e.Namespaces) > 0 {
		who += " (" + prose.List(plainAll(e.Namespaces)) + ")"
	}
	return fmt.Sprintf("%s %s %s until %s", who, may, strings.Join(parts, " and "), moment(e))
}

func moment(e *v1alpha1.ExceptionSpec) string { return e.Expires.UTC().Format(time.RFC3339) }

func exposures(list []v1alpha1.Exposure) []string {
	var out []string
	for _, e := range list {
		out = append(out, string(e))
	}
	return out
}

// differences of an exception that is there on both sides.
func differences(was, is *v1alpha1.ExceptionSpec) []string {
	var out []string
	switch {
	case is.Expires.After(was.Expires.Time):
		out = append(out, "it ends later than "+moment(was))
	case is.Expires.Before(&was.Expires):
		out = append(out, "it ends earlier than "+moment(was))
	}
	if was.Tenant != is.Tenant || !slices.Equal(was.Namespaces, is.Namespaces) {
		out = append(out, "it is for others")
	}
	if fmt.Sprint(was.Allow) != fmt.Sprint(is.Allow) {
		out = append(out, "it allows something else")
	}
	if was.Owner != is.Owner || was.Reason != is.Reason {
		out = append(out, "its owner or reason")
	}
	return out
}

// exposure tells what all namespaces of a profile may newly open.
func (w *world) exposure(f *facts) {
	for name, p := range w.after.Result.Fleet.Profiles {
		var was []v1alpha1.Exposure
		if old := w.before.Result.Fleet.Profiles[name]; old != nil {
			was = old.Value.Spec.Exposure
		}
		added := beside(exposures(p.Value.Spec.Exposure), exposures(was))
		removed := beside(exposures(was), exposures(p.Value.Spec.Exposure))
		place := w.after.Profiles[name].Place
		if len(added) > 0 {
			f.add(fact{risk: review.High, category: review.NetworkOpened, place: place,
				text: fmt.Sprintf("Namespaces of profile %s may now open %s", prose.Plain(name), prose.List(added))})
		}
		if len(removed) > 0 {
			f.add(fact{risk: review.Low, category: review.NetworkClosed, place: place,
				text: fmt.Sprintf("Namespaces of profile %s may no longer open %s", prose.Plain(name), prose.List(removed))})
		}
	}
}
