package meaning

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/prose"
	"github.com/aetherplatform/aether/internal/review"
	"github.com/aetherplatform/aether/internal/secret"
	"github.com/aetherplatform/aether/internal/tenancy"
)

// secrets finds what becomes of Secrets that are kept equal to OpenBao's. Paths are
// named, values are never at hand.
func (w *world) secrets(f *facts, t *tenantPair) {
	if specOf(t.head) == nil {
		return
	}
	place := tenancy.PlaceOf(t.head.Object.Value)
	w.moved(f, t, place)
	old := namespacesOf(t.base)
	for name, n := range namespacesOf(t.head) {
		was := old[name]
		if was == nil {
			continue // new: names says so
		}
		one := fact{category: review.SecretSource, tenant: t.name, scope: scopeKey{"", name}, place: placeOf(n.Position)}
		w.otherOpenBao(f, one, was.Value, n.Value)
		had, has := secretsOf(was.Value), secretsOf(n.Value)
		all := maps.Clone(had)
		maps.Copy(all, has)
		for _, name := range slices.Sorted(maps.Keys(all)) {
			s := secretChange{f: f, one: one, place: place, name: name, from: had[name], to: has[name]}
			s.tell()
		}
	}
}

// moved tells of a tenant whose place in OpenBao changes, and of each secret where it
// is read from then.
func (w *world) moved(f *facts, t *tenantPair, place tenancy.Place) {
	if specOf(t.base) == nil {
		return
	}
	was := tenancy.PlaceOf(t.base.Object.Value)
	if was == place {
		return
	}
	one := fact{
		risk: review.High, category: review.SecretSource, tenant: t.name, place: t.place(),
		text: fmt.Sprintf("All secrets of tenant %s are read from %s instead of %s in OpenBao: spec.secrets of its Tenant changed", prose.Plain(t.name), prose.Plain(place.String()), prose.Plain(was.String())),
		detail: []string{
			"OpenBao refuses it until the place is the tenant's: its policy there is changed once no other tenant has the place, nor had it",
			"What is synced keeps what it holds until then",
		},
	}
	namespaces := namespacesOf(t.head)
	for _, name := range slices.Sorted(maps.Keys(namespaces)) {
		for _, s := range namespaces[name].Value.Spec.Secrets {
			one.detail = append(one.detail, fmt.Sprintf("%s of %s: %s", prose.Plain(s.Name), prose.Plain(name), prose.Plain(place.Below(s.Path))))
		}
	}
	f.add(one)
}

func secretsOf(n *v1alpha1.TenantNamespace) map[string]*v1alpha1.NamespaceSecret {
	out := map[string]*v1alpha1.NamespaceSecret{}
	for i := range n.Spec.Secrets {
		out[n.Spec.Secrets[i].Name] = &n.Spec.Secrets[i]
	}
	return out
}

// secretChange is one Secret on both sides; nil where it is not.
type secretChange struct {
	f     *facts
	one   fact
	place tenancy.Place
	name  string

	from, to *v1alpha1.NamespaceSecret
}

// say adds a fact: "Secret db of acme-web" and what is so of it.
func (s *secretChange) say(risk review.Risk, text string, detail ...string) {
	one := s.one
	one.risk, one.text, one.detail = risk, "Secret "+prose.Plain(s.name)+" of "+markWhere+" "+text, detail
	s.f.add(one)
}

// permitted is why the tenant may read a path: paths have no way out of its place.
func (s *secretChange) permitted() string {
	return fmt.Sprintf("%s stays below the tenant's own path in OpenBao, %s/: permitted by its policy", prose.Plain(s.place.Below(s.to.Path)), prose.Plain(s.place.String()))
}

