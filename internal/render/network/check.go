package network

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/cilium/cilium/pkg/policy/api"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/json"

	"github.com/aetherplatform/aether/internal/render/canonical"
)

// Kind and APIVersion of what CheckPolicy checks.
const (
	Kind       = "CiliumNetworkPolicy"
	APIVersion = "cilium.io/v2"
)

// policy is a CiliumNetworkPolicy. Cilium's own type of it brings two hundred
// packages and 30 MB for what is written here; a test holds the two together.
type policy struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"`
	Metadata   map[string]any `json:"metadata"`
	Spec       *api.Rule      `json:"spec,omitempty"`
	Specs      api.Rules      `json:"specs,omitempty"`
	Status     map[string]any `json:"status,omitempty"`
}

// CheckFields refuses fields that a CiliumNetworkPolicy does not have: the API
// server drops them, and with a misspelt selector a rule is for everyone. The
// object may be a template, with text where values will be.
func CheckFields(object map[string]any) error {
	return checkFields(reflect.TypeFor[policy](), object)
}

// CheckPolicy refuses a CiliumNetworkPolicy that Cilium's agent would refuse, by
// the agent's own checks with the agent's default options, before it is in a
// cluster. Sanitize rewrites what it checks, so it is given copies. encoded is
// the object's canonical encoding.
func CheckPolicy(object map[string]any, encoded []byte) error {
	return passed.once(encoded, func() error { return checkPolicy(object) })
}

func checkPolicy(object map[string]any) error {
	if object["apiVersion"] != APIVersion {
		return fmt.Errorf("apiVersion: %v is not a version of %s; write %s", object["apiVersion"], Kind, APIVersion)
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		if fieldsOf(reflect.TypeFor[policy]())[name] == nil {
			return noSuchField(name)
		}
	}
	if object["spec"] == nil && object["specs"] == nil {
		return errors.New("spec: it is not set, and specs neither; write the rules into spec")
	}
	if spec := object["spec"]; spec != nil {
		if err := checkSpec("spec", spec); err != nil {
			return err
		}
	}
	if object["specs"] == nil {
		return nil
	}
	specs, ok := object["specs"].([]any)
	if !ok {
		return errors.New("specs: it is not a list")
	}
	for i, spec := range specs {
		if err := checkSpec(fmt.Sprintf("specs[%d]", i), spec); err != nil {
			return err
		}
	}
	return nil
}

// checkSpec checks a spec as its frame and its rules: Sanitize has no check that
// needs two of these at once, and the rules of most namespaces are the same.
func checkSpec(place string, spec any) error {
	fields, ok := spec.(map[string]any)
	if !ok {
		return fmt.Errorf("%s: it is not a map", place)
	}
	some := false
	for _, name := range listNames {
		if fields[name] == nil {
			continue
		}
		rules, ok := fields[name].([]any)
		if !ok {
			return fmt.Errorf("%s.%s: it is not a list", place, name)
		}
		for i, rule := range rules {
			if err := checkRule(name, rule); err != nil {
				return within(fmt.Sprintf("%s.%s[%d]", place, name, i), err)
			}
			some = true
		}
	}
	if err := checkFrame(fields, some); err != nil {
		return within(place, err)
	}
	return nil
}

// checkRule checks one rule of a list of rules.
func checkRule(list string, rule any) error {
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	encoded := canonical.Value(canonical.String((*buffer)[:0], list), rule)
	*buffer = encoded
	return passed.once(encoded, func() error {
		fields, ok := rule.(map[string]any)
		if !ok {
			return errors.New("it is not a map")
		}
		if err := checkFields(ruleLists[list].of, fields); err != nil {
			return err
		}
		if err := onePeerField(fields); err != nil {
			return err
		}
		spec := api.Rule{EndpointSelector: api.WildcardEndpointSelector}
		return sanitize(&spec, ruleLists[list].in(&spec), fields)
	})
}

