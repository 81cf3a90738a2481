// Package version knows which version the running program is.
package version

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// A release sets both with -ldflags "-X …", see package release.
var (
	// Version of the program.
	Version = "devel"
	// Commit that it was built from. Empty: the one that Go found.
	Commit = ""
)

// Info is what `aether version -o json` prints.
type Info struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// Get returns the version of the running program.
func Get() Info {
	info := Info{Version: Version, Commit: Commit, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	build, ok := debug.ReadBuildInfo()
	if !ok || Commit != "" {
		return info
	}
	for _, s := range build.Settings {
		switch s.Key {
		case "vcs.revision":
			info.Commit = s.Value
		case "vcs.modified":
			info.Modified = s.Value == "true"
		}
	}
	return info
}

// Line is what a program of that name prints when it is asked for its version.
func (i Info) Line(program string) string {
	commit := i.Commit
	if commit == "" {
		commit = "unknown commit"
	}
	if i.Modified {
		commit += " with changes"
	}
	return fmt.Sprintf("%s %s (%s, %s, %s)", program, i.Version, commit, i.Go, i.Platform)
}
