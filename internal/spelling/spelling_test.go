package spelling

import "testing"

func TestDistanceCountsEdits(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"size", "size", 0}, {"sise", "size", 1}, {"siz", "size", 1}, {"", "size", 4}, {"quota", "limits", 5}, {"szie", "size", 2}} {
		if got := Distance(c.a, c.b); got != c.want {
			t.Errorf("Distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
		if got := Distance(c.b, c.a); got != c.want {
			t.Errorf("Distance(%q, %q) = %d, want %d", c.b, c.a, got, c.want)
		}
	}
}

func TestNearestIsWhatWasMeantOrNothing(t *testing.T) {
	known := []string{"policies", "policy", "resources"}
	for word, want := range map[string]string{"polices": "policies", "polcy": "policy", "resource": "resources", "userinfo": "", "": ""} {
		if got := Nearest(word, known); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
}