// checkFrame checks what a spec has beside its rules, for a spec that has some or
// that has none.
func checkFrame(spec map[string]any, some bool) error {
	frame := make(map[string]any, len(spec)+1)
	for name, v := range spec {
		if ruleLists[name].of == nil {
			frame[name] = v
		}
	}
	if some {
		frame["ingress"] = []any{map[string]any{}}
	}
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	encoded := canonical.Map(canonical.String((*buffer)[:0], "frame"), frame)
	*buffer = encoded
	return passed.once(encoded, func() error {
		if err := checkFields(reflect.TypeFor[api.Rule](), frame); err != nil {
			return err
		}
		if frame["nodeSelector"] != nil {
			return &fieldError{"nodeSelector", errors.New("it is for policies of the whole cluster; write endpointSelector")}
		}
		var rule api.Rule
		return sanitize(&rule, &rule, frame)
	})
}

// sanitize reads a part of a spec, as the agent would, and gives the spec to Cilium.
// Cilium's code takes some fields for granted, such as the type of an ICMP field.
func sanitize(spec *api.Rule, part any, tree map[string]any) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("not readable by Cilium: its code fails (%v), since a field that it needs is missing or empty", p)
		}
	}()
	data, err := json.Marshal(tree)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, part); err != nil {
		return fmt.Errorf("not readable by Cilium: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if err := spec.Sanitize(); err != nil {
		return fmt.Errorf("refused by Cilium: %s", steady(err))
	}
	return nil
}

// steady is the text of an error of Cilium's, which goes through the labels of a
// selector in no order.
func steady(err error) string {
	text := err.Error()
	var several utilerrors.Aggregate
	if !errors.As(err, &several) {
		return text
	}
	var parts []string
	for _, e := range several.Errors() {
		parts = append(parts, e.Error())
	}
	slices.Sort(parts)
	return strings.Replace(text, several.Error(), strings.Join(parts, ", "), 1)
}

// onePeerField refuses what Sanitize refuses as well, with words that do not
// depend on the order of a map.
func onePeerField(rule map[string]any) error {
	var used []string
	for name, v := range rule {
		items, _ := v.([]any)
		if len(items) > 0 && strings.HasSuffix(name, "Requires") {
			return &fieldError{name, errors.New("it has no effect any more; leave it out")}
		}
		if len(items) > 0 && (strings.HasPrefix(name, "from") || strings.HasPrefix(name, "to")) && name != "toPorts" {
			used = append(used, name)
		}
	}
	if len(used) < 2 {
		return nil
	}
	slices.Sort(used)
	return fmt.Errorf("%s cannot be in one rule; write a rule for each", strings.Join(used, " and "))
}

// listNames are the keys of ruleLists, in the order that they are looked at.
var listNames = []string{"ingress", "ingressDeny", "egress", "egressDeny"}

// ruleLists are the fields of a spec that hold rules, the type of one, and a place
// for one.
var ruleLists = map[string]struct {
	of reflect.Type
	in func(*api.Rule) any
}{
	"ingress": {reflect.TypeFor[api.IngressRule](), func(r *api.Rule) any {
		r.Ingress = make([]api.IngressRule, 1)
		return &r.Ingress[0]
	}},
	"ingressDeny": {reflect.TypeFor[api.IngressDenyRule](), func(r *api.Rule) any {
		r.IngressDeny = make([]api.IngressDenyRule, 1)
		return &r.IngressDeny[0]
	}},
	"egress": {reflect.TypeFor[api.EgressRule](), func(r *api.Rule) any {
		r.Egress = make([]api.EgressRule, 1)
		return &r.Egress[0]
	}},
	"egressDeny": {reflect.TypeFor[api.EgressDenyRule](), func(r *api.Rule) any {
		r.EgressDeny = make([]api.EgressDenyRule, 1)
		return &r.EgressDeny[0]
	}},
}

// fieldError is an error at a field below what was checked.
type fieldError struct {
	field string
	err   error
}

func (e *fieldError) Error() string { return e.field + ": " + e.err.Error() }
func (e *fieldError) Unwrap() error { return e.err }

// within puts a place in front of an error.
func within(place string, err error) error {
	if at, ok := err.(*fieldError); ok { //nolint:errorlint // only what is outermost is a path to go on with
		return &fieldError{place + "." + at.field, at.err}
	}
	return &fieldError{place, err}
}

// buffers for encodings, which nothing outlives.
var buffers = sync.Pool{New: func() any { return new(make([]byte, 0, 1<<10)) }}