func (s *secretChange) tell() {
	switch {
	case s.from == nil:
		s.say(review.Low, "is new, read from "+prose.Plain(s.to.Path), s.permitted())
		s.generated()
		return
	case s.to == nil && s.from.OnDelete == v1alpha1.OnDeleteRetain:
		s.say(review.Low, "is left to the team as it is: nothing keeps it equal to OpenBao's any more")
		return
	case s.to == nil:
		s.say(review.Medium, "is deleted: what reads it fails")
		return
	case s.from.Path != s.to.Path:
		s.say(review.Medium, "is read from "+prose.Plain(s.to.Path)+" instead of "+prose.Plain(s.from.Path), s.permitted())
	}
	s.version()
	if !maps.Equal(s.from.Keys, s.to.Keys) {
		s.say(review.Medium, "takes other keys from "+prose.Plain(s.to.Path), "Keys of the Secret that change: "+prose.List(differing(s.from.Keys, s.to.Keys)))
	}
	if !maps.Equal(s.from.Template, s.to.Template) {
		s.say(review.Medium, "is made otherwise of what OpenBao has", "Templates that change: "+prose.List(differing(s.from.Template, s.to.Template)))
	}
	s.kept()
	s.generated()
}

// version tells what is wanted of a secret's versions.
func (s *secretChange) version() {
	was, is := s.from.Version, s.to.Version
	switch {
	case was == nil && is == nil || was != nil && is != nil && *was == *is:
	case is == nil:
		s.say(review.Medium, fmt.Sprintf("follows the latest version in OpenBao, and is no longer pinned to %d", *was))
	case was == nil:
		s.say(review.Low, fmt.Sprintf("is pinned to version %d, and no longer follows OpenBao", *is))
	default:
		s.say(review.Medium, fmt.Sprintf("is pinned to version %d instead of %d", *is, *was))
	}
}

// kept tells how the Secret itself is kept otherwise.
func (s *secretChange) kept() {
	opaque := func(kind string) string { return prose.Plain(cmp.Or(kind, "Opaque")) }
	if was, is := opaque(s.from.Type), opaque(s.to.Type); was != is {
		fixed := *s
		fixed.one.category = review.Immutable
		fixed.say(review.High, fmt.Sprintf("cannot change its type from %s to %s: the cluster refuses the whole namespace's change", was, is), "Give the new one another name, and take this out")
	}
	switch was, is := s.from.Immutable, s.to.Immutable; {
	case !was && is:
		s.say(review.Medium, "becomes immutable: nothing new in OpenBao reaches it under this name")
	case was && !is:
		s.say(review.Low, "is no longer to be immutable: the cluster keeps it so until it is deleted")
	}
	wasRetained, isRetained := s.from.OnDelete == v1alpha1.OnDeleteRetain, s.to.OnDelete == v1alpha1.OnDeleteRetain
	switch {
	case !wasRetained && isRetained:
		s.say(review.Low, "stays in the namespace when it is taken out of spec.secrets (onDelete: retain)")
	case wasRetained && !isRetained:
		s.say(review.Medium, "is deleted when it is taken out of spec.secrets (onDelete: delete)")
	}
	if added := beside(workloads(s.to.Rollout), workloads(s.from.Rollout)); len(added) > 0 {
		s.say(review.Low, "restarts "+prose.List(added)+" when it changes")
	}
	if removed := beside(workloads(s.from.Rollout), workloads(s.to.Rollout)); len(removed) > 0 {
		s.say(review.Low, "no longer restarts "+prose.List(removed)+" when it changes")
	}
	if was, is := secret.RefreshInterval(&s.from.SecretSource), secret.RefreshInterval(&s.to.SecretSource); was != is {
		s.say(review.Info, fmt.Sprintf("is compared with OpenBao's every %s instead of %s", is, was))
	}
}

// generated tells what is newly to be made in OpenBao.
func (s *secretChange) generated() {
	var was map[string]v1alpha1.Generator
	if s.from != nil {
		was = s.from.Generate
	}
	switch is := s.to.Generate; {
	case reflect.DeepEqual(was, is) || len(was) == 0 && len(is) == 0:
	case len(is) == 0:
		s.say(review.Low, "is no longer made in OpenBao where there is none; what was made stays")
	default:
		s.say(review.Medium, "is made in OpenBao at "+prose.Plain(s.to.Path)+" where there is none", "Keys that are drawn: "+prose.List(plainAll(slices.Sorted(maps.Keys(is)))), "What is there is never changed")
	}
}

func workloads(list []v1alpha1.Workload) []string {
	out := make([]string, len(list))
	for i, w := range list {
		out[i] = w.Kind + "/" + w.Name
	}
	return out
}

