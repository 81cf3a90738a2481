package compare

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/aetherplatform/aether/internal/review"
)

// differ finds the fields that differ between two contents of one object.
type differ struct {
	lists  map[string]list
	redact func(pattern string, v any) any
	fields []review.Field
}

// fields compares two objects: the fields that differ, and what of head's is the
// same, for context.
func fields(old, now *review.Rendered) ([]review.Field, map[string]any) {
	d := &differ{lists: listsOf(now.Object), redact: redaction(now.Object)}
	same, _ := d.compare(at{}, content(old.Content), content(now.Content)).(map[string]any)
	slices.SortStableFunc(d.fields, func(a, b review.Field) int { return strings.Compare(a.Path, b.Path) })
	return d.fields, same
}

// at is where a value is: its path as a person reads it, and the pattern that
// rules are written for, which leaves out items of lists.
type at struct{ path, pattern string }

func (a at) field(name string) at {
	if a.path == "" {
		return at{name, name}
	}
	pattern := a.pattern + "." + name
	if name == "" || strings.ContainsAny(name, "./[]") {
		return at{a.path + "[" + name + "]", pattern}
	}
	return at{a.path + "." + name, pattern}
}

// below is a field where only the pattern matters.
func (a at) below(name string) at {
	if a.pattern == "" {
		return at{pattern: name}
	}
	return at{pattern: a.pattern + "." + name}
}

func (a at) item(which string) at { return at{a.path + "[" + which + "]", a.pattern} }

// compare records what differs and returns what does not, nil for nothing. A
// field that is null counts as one that is not there.
func (d *differ) compare(a at, old, now any) any {
	if d.same(a, old, now) {
		return d.redact(a.pattern, now)
	}
	switch now := now.(type) {
	case map[string]any:
		if old, ok := old.(map[string]any); ok {
			return d.compareMaps(a, old, now)
		}
	case []any:
		if old, ok := old.([]any); ok {
			return d.compareLists(a, old, now)
		}
	}
	d.record(a, old, now)
	return nil
}

func (d *differ) record(a at, old, now any) {
	f := review.Field{Path: a.path, Added: old == nil, Removed: now == nil}
	if old != nil {
		f.Old = d.redact(a.pattern, old)
	}
	if now != nil {
		f.New = d.redact(a.pattern, now)
	}
	d.fields = append(d.fields, f)
}

