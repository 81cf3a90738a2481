package render

import (
	"fmt"
	"testing"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// manyInputs is n namespaces of n/10 tenants, each its own object as it is in a
// fleet: the example of the design, every component in use.
func manyInputs(b *testing.B, n int) []Inputs {
	all := make([]Inputs, n)
	var tenant *v1alpha1.Tenant
	for i := range all {
		in := example(b)
		if i%10 == 0 {
			tenant = in.Tenant
			tenant.Name = fmt.Sprintf("tenant%d", i/10)
		}
		in.Tenant = tenant
		in.Namespace.Name = fmt.Sprintf("%s-ns%d", tenant.Name, i%10)
		in.Namespace.Spec.Tenant = tenant.Name
		all[i] = in
	}
	return all
}

func perNamespace(b *testing.B, namespaces int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*namespaces), "ns/namespace")
}

func BenchmarkRenderNamespace(b *testing.B) {
	template, in := mustCompile(b, "profiles/default"), example(b)
	objects := len(mustRender(b, template, in))
	b.ReportAllocs()
	for b.Loop() {
		mustRender(b, template, in)
	}
	perNamespace(b, 1)
	b.ReportMetric(float64(objects), "objects/namespace")
}

// Warm: the template is there, as after any push but the first.
func BenchmarkRender10kWarm(b *testing.B) {
	template, all := mustCompile(b, "profiles/default"), manyInputs(b, 10_000)
	b.ReportAllocs()
	for b.Loop() {
		for _, in := range all {
			mustRender(b, template, in)
		}
	}
	perNamespace(b, len(all))
}

// Cold: Kustomize's build and the compilation included.
func BenchmarkRender10kCold(b *testing.B) {
	all := manyInputs(b, 10_000)
	b.ReportAllocs()
	for b.Loop() {
		template := mustCompile(b, "profiles/default")
		for _, in := range all {
			mustRender(b, template, in)
		}
	}
	perNamespace(b, len(all))
}
