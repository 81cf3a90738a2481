package render

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/fleet"
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

// perNamespace reports the time of one namespace by the clock. On a machine that
// does other things as well, "cpu-ns/op" below is the one to read.
func perNamespace(b *testing.B, namespaces int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*namespaces), "ns/namespace")
}

// countCPU reports the processor time of an iteration, the garbage collector's
// included. Call it when the set-up is done, and what it returns at the end.
func countCPU(b *testing.B) func() {
	used := func() int64 {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
	before := used()
	return func() { b.ReportMetric(float64(used()-before)/float64(b.N), "cpu-ns/op") }
}

func BenchmarkRenderNamespace(b *testing.B) {
	template, in := mustCompile(b, "profiles/default"), example(b)
	objects := len(mustRender(b, template, in))
	b.ReportAllocs()
	defer countCPU(b)()
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
	defer countCPU(b)()
	for b.Loop() {
		for _, in := range all {
			mustRender(b, template, in)
		}
	}
	perNamespace(b, len(all))
}

// Cold: Kustomize's build and the compilation included, and rules that Cilium's
// Sanitize has not seen before.
func BenchmarkRender10kCold(b *testing.B) {
	all := manyInputs(b, 10_000)
	b.ReportAllocs()
	defer countCPU(b)()
	for round := 0; b.Loop(); round++ {
		for i, in := range all {
			in.Tenant.Name = fmt.Sprintf("round%d-tenant%d", round, i/10)
			in.Namespace.Name = fmt.Sprintf("%s-ns%d", in.Tenant.Name, i%10)
			in.Namespace.Spec.Tenant = in.Tenant.Name
		}
		template := mustCompile(b, "profiles/default")
		for _, in := range all {
			mustRender(b, template, in)
		}
	}
	perNamespace(b, len(all))
}

// manyTenants is a fleet of n tenants with ten namespaces each.
func manyTenants(n int) fleet.Tree {
	tree := fleet.Tree{"_platform/default.yaml": profileFile("default", "profiles/default", twoSizes), "_platform/strict.yaml": profileFile("strict", "profiles/restricted", twoSizes)}
	for i := range n {
		name := fmt.Sprintf("tenant%d", i)
		tree[name+"/tenant.yaml"] = file("Tenant", fmt.Sprintf("\nmetadata: {name: %s}\nspec: {owners: [{kind: Group, name: %[1]s-admins, role: admin}]}\n", name))
		for j := range 10 {
			ns := fmt.Sprintf("ns%d", j)
			tree[name+"/"+ns+".yaml"] = ownNamespaceFile(name, ns, "small")
		}
	}
	return tree
}

// ownNamespaceFile names namespaces of its tenant only.
func ownNamespaceFile(tenant, name, size string) fleet.File {
	return file("TenantNamespace", fmt.Sprintf(`
metadata: {name: %s-%s}
spec:
  tenant: %[1]s
  size: %[3]s
  network:
    ingress: [{from: [{ingressController: true}, {namespace: %[1]s-ns0}], ports: [{port: 80}]}]
`, tenant, name, size))
}

// One tenant of many is pushed: what everything else costs is to see that it is
// as it was.
func BenchmarkFleetOneTenantChanged(b *testing.B) {
	for _, tenants := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("namespaces=%d", tenants*10), func(b *testing.B) {
			tree := manyTenants(tenants)
			r := New(Options{})
			if errs := messages(r.Render(tree, nil)); len(errs) > 0 {
				b.Fatal(errs[0])
			}
			sizes := []string{"large", "small"}
			b.ReportAllocs()
			defer countCPU(b)()
			for i := 0; b.Loop(); i++ {
				tree["tenant0/ns0.yaml"] = ownNamespaceFile("tenant0", "ns0", sizes[i%2])
				if got := changed(r.Render(tree, nil)); len(got) != 1 {
					b.Fatalf("changed: %v", got)
				}
			}
		})
	}
}

// The first render of a controller that starts, or of the CLI: reading included.
func BenchmarkFleetFirstRender(b *testing.B) {
	tree := manyTenants(100)
	b.ReportAllocs()
	defer countCPU(b)()
	for b.Loop() {
		if errs := messages(New(Options{}).Render(tree, nil)); len(errs) > 0 {
			b.Fatal(errs[0])
		}
	}
	perNamespace(b, 1000)
}
