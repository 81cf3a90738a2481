package network

import "testing"

// What the first namespace with a rule pays for it, beside finding it known.
func BenchmarkCheckRule(b *testing.B) {
	tree := map[string]any{"fromEndpoints": []any{map[string]any{"matchLabels": map[string]any{labelNamespace: "acme-web"}}}}
	check := func(b *testing.B) {
		if err := checkRule("ingress", tree); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("new", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			passed = newMemo(2)
			check(b)
		}
	})
	b.Run("known", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			check(b)
		}
	})
}
