package apply

import (
	"strings"
	"testing"
)

func TestAnObjectTellsWhetherItIsInPlace(t *testing.T) {
	for name, test := range map[string]struct {
		object, foreign string
		is              bool
	}{
		"untouched":       {quota, `{}`, true},
		"somebody's note": {quota, `{"metadata":{"annotations":{"example.com/note":"mine"}}}`, true},
		"a changed value": {quota, `{"spec":{"hard":{"pods":"999"}}}`, false},
		"a key more":      {quota, `{"spec":{"hard":{"secrets":"1"}}}`, false},
		"a key less":      {quota, `{"spec":{"hard":{"requests.cpu":null}}}`, false},
		"a rule more":     {deny, `{"spec":{"egress":[{}]}}`, false},
		"a list shorter":  {deny, `{"spec":{"policyTypes":["Ingress"]}}`, false},
		"a field away":    {deny, `{"metadata":{"labels":{"aetherplatform.cloud/managed-by":null}}}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			o := b.object(test.object)
			b.ok(b.Apply(t.Context(), o))
			if !b.InPlace(o, b.live(o)) {
				t.Error("it is not in place right after it was applied")
			}
			b.patch(o, test.foreign)
			if got := b.InPlace(o, b.live(o)); got != test.is {
				t.Errorf("in place: %t, want %t", got, test.is)
			}
		})
	}
	t.Run("never applied by us", func(t *testing.T) {
		b := newBench(t)
		o := b.object(quota)
		if err := env.Client.Create(t.Context(), o.DeepCopy()); err != nil {
			t.Fatal(err)
		}
		if b.InPlace(o, b.live(o)) {
			t.Error("what somebody else made is taken for ours")
		}
	})
	t.Run("asked for otherwise", func(t *testing.T) {
		b := newBench(t)
		o := b.object(quota)
		b.ok(b.Apply(t.Context(), o))
		if b.InPlace(b.object(strings.Replace(quota, `pods: "20"`, `pods: "30"`, 1)), b.live(o)) {
			t.Error("it is in place before it was changed")
		}
	})
}