// differing are the keys under which two maps hold something else.
func differing[V comparable](a, b map[string]V) []string {
	all := maps.Clone(a)
	if all == nil {
		all = map[string]V{}
	}
	maps.Copy(all, b)
	var out []string
	for _, key := range slices.Sorted(maps.Keys(all)) {
		was, had := a[key]
		is, has := b[key]
		if had != has || was != is {
			out = append(out, prose.Plain(key))
		}
	}
	return out
}

// settings are what a profile says of OpenBao, with defaults.
func settings(side *review.Side, profile string) (v1alpha1.ProfileOpenBao, bool) {
	if side.Result == nil || side.Result.Fleet == nil {
		return v1alpha1.ProfileOpenBao{}, false
	}
	p := side.Result.Fleet.Profiles[profile]
	if p == nil || p.Value == nil {
		return v1alpha1.ProfileOpenBao{}, false
	}
	s := v1alpha1.ProfileOpenBao{}
	if p.Value.Spec.OpenBao != nil {
		s = *p.Value.Spec.OpenBao
	}
	s.Address = strings.TrimSuffix(s.Address, "/")
	s.Mounts = tenancy.MountsOf(p.Value)
	return s, true
}

// authOf names where namespaces log in.
func authOf(s v1alpha1.ProfileOpenBao) string {
	if s.AuthMount == "" {
		return "the operator's mount"
	}
	return "auth/" + prose.Plain(s.AuthMount)
}

// server names an OpenBao.
func server(s v1alpha1.ProfileOpenBao) string {
	name := cmp.Or(prose.Plain(s.Address), "the operator's OpenBao")
	if s.Namespace != "" {
		name += ", namespace " + prose.Plain(s.Namespace)
	}
	return name
}

// otherOpenBao tells of a namespace with secrets that changes to a profile with
// another OpenBao.
func (w *world) otherOpenBao(f *facts, one fact, was, is *v1alpha1.TenantNamespace) {
	if was.Spec.Profile == is.Spec.Profile || len(is.Spec.Secrets) == 0 {
		return
	}
	before, had := settings(w.before, was.Spec.Profile)
	after, has := settings(w.after, is.Spec.Profile)
	if had && has && server(before) != server(after) {
		one.risk = review.High
		one.text = fmt.Sprintf("The secrets of %s are read from %s instead of %s, with profile %s", markWhere, server(after), server(before), prose.Plain(is.Spec.Profile))
		f.add(one)
	}
}

// openBao tells of profiles whose namespaces are given secrets by somebody else, or
// may have others.
func (w *world) openBao(f *facts) {
	if w.after.Result == nil || w.after.Result.Fleet == nil {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(w.after.Result.Fleet.Profiles)) {
		was, had := settings(w.before, name)
		is, has := settings(w.after, name)
		if !had || !has || reflect.DeepEqual(was, is) {
			continue
		}
		say := func(risk review.Risk, text string, detail ...string) {
			f.add(fact{risk: risk, category: review.SecretSource, place: w.after.Profiles[name].Place, text: text, detail: detail})
		}
		of := "of profile " + prose.Plain(name)
		if server(was) != server(is) {
			say(review.High, fmt.Sprintf("Secrets of namespaces %s come from %s instead of %s", of, server(is), server(was)),
				"Who has that server says what their Secrets hold, and is shown their service accounts' tokens")
		}
		if was.AuthMount != is.AuthMount {
			say(review.High, fmt.Sprintf("Namespaces %s log in to OpenBao at %s instead of %s", of, authOf(is), authOf(was)))
		}
		if was.CABundle != is.CABundle {
			say(review.Medium, "OpenBao's certificate is checked against other authorities for namespaces "+of)
		}
		if added := beside(is.Mounts, was.Mounts); len(added) > 0 {
			say(review.High, fmt.Sprintf("Tenants with namespaces %s may now have their secrets in mount %s of OpenBao", of, prose.List(added)))
		}
		if removed := beside(was.Mounts, is.Mounts); len(removed) > 0 {
			say(review.Low, fmt.Sprintf("Tenants with namespaces %s may no longer have their secrets in mount %s of OpenBao", of, prose.List(removed)))
		}
		switch {
		case !was.Generate && is.Generate:
			say(review.Medium, "Namespaces "+of+" may now have secrets made in OpenBao (generate)")
		case was.Generate && !is.Generate:
			say(review.Low, "Namespaces "+of+" may no longer have secrets made in OpenBao (generate)")
		}
	}
}
