// Package page is what our HTML pages have in common: how they look, and that no
// request leaves them.
package page

import (
	"crypto/sha256"
	_ "embed" // the style
	"encoding/base64"
	"fmt"
)

// Style is colours for light and dark, the head of a page, and the badges of risks.
//
//go:embed page.css
var Style string

// Policy is the Content-Security-Policy of a page with one style and one script, or
// with no script.
func Policy(style, script string) string {
	scripts := "'none'"
	if script != "" {
		scripts = "'" + hash(script) + "'"
	}
	return fmt.Sprintf("default-src 'none'; style-src '%s'; script-src %s; base-uri 'none'; form-action 'none'", hash(style), scripts)
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}