func (d *differ) compareMaps(a at, old, now map[string]any) any {
	unchanged := map[string]any{}
	keys := slices.Collect(maps.Keys(old))
	for k := range now {
		if _, ok := old[k]; !ok {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		if old[k] == nil && now[k] == nil {
			continue
		}
		if same := d.compare(a.field(k), old[k], now[k]); same != nil {
			unchanged[k] = same
		}
	}
	if len(unchanged) == 0 {
		return nil
	}
	return unchanged
}

func (d *differ) compareLists(a at, old, now []any) any {
	how := d.lists[a.pattern]
	objects := allMaps(old) && allMaps(now)
	switch {
	case !objects:
		d.record(a, old, now) // of scalars, the whole list says it best
		return nil
	case how.kind == keyed && unique(how, old) && unique(how, now):
		return d.compareKeyed(a, how, old, now)
	case how.kind == keyed || how.kind == unordered:
		return d.compareUnordered(a, old, now)
	case len(old) == len(now):
		var same []any
		for i := range now {
			if s := d.compare(a.item(strconv.Itoa(i)), old[i], now[i]); s != nil {
				same = append(same, s)
			}
		}
		return listOrNil(same)
	}
	d.record(a, old, now)
	return nil
}

// compareKeyed compares items that have the same key.
func (d *differ) compareKeyed(a at, how list, old, now []any) any {
	before := map[string]any{}
	for _, item := range old {
		before[how.key(item)] = item
	}
	var same []any
	for _, item := range now {
		key := how.key(item)
		was, ok := before[key]
		delete(before, key)
		if !ok {
			d.record(a.item(key), nil, item)
			continue
		}
		if s := d.compare(a.item(key), was, item); s != nil {
			same = append(same, s)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(before)) {
		d.record(a.item(key), before[key], nil)
	}
	return listOrNil(same)
}

// maxPairing bounds how many items of a list without keys are compared with how
// many others, to find which one became which.
const maxPairing = 10_000

// compareUnordered takes away what is on both sides, then compares what is left
// with what of the other side it has most in common with.
func (d *differ) compareUnordered(a at, old, now []any) any {
	left := map[string][]int{}
	for i, item := range old {
		key := d.canonical(a, item)
		left[key] = append(left[key], i)
	}
	var same []any
	var added []int
	for i, item := range now {
		key := d.canonical(a, item)
		if was := left[key]; len(was) > 0 {
			left[key] = was[1:]
			same = append(same, d.redact(a.pattern, item))
			continue
		}
		added = append(added, i)
	}
	var removed []int
	for _, indices := range left {
		removed = append(removed, indices...)
	}
	slices.Sort(removed)

	if len(added)*len(removed) <= maxPairing {
		added = slices.DeleteFunc(added, func(i int) bool {
			j := d.nearest(a, now[i], old, removed)
			if j < 0 {
				return false
			}
			if s := d.compare(a.item(strconv.Itoa(i)), old[removed[j]], now[i]); s != nil {
				same = append(same, s)
			}
			removed = slices.Delete(removed, j, j+1)
			return true
		})
	}
	for _, i := range added {
		d.record(a.item(strconv.Itoa(i)), nil, now[i])
	}
	for _, i := range removed {
		d.record(a.item(strconv.Itoa(i)), old[i], nil)
	}
	return listOrNil(same)
}

// nearest is the index in candidates of the item that has most in common: fields
// that are the same, then fields that are there. It is -1 where none has any.
func (d *differ) nearest(a at, item any, items []any, candidates []int) int {
	best, most := -1, 0
	fields := item.(map[string]any)
	for j, candidate := range candidates {
		other := items[candidate].(map[string]any)
		common := 0
		for k, v := range fields {
			w, ok := other[k]
			switch {
			case ok && d.same(a.field(k), v, w):
				common += 1 + len(fields)
			case ok:
				common++
			}
		}
		if common > most {
			best, most = j, common
		}
	}
	return best
}

func listOrNil(items []any) any {
	if len(items) == 0 {
		return nil
	}
	return items
}

func allMaps(items []any) bool {
	for _, item := range items {
		if _, ok := item.(map[string]any); !ok {
			return false
		}
	}
	return true
}

func (d *differ) same(a at, old, now any) bool {
	if old == nil || now == nil {
		return old == nil && now == nil
	}
	return d.canonical(a, old) == d.canonical(a, now)
}

// canonical is the same text for two values that mean the same.
func (d *differ) canonical(a at, v any) string { return string(d.encode(nil, a, v)) }

func (d *differ) encode(buf []byte, a at, v any) []byte {
	switch v := v.(type) {
	case map[string]any:
		buf = append(buf, '{')
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if v[k] != nil {
				buf = d.encode(append(strconv.AppendQuote(buf, k), ':'), a.below(k), v[k])
				buf = append(buf, ',')
			}
		}
		return append(buf, '}')
	case []any:
		items := make([]string, len(v))
		how := d.lists[a.pattern]
		for i, item := range v {
			items[i] = string(d.encode(nil, a, how.complete(item)))
		}
		if how.kind != ordered {
			slices.Sort(items)
		}
		if how.kind == set {
			items = slices.Compact(items)
		}
		buf = append(buf, '[')
		for _, item := range items {
			buf = append(append(buf, item...), ',')
		}
		return append(buf, ']')
	}
	if isQuantity(a.pattern) {
		if q, ok := quantity(v); ok {
			return append(append(buf, 'q'), q...)
		}
	}
	switch v := v.(type) {
	case string:
		return strconv.AppendQuote(buf, v)
	case int64:
		return strconv.AppendInt(buf, v, 10)
	case int:
		return strconv.AppendInt(buf, int64(v), 10)
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return strconv.AppendInt(buf, int64(v), 10)
		}
		return strconv.AppendFloat(buf, v, 'g', -1, 64)
	default:
		return fmt.Appendf(buf, "%v", v)
	}
}

// quantity is the one text of all that are the same quantity: 1 and 1000m.
func quantity(v any) (string, bool) {
	var text string
	switch v := v.(type) {
	case string:
		text = v
	case int64:
		text = strconv.FormatInt(v, 10)
	case float64:
		text = strconv.FormatFloat(v, 'f', -1, 64)
	default:
		return "", false
	}
	// An exponent can ask for a number that fills the memory.
	if len(text) > 40 || strings.ContainsAny(strings.TrimRight(text, "iE"), "eE") {
		return "", false
	}
	q, err := resource.ParseQuantity(text)
	if err != nil {
		return "", false
	}
	text = q.AsDec().String()
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text, true
}
