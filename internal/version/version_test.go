package version

import "testing"

func TestALineSaysWhatWasBuiltFromWhat(t *testing.T) {
	for want, info := range map[string]Info{
		"aether v0.1.0 (0123abc, go1.26.8, linux/amd64)":             {Version: "v0.1.0", Commit: "0123abc", Go: "go1.26.8", Platform: "linux/amd64"},
		"aether devel (0123abc with changes, go1.26.8, linux/amd64)": {Version: "devel", Commit: "0123abc", Modified: true, Go: "go1.26.8", Platform: "linux/amd64"},
		"aether devel (unknown commit, go1.26.8, linux/amd64)":       {Version: "devel", Go: "go1.26.8", Platform: "linux/amd64"},
	} {
		if got := info.Line("aether"); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
