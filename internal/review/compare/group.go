package compare

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/aetherplatform/aether/internal/review"
)

// groupFrom is in how many namespaces a change has to be the same to be shown once.
const groupFrom = 5

// keyOf is the same for changes that are the same in different namespaces.
func keyOf(c *review.Change, component string) string {
	own := func(s string) string {
		return mask(mask(s, c.Namespace, "${namespace}"), c.Tenant, "${tenant}")
	}
	data, err := json.Marshal([]any{groupOf(c.APIVersion), c.Kind, c.Name, c.Action, component, c.Fields, c.Content})
	if err != nil {
		return "" // what is no JSON is like nothing else
	}
	sum := sha256.Sum256([]byte(own(string(data))))
	return hex.EncodeToString(sum[:])
}

// mask replaces a name where it stands for itself: acme in acme-admins, and not
// in acmeville.
func mask(s, name, with string) string {
	if name == "" {
		return s
	}
	var out strings.Builder
	for from := 0; ; {
		i := strings.Index(s[from:], name)
		if i < 0 {
			out.WriteString(s[from:])
			return out.String()
		}
		start, end := from+i, from+i+len(name)
		out.WriteString(s[from:start])
		if start > 0 && isAlnum(s[start-1]) || end < len(s) && isAlnum(s[end]) {
			out.WriteString(name)
		} else {
			out.WriteString(with)
		}
		from = end
	}
}

func isAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// group finds changes that are the same in many namespaces, and marks them. Those
// that differ stay by themselves.
func group(changes []review.Change, base, head *review.Side) []review.Group {
	byKey := map[string][]int{}
	for i := range changes {
		if c := &changes[i]; c.Namespace != "" && c.Key != "" && !OnlyFile(c) {
			byKey[c.Key] = append(byKey[c.Key], i)
		}
	}
	out := []review.Group{}
	for key, members := range byKey {
		tenants, namespaces := map[string]bool{}, map[string]bool{}
		for _, i := range members {
			tenants[changes[i].Tenant] = true
			namespaces[changes[i].Namespace] = true
		}
		if len(namespaces) < groupFrom {
			continue
		}
		for _, i := range members {
			changes[i].Group = key
		}
		out = append(out, review.Group{
			Key:            key,
			Cause:          cause(&changes[members[0]], base, head),
			Tenants:        slices.Sorted(maps.Keys(tenants)),
			Namespaces:     slices.Sorted(maps.Keys(namespaces)),
			Representative: members[0],
		})
	}
	slices.SortFunc(out, func(a, b review.Group) int { return a.Representative - b.Representative })
	except(out, changes, head)
	return out
}

// alike names an object that namespaces have each one of.
type alike struct{ apiVersion, kind, name string }

func alikeOf(o review.Object) alike {
	return alike{o.APIVersion, o.Kind, mask(o.Name, o.Namespace, "${namespace}")}
}

// except finds the namespaces that groups are not in: those in which the same object
// changes in another way, and those of the same profile in which it stays as it is,
// as where a namespace overrides what its profile says.
func except(groups []review.Group, changes []review.Change, head *review.Side) {
	of := map[alike][]int{} // groups
	for i := range groups {
		key := alikeOf(changes[groups[i].Representative].Object)
		of[key] = append(of[key], i)
	}
	type at struct {
		alike
		namespace string
	}
	changed := map[at]bool{}
	otherwise := make([]map[string]bool, len(groups))
	for i := range otherwise {
		otherwise[i] = map[string]bool{}
	}
	for i := range changes {
		c := &changes[i]
		key := alikeOf(c.Object)
		for _, g := range of[key] {
			changed[at{key, c.Namespace}] = true
			if c.Group != groups[g].Key && c.Namespace != "" && !OnlyFile(c) {
				otherwise[g][c.Namespace] = true
			}
		}
	}
	unchanged := make([]map[string]bool, len(groups))
	profiles := profilesOf(head)
	for _, t := range head.Tenants {
		for i := range t.Objects {
			o := &t.Objects[i]
			key := alikeOf(o.Object)
			for _, g := range of[key] {
				shown := &changes[groups[g].Representative]
				if groups[g].Cause == "" || shown.Action != review.Changed || changed[at{key, o.Namespace}] || profiles[o.Namespace] != profiles[shown.Namespace] {
					continue
				}
				if unchanged[g] == nil {
					unchanged[g] = map[string]bool{}
				}
				unchanged[g][o.Namespace] = true
			}
		}
	}
	for i := range groups {
		for _, name := range groups[i].Namespaces {
			delete(otherwise[i], name) // on another cluster
		}
		groups[i].Otherwise = slices.Sorted(maps.Keys(otherwise[i]))
		groups[i].Unchanged = slices.Sorted(maps.Keys(unchanged[i]))
	}
}

// profilesOf is the profile of each namespace of a side.
func profilesOf(side *review.Side) map[string]string {
	out := map[string]string{}
	for _, t := range side.Tenants {
		if t.Tenant == nil {
			continue
		}
		for _, n := range t.Namespaces {
			out[n.Value.Name] = n.Value.Spec.Profile
		}
	}
	return out
}

// cause is the file or folder that made a change which the tenant did not make
// itself: its profile, or the component of the base.
func cause(c *review.Change, base, head *review.Side) string {
	old, now := base.Tenants[c.Tenant], head.Tenants[c.Tenant]
	if old == nil || now == nil || old.Tenant == nil || now.Tenant == nil || old.Hash != now.Hash {
		return ""
	}
	for _, n := range now.Namespaces {
		if n.Value.Name != c.Namespace {
			continue
		}
		was, is := base.Profiles[n.Value.Spec.Profile], head.Profiles[n.Value.Spec.Profile]
		if was.Digest != is.Digest {
			return is.Place.File
		}
	}
	if component := componentOf(now, c); component != "" {
		return path.Join(head.Path, baseDir, component)
	}
	return ""
}

func componentOf(t *review.Tenant, c *review.Change) string {
	for i := range t.Objects {
		if t.Objects[i].Object == c.Object {
			return t.Objects[i].Component
		}
	}
	return ""
}
