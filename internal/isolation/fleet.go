package isolation

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aetherplatform/aether/internal/reach"
	"github.com/aetherplatform/aether/internal/render"
)

// FromFleet is a rendered fleet as the input of a plan. Place tells a place in it as
// the reader knows it.
func FromFleet(result *render.Result, place func(string) string) Input {
	in := Input{Tenants: map[string]string{}}
	var objects []*unstructured.Unstructured
	for _, t := range result.Tenants {
		if t.Children == nil {
			continue // it has errors, and nothing of it is applied
		}
		for _, u := range t.Children() {
			if u.GetKind() == "Namespace" {
				in.Tenants[u.GetName()] = t.Name
			}
			objects = append(objects, u)
		}
	}
	in.Model = reach.New(objects)
	in.Model.Locate(place)
	seen := map[string]bool{}
	for _, p := range result.Fleet.Profiles {
		if p == nil || p.Value == nil {
			continue
		}
		c := p.Value.Spec.IngressController
		e := reach.PodsOf(cmp.Or(c.Namespace, "ingress-nginx"))
		e.Labels = c.PodLabels
		key := e.Namespace
		for _, k := range slices.Sorted(maps.Keys(c.PodLabels)) {
			key += "," + k + "=" + c.PodLabels[k]
		}
		if !seen[key] {
			seen[key] = true
			in.Ingress = append(in.Ingress, e)
		}
	}
	slices.SortStableFunc(in.Ingress, func(a, b reach.Endpoint) int { return strings.Compare(a.Namespace, b.Namespace) })
	return in
}
