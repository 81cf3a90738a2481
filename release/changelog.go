package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// changelog writes what is new in the version.
func (r *release) changelog(context.Context) error {
	return publish(filepath.Join(r.next, "CHANGELOG.md"), []byte(r.changes))
}

// section returns what a changelog says of a version: from "## v0.1.0 …" to the next
// heading of that level.
func section(changelog, version string) (string, error) {
	var lines []string
	latest, inside := "", false
	for line := range strings.Lines(changelog) {
		if heading, is := strings.CutPrefix(line, "## "); is {
			if inside {
				break
			}
			heading = strings.TrimSpace(heading)
			if latest == "" {
				latest = heading
			}
			name, _, _ := strings.Cut(heading, " ")
			inside = name == version
		}
		if inside {
			lines = append(lines, line)
		}
	}
	switch {
	case lines == nil && latest == "":
		return "", fmt.Errorf(`there is no section for %s; begin one with "## %s - YYYY-MM-DD"`, version, version)
	case lines == nil:
		return "", fmt.Errorf(`there is no section for %s; begin one with "## %s - YYYY-MM-DD", above "## %s"`, version, version, latest)
	}
	if strings.TrimSpace(strings.Join(lines[1:], "")) == "" {
		return "", errors.New(`the section for ` + version + ` is empty; list below "### Added", "### Changed" and the like what a user will notice`)
	}
	return strings.TrimRight(strings.Join(lines, ""), "\n") + "\n", nil
}
