package meaning

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/aetherplatform/aether/internal/apply"
	"github.com/aetherplatform/aether/internal/fields"
	"github.com/aetherplatform/aether/internal/prose"
	"github.com/aetherplatform/aether/internal/review"
)

// fixed are fields that cannot be changed, by kind. A field "*" is all of spec but
// those that follow.
var fixed = map[string]struct {
	fields []string
	but    []string
}{
	"rbac.authorization.k8s.io/RoleBinding":        {fields: []string{"roleRef"}},
	"rbac.authorization.k8s.io/ClusterRoleBinding": {fields: []string{"roleRef"}},
	"/Secret":                {fields: []string{"type"}},
	"/Service":               {fields: []string{"spec.clusterIP"}},
	"/PersistentVolumeClaim": {fields: []string{"*"}, but: []string{"resources", "volumeAttributesClassName"}},
	"/ResourceQuota":         {fields: []string{"spec.scopes", "spec.scopeSelector"}},
	"/Pod":                   {fields: []string{"*"}, but: []string{"activeDeadlineSeconds", "tolerations", "containers", "initContainers", "terminationGracePeriodSeconds"}},
	"batch/Job":              {fields: []string{"spec.selector", "spec.template", "spec.completionMode"}},
	"apps/StatefulSet": {fields: []string{"*"}, but: []string{
		"replicas", "template", "updateStrategy", "persistentVolumeClaimRetentionPolicy", "minReadySeconds", "ordinals", "revisionHistoryLimit",
	}},
	"apps/Deployment":                 {fields: []string{"spec.selector"}},
	"apps/DaemonSet":                  {fields: []string{"spec.selector"}},
	"apps/ReplicaSet":                 {fields: []string{"spec.selector"}},
	"storage.k8s.io/StorageClass":     {fields: []string{"provisioner", "parameters", "reclaimPolicy", "volumeBindingMode"}},
	"scheduling.k8s.io/PriorityClass": {fields: []string{"value", "preemptionPolicy"}},
}

// immutable finds changes that the API server refuses.
func (w *world) immutable(f *facts, s *scope) {
	for _, c := range []class{classRights, classQuota, classOther} {
		for _, p := range s.pairs(c) {
			if p.base == nil || p.head == nil {
				continue
			}
			kind := schema.GroupKind{Group: groupOf(p.head), Kind: p.head.Kind}
			changed := changedFixed(kind, p.base.Content, p.head.Content)
			if len(changed) == 0 {
				continue
			}
			one := fact{
				risk: review.High, category: review.Immutable, tenant: s.tenant, scope: s.scopeKey, place: p.head.Place,
				text: fmt.Sprintf("%s of %s %s cannot be changed in %s: Aether fails to apply it until the object is deleted",
					prose.List(changed), prose.Plain(p.head.Kind), prose.Plain(p.head.Name), markWhere),
			}
			if apply.Remakes(kind) {
				one.risk = review.Low
				one.text = fmt.Sprintf("%s of %s %s cannot be changed in %s: Aether deletes it and makes it anew",
					prose.List(changed), prose.Plain(p.head.Kind), prose.Plain(p.head.Name), markWhere)
			}
			f.add(one)
		}
	}
}

func changedFixed(kind schema.GroupKind, before, after map[string]any) []string {
	rule, known := fixed[kind.Group+"/"+kind.Kind]
	var out []string
	if known {
		for _, field := range rule.fields {
			if field != "*" {
				path := strings.Split(field, ".")
				was, is := fields.At(before, path...), fields.At(after, path...)
				if was != nil && !reflect.DeepEqual(was, is) && (is != nil || kind.Group == rbacGroup) {
					out = append(out, field)
				}
				continue
			}
			was, is := fields.Map(before, "spec"), fields.Map(after, "spec")
			names := maps.Clone(was)
			if names == nil {
				names = map[string]any{}
			}
			maps.Copy(names, is)
			for _, name := range slices.Sorted(maps.Keys(names)) {
				if !slices.Contains(rule.but, name) && !reflect.DeepEqual(was[name], is[name]) {
					out = append(out, prose.Plain("spec."+name))
				}
			}
		}
	}
	if kind.Group == "" && (kind.Kind == "Secret" || kind.Kind == "ConfigMap") && fields.At(before, "immutable") == true {
		for _, field := range []string{"data", "stringData", "binaryData", "immutable"} {
			if !reflect.DeepEqual(before[field], after[field]) {
				out = append(out, field)
			}
		}
	}
	return out
}

// secretObjects finds Secrets of the base whose content changes. It only asks
// whether they are equal.
func (w *world) secretObjects(f *facts, s *scope) {
	for _, p := range s.pairs(classOther) {
		o := p.any()
		if o.Kind != "Secret" || groupOf(o) != "" || s.new || s.gone() {
			continue
		}
		one := fact{risk: review.Medium, category: review.SecretSource, tenant: s.tenant, scope: s.scopeKey, place: o.Place}
		what := "Secret " + prose.Plain(o.Name) + " of " + markWhere
		switch {
		case p.base == nil:
			one.text = what + " is new"
		case p.head == nil:
			one.text = what + " is deleted"
		case !reflect.DeepEqual(p.base.Content["data"], p.head.Content["data"]) || !reflect.DeepEqual(p.base.Content["stringData"], p.head.Content["stringData"]):
			one.text = what + " has another content"
		default:
			continue
		}
		f.add(one)
	}
}

// policies finds changes of what refuses objects and traffic beyond a namespace's
// own network policies.
func (w *world) policies(f *facts, s *scope) {
	if s.new || s.gone() {
		return
	}
	for _, p := range s.pairs(classOther) {
		o := p.any()
		if !isPolicy(groupOf(o), o.Kind) {
			continue
		}
		one := fact{risk: review.High, category: review.IsolationEroded, tenant: s.tenant, scope: s.scopeKey, place: o.Place}
		what := prose.Plain(o.Kind) + " " + prose.Plain(o.Name)
		switch {
		case p.base == nil:
			one.risk, one.category, one.text = review.Medium, review.PolicyChanged, what+" is new in "+markWhere
		case p.head == nil:
			one.text = what + " is removed from " + markWhere
		case reflect.DeepEqual(fields.At(p.base.Content, "spec"), fields.At(p.head.Content, "spec")) && reflect.DeepEqual(p.base.Content["webhooks"], p.head.Content["webhooks"]):
			continue
		default:
			one.text = what + " changes in " + markWhere + ": what it refused may be allowed"
		}
		f.add(one)
	}
}

func isPolicy(group, kind string) bool {
	switch {
	case group == "admissionregistration.k8s.io", group == "kyverno.io", strings.HasSuffix(group, ".kyverno.io"), group == "policy.networking.k8s.io":
		return true
	case group == "cilium.io":
		return strings.HasSuffix(kind, "Policy")
	}
	return false
}

// storage finds volumes that are no longer asked for.
func (w *world) storage(f *facts, s *scope) {
	if s.gone() {
		return
	}
	for _, p := range s.pairs(classOther) {
		if p.head != nil || groupOf(p.base) != "" || p.base.Kind != "PersistentVolumeClaim" {
			continue
		}
		f.add(fact{
			risk: review.High, category: review.DataDeleted, tenant: s.tenant, scope: s.scopeKey, place: p.base.Place,
			text: "PersistentVolumeClaim " + prose.Plain(p.base.Name) + " of " + markWhere + " is deleted, and the data in it as its StorageClass says",
		})
	}
}
