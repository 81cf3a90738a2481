package main

import "testing"

func TestASectionIsFromItsHeadingToTheNext(t *testing.T) {
	const changelog = `# Changelog

## v0.2.0 (unreleased)

### Added

- A thing.

## v0.1.0 - 2026-12-01

The first.

## v0.1.0-rc.1 - 2026-11-01
`
	for version, c := range map[string]struct{ text, err string }{
		"v0.2.0":      {text: "## v0.2.0 (unreleased)\n\n### Added\n\n- A thing.\n"},
		"v0.1.0":      {text: "## v0.1.0 - 2026-12-01\n\nThe first.\n"},
		"v0.1.0-rc.1": {err: `the section for v0.1.0-rc.1 is empty; list below "### Added", "### Changed" and the like what a user will notice`},
		"v0.3.0":      {err: `there is no section for v0.3.0; begin one with "## v0.3.0 - YYYY-MM-DD", above "## v0.2.0 (unreleased)"`},
		"v0.1":        {err: `there is no section for v0.1; begin one with "## v0.1 - YYYY-MM-DD", above "## v0.2.0 (unreleased)"`},
	} {
		text, err := section(changelog, version)
		if text != c.text || errorText(err) != c.err {
			t.Errorf("%s: got %q and %q\nwant %q and %q", version, text, errorText(err), c.text, c.err)
		}
	}
	if _, err := section("# Changelog\n", "v0.1.0"); errorText(err) != `there is no section for v0.1.0; begin one with "## v0.1.0 - YYYY-MM-DD"` {
		t.Errorf("of an empty one: %v", err)
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
