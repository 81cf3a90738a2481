package kyverno

import (
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// What one policy costs on one object, and what it costs to tell that it is not
// about it: of thirteen objects of a namespace it is about one or two.
func BenchmarkOnePolicyOnOneObject(b *testing.B) {
	other := objects(b, `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: m, namespace: web}, spec: {podSelector: {}}}`)[0]
	about := objects(b, large)[0]
	for _, c := range []struct{ name, policies string }{
		{"ValidatingPolicy", vpol("object.data.size == '9'", "")},
		{"ValidatingPolicy/violated", vpol("object.data.size == '1'", "")},
		{"pattern", cpol("    validate: {message: m, pattern: {data: {size: '<10'}}}", enforce)},
		{"deny", cpol(`    validate: {message: m, deny: {conditions: {all: [{key: "{{request.object.data.size}}", operator: GreaterThan, value: 10}]}}}`, enforce)},
		{"cel", cpol(`    validate: {cel: {expressions: [{expression: "object.data.size == '9'"}]}}`, enforce)},
	} {
		for name, o := range map[string]*unstructured.Unstructured{"about": about, "other": other} {
			b.Run(fmt.Sprintf("%s/%s", c.name, name), func(b *testing.B) {
				policies, _ := loaded(b, c.policies)
				boundsOf(policies[0]).forAll = 1 << 62
				for b.Loop() {
					policies[0].Judge(b.Context(), creation(o, nil))
				}
			})
		}
	}
}
