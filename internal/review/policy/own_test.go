package policy

import (
	"context"
	"strconv"
	"testing"

	"github.com/aetherplatform/aether/internal/review"
)

// What Aether renders is what its own policies let it write.
func TestAethersOwnPoliciesRefuseNothingThatItRenders(t *testing.T) {
	first, second := fleetOf(t, 3, false), fleetOf(t, 3, true)
	for name, sides := range map[string][2]*review.Side{
		"created": {empty(), first},
		"changed": {first, second},
		"deleted": {first, empty()},
	} {
		t.Run(name, func(t *testing.T) {
			base, head := *sides[0], *sides[1]
			base.Files, head.Files = own(t), own(t)
			e := &evaluation{set: mustLoad(t, base.Files)}
			if err := e.run(context.Background(), &base, &head); err != nil {
				t.Fatal(err)
			}
			if len(e.policies) < 9 {
				t.Fatalf("%d policies are in force, want all of Aether's", len(e.policies))
			}
			if e.spent.Load() == 0 {
				t.Error("nothing was evaluated")
			}
			report := evaluate(t, &base, &head)
			for _, v := range report.Violations {
				t.Errorf("%s %s/%s: %s: %s", v.Kind, v.Namespace, v.Name, v.Policy, v.Message)
			}
			for _, f := range report.Findings {
				t.Errorf("%s %v", f.Title, f.Details)
			}
		})
	}
}

// A base change: every object of every namespace is another.
func BenchmarkBaseChange(b *testing.B) {
	for _, n := range []int{1000, 10_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			base, head := fleetOf(b, n, false), fleetOf(b, n, true)
			base.Files, head.Files = own(b), own(b)
			steps := len(newWorld(base, head).steps())
			b.ReportAllocs()
			for b.Loop() {
				evaluate(b, base, head)
			}
			b.ReportMetric(float64(steps), "objects")
		})
	}
}

// One tenant: compiling is what takes time.
func BenchmarkOneTenant(b *testing.B) {
	base, head := fleetOf(b, 10, false), fleetOf(b, 10, true)
	base.Files, head.Files = own(b), own(b)
	for b.Loop() {
		evaluate(b, base, head)
	}
}
