package kyverno

import (
	"encoding/json"
	"regexp"
	"strings"

	kyvernov1 "github.com/kyverno/kyverno/api/kyverno/v1"
	kyvernov2 "github.com/kyverno/kyverno/api/kyverno/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// Why a rule of a classic policy is not evaluated.
const (
	byRoles       = "it depends on the roles of the user, which only a cluster knows"
	callsAPI      = "it calls the API server or a server"
	noConfigMap   = "it reads a ConfigMap that is not beside the policies"
	manifests     = "it verifies signatures of manifests"
	hasParameters = "its parameters are objects of the cluster"
	asksRights    = "it asks what the user is allowed, which only a cluster knows"
	assertions    = "its assertions are of an older Kyverno"

	// of an exception
	unknowableRoles = "the roles of the user are known to a cluster only; what it exempts is reported"
)

// unknowable is why a rule cannot be evaluated here; "" is none.
func (p *classicPolicy) unknowable(rule *kyvernov1.Rule) string {
	v := rule.Validation
	switch {
	case rule.HasVerifyManifests():
		return manifests
	case v.DeprecatedAssert != nil:
		return assertions
	case rule.HasValidateCEL() && v.CEL.HasParam():
		return hasParameters
	}
	if why := p.unknowableContext(rule.Context); why != "" {
		return why
	}
	if why := p.unknowableLoop(v.ForEachValidation); why != "" {
		return why
	}
	text, err := json.Marshal(rule)
	switch {
	case err != nil:
		return notParsed
	case strings.Contains(string(text), "request.roles"), strings.Contains(string(text), "request.clusterRoles"):
		return byRoles
	case rule.HasValidateCEL() && strings.Contains(string(text), "authorizer"):
		return asksRights
	}
	return ""
}

func (p *classicPolicy) unknowableLoop(loops []kyvernov1.ForEachValidation) string {
	for i := range loops {
		if why := p.unknowableContext(loops[i].Context); why != "" {
			return why
		}
		if why := p.unknowableLoop(loops[i].GetForEachValidation()); why != "" {
			return why
		}
	}
	return ""
}

func (p *classicPolicy) unknowableContext(entries []kyvernov1.ContextEntry) string {
	for _, e := range entries {
		switch {
		case e.APICall != nil:
			return callsAPI
		case e.GlobalReference != nil:
			return readsContext
		case e.ImageRegistry != nil:
			return readsRegistry
		case e.ConfigMap != nil:
			namespace := e.ConfigMap.Namespace
			if namespace == "" {
				namespace = "default"
			}
			if p.configMaps[[2]string{namespace, e.ConfigMap.Name}] == nil {
				return noConfigMap
			}
		}
	}
	return ""
}

// variable is one of Kyverno's in a text.
var variable = regexp.MustCompile(`\{\{|\$\(`)

// stripRoles takes out of a rule what depends on the roles of the user, so that it
// is about everyone, and tells whether there was any.
func stripRoles(rule *kyvernov1.Rule) bool {
	found := false
	strip := func(u *kyvernov1.UserInfo, d *kyvernov1.ResourceDescription) {
		if len(u.Roles) == 0 && len(u.ClusterRoles) == 0 {
			return
		}
		found = true
		u.Roles, u.ClusterRoles = nil, nil
		if d.IsEmpty() && u.IsEmpty() {
			d.Kinds = []string{"*"} // a filter cannot be empty
		}
	}
	m := &rule.MatchResources
	strip(&m.UserInfo, &m.ResourceDescription)
	for _, filters := range []kyvernov1.ResourceFilters{m.Any, m.All} {
		for i := range filters {
			strip(&filters[i].UserInfo, &filters[i].ResourceDescription)
		}
	}
	if x := rule.ExcludeResources; x != nil && anyRole(x.UserInfo, x.Any, x.All) {
		found = true
		switch {
		case len(x.Any) > 0:
			x.Any = without(x.Any)
		case len(x.All) > 0:
			x.All = nil // who has not the role is not exempt
		}
		if len(x.Any) == 0 && len(x.All) == 0 {
			rule.ExcludeResources = nil
		}
	}
	return found
}

func without(filters kyvernov1.ResourceFilters) kyvernov1.ResourceFilters {
	var kept kyvernov1.ResourceFilters
	for _, f := range filters {
		if !hasRole(f.UserInfo) {
			kept = append(kept, f)
		}
	}
	return kept
}

func hasRole(u kyvernov1.UserInfo) bool { return len(u.Roles) > 0 || len(u.ClusterRoles) > 0 }

func anyRole(u kyvernov1.UserInfo, filters ...kyvernov1.ResourceFilters) bool {
	for _, all := range filters {
		for _, f := range all {
			if hasRole(f.UserInfo) {
				return true
			}
		}
	}
	return hasRole(u)
}

// unknowableException is why an exception does not count; "" is none.
func unknowableException(e *kyvernov2.PolicyException) string {
	for _, all := range []kyvernov1.ResourceFilters{e.Spec.Match.Any, e.Spec.Match.All} {
		if anyRole(kyvernov1.UserInfo{}, all) {
			return unknowableRoles
		}
	}
	return ""
}

func configMapsOf(objects []*unstructured.Unstructured) configMaps {
	found := configMaps{}
	for _, o := range objects {
		if o.GetAPIVersion() != "v1" || o.GetKind() != "ConfigMap" {
			continue
		}
		cm := &corev1.ConfigMap{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, cm); err != nil {
			continue // a rule that reads it is not evaluated
		}
		if cm.Namespace == "" {
			cm.Namespace = "default"
		}
		found[[2]string{cm.Namespace, cm.Name}] = cm
	}
	return found
}
