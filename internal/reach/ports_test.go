package reach

import (
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/cilium/cilium/pkg/policy/api"
)

func TestPortsAreASet(t *testing.T) {
	of := func(spans ...Span) *Ports {
		p := &Ports{}
		for _, s := range spans {
			p.Add("TCP", s.From, s.To)
		}
		p.Tidy()
		return p
	}
	tests := map[string]struct {
		a, b *Ports
		want string
	}{
		"a hole":       {of(Span{1, 10}), of(Span{4, 5}), "1-3 and 6-10/TCP"},
		"two in one":   {of(Span{80, 90}), of(Span{86, 90}, Span{80, 85}), ""},
		"all and some": {&Ports{All: true}, of(Span{0, LastPort}), "every port"},
		"some of all":  {of(Span{1, 2}), &Ports{All: true}, ""},
	}
	for name, tt := range tests {
		if got := tt.a.Without(tt.b).String(); got != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
	if number(math.Inf(1)) != LastPort || number(math.Inf(-1)) != 0 {
		t.Error("a number beyond all ports is none")
	}
}

func TestWhateverAPortRuleSaysBesidePortsLimitsIt(t *testing.T) {
	for _, f := range reflect.VisibleFields(reflect.TypeFor[api.PortRule]()) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if got := layer7(map[string]any{"ports": []any{}, name: map[string]any{"a": "b"}}); (got == "") != (name == "ports") {
			t.Errorf("%s of a port rule: got %q", name, got)
		}
	}
}
