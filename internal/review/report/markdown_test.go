package report

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	extast "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
	"golang.org/x/net/html"
)

var forge = goldmark.New(goldmark.WithExtensions(extension.GFM, extension.Footnote, extension.DefinitionList))

// ours are the blocks of raw HTML that Markdown writes.
var ours = regexp.MustCompile(`^(<!-- aether-review -->|<details><summary>(Tenant )?<code>[^<>]*</code>[a-z0-9:, ]*(<code>[^<>]*</code>)?</summary>|</details>)\n?$`)

func TestTextsOfTheRepositoryAreInertInMarkdown(t *testing.T) {
	for _, s := range hostile {
		for _, limit := range []int{0, MinLimit, 8192} {
			comment, _ := Markdown(poisoned(s), limit, Options{})
			inertMarkdown(t, s, comment)
		}
	}
}

func FuzzTextsOfTheRepositoryAreInertInMarkdown(f *testing.F) {
	for _, s := range hostile {
		f.Add(s, 0)
	}
	f.Fuzz(func(t *testing.T, s string, limit int) {
		comment, _ := Markdown(poisoned(s), limit, Options{})
		inertMarkdown(t, s, comment)
		if limit > 0 && len(comment) > max(limit, MinLimit) {
			t.Errorf("%d bytes for a limit of %d", len(comment), limit)
		}
	})
}

// inertMarkdown reads a comment as a forge does, and fails for whatever we did not
// write there.
func inertMarkdown(t *testing.T, s, comment string) {
	t.Helper()
	source := []byte(comment)
	root := forge.Parser().Parse(text.NewReader(source), parser.WithContext(parser.NewContext()))
	open := 0
	err := ast.Walk(root, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Link, *ast.Image, *ast.AutoLink, *extast.TaskCheckBox, *extast.Strikethrough, *extast.FootnoteLink,
			*extast.Footnote, *extast.DefinitionList, *ast.Blockquote, *ast.ThematicBreak, *ast.CodeBlock:
			t.Errorf("%q: %s in\n%s", s, n.Kind(), comment)
		case *ast.Heading:
			if h := string(n.Lines().Value(source)); !strings.HasPrefix(h, "Aether review: ") &&
				h != "Errors" && h != "Approvals needed" && h != "New policy violations" {
				t.Errorf("%q: a heading %q", s, h)
			}
		case *ast.HTMLBlock:
			raw := string(n.Lines().Value(source))
			if !ours.MatchString(raw) {
				t.Errorf("%q: HTML %q", s, raw)
			}
			open += strings.Count(raw, "<details>") - strings.Count(raw, "</details>")
		case *ast.RawHTML:
			if raw := string(n.Segments.Value(source)); raw != "<br>" {
				t.Errorf("%q: HTML %q", s, raw)
			}
		case *ast.Emphasis:
			if n.Level != 2 {
				t.Errorf("%q: emphasis in\n%s", s, comment)
			}
		case *ast.List:
			if n.IsOrdered() || n.Parent().Kind() != ast.KindDocument {
				t.Errorf("%q: a list in\n%s", s, comment)
			}
		case *ast.FencedCodeBlock:
			if string(n.Language(source)) != "diff" {
				t.Errorf("%q: a block of %q", s, n.Language(source))
			}
			for _, l := range strings.Split(strings.TrimSuffix(string(n.Lines().Value(source)), "\n"), "\n") {
				if l == "" || !strings.ContainsRune("+-! ", rune(l[0])) {
					t.Errorf("%q: a line %q", s, l)
				}
			}
		case *ast.Text:
			// Outside of code, forges look for mentions, references, commits and links.
			if n.Parent().Kind() != ast.KindCodeSpan {
				plainText(t, s, string(n.Segment.Value(source)))
			}
		case *extast.TableRow:
			if n.ChildCount() != 3 {
				t.Errorf("%q: a row of %d cells in\n%s", s, n.ChildCount(), comment)
			}
		}
		return ast.WalkContinue, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if open != 0 {
		t.Errorf("%q: %d details are not closed", s, open)
	}
	var page bytes.Buffer
	if err := forge.Convert(source, &page); err != nil {
		t.Fatal(err)
	}
}

var special = regexp.MustCompile("[@#<>\\[\\]`$~&|\\\\]|://|www\\.[a-z]|\\b[0-9a-f]{7,40}\\b|:[a-z_]+:|\\bGH-[0-9]")

func plainText(t *testing.T, s, shown string) {
	t.Helper()
	if at := special.FindString(shown); at != "" {
		t.Errorf("%q: %q is plain text in %q", s, at, shown)
	}
}

func TestNamesWithMarkupAreReadableInTheSummaryOfATenant(t *testing.T) {
	r := sample()
	for i := range r.Changes {
		r.Changes[i].Tenant = "<b>&"
	}
	comment, _ := Markdown(r, 0, Options{})
	if want := "<summary>Tenant <code>&lt;b&gt;&amp;</code>:"; !strings.Contains(comment, want) {
		t.Errorf("%q is not in\n%s", want, comment)
	}
	z := html.NewTokenizer(strings.NewReader(comment[strings.Index(comment, "<summary>Tenant"):]))
	z.Next()
	z.Next()
	z.Next()
	z.Next()
	if got := string(z.Text()); got != "<b>&" {
		t.Errorf("a browser reads %q", got)
	}
}

func TestAnythingFitsTheLimitOfTheForge(t *testing.T) {
	for _, limit := range []int{1, MinLimit, 10_000, 65_536, 262_144, 1_000_000} {
		r := large(10_000)
		comment, folded := Markdown(r, limit, Options{Link: "https://ci.example.com/1"})
		if len(comment) > max(limit, MinLimit) {
			t.Errorf("limit %d: %d bytes", limit, len(comment))
		}
		if !folded {
			t.Errorf("limit %d: it does not say that it folded", limit)
		}
		for _, want := range []string{Marker + "\n", "**Folded to fit a comment:**", "(<https://ci.example.com/1>)", r.Head.Digest, r.Head.Commit, r.Base.Commit} {
			if !strings.Contains(comment, want) {
				t.Errorf("limit %d: %q is missing", limit, want)
			}
		}
		if strings.Count(comment, "<details>") != strings.Count(comment, "</details>") {
			t.Errorf("limit %d: details are not closed", limit)
		}
		if limit > 10_000 && len(comment) < limit*9/10 {
			t.Errorf("limit %d: only %d bytes are used", limit, len(comment))
		}
	}
}

func TestTheLeastImportantIsFoldedFirst(t *testing.T) {
	r := large(4000)
	whole, folded := Markdown(r, 0, Options{})
	if folded {
		t.Error("without a limit it is folded")
	}
	// In the order in which they go, each with where it is first seen to be gone.
	// The last tenant is of no risk, the first one, tenant-0003, of medium risk.
	marks := []struct{ what, text string }{
		{"diff of the last tenant", `"level-3999"`},
		{"diff of the first tenant", `"level-60"`},
		{"objects of the last tenant", "settings-3999"},
		{"objects of the first tenant", "settings-60 "},
		{"details of findings", "of the tenant's"},
		{"name of the last tenant", "Tenant `tenant-0199`"},
	}
	gone := make([]int, len(marks))
	for limit := len(whole); limit >= MinLimit; limit = limit * 6 / 7 {
		comment, _ := Markdown(r, limit, Options{})
		for i, m := range marks {
			if i == 5 && gone[2] == 0 {
				continue // before, it has a summary
			}
			if shown := strings.Contains(comment, m.text); shown && gone[i] != 0 {
				t.Fatalf("%s: gone at %d and back at %d", m.what, gone[i], limit)
			} else if !shown && gone[i] == 0 {
				gone[i] = limit
			}
		}
	}
	for i := range marks[1:] {
		if before, after := gone[i], gone[i+1]; before == 0 || after > before {
			t.Errorf("%s goes at %d, and %s at %d", marks[i].what, before, marks[i+1].what, after)
		}
	}
}

func TestALinkCannotLeaveItsPlace(t *testing.T) {
	for link, want := range map[string]bool{
		"https://ci.example.com/a?b=c#d": true, "http://10.0.0.1:3000/x": true,
		"javascript:alert(1)": false, "data:text/html,x": false, "//evil.example": false, "": false,
		"https://x/>)<script>": true, "https://x/a b": true, "https://x/\n# y": false, "https:///x": false,
	} {
		comment, _ := Markdown(sample(), 0, Options{Link: link})
		if got := strings.Contains(comment, "[Whole report](<"); got != want {
			t.Errorf("%q: linked %t, want %t", link, got, want)
		}
		if strings.Contains(comment, "<script") || strings.Contains(comment, "# y") {
			t.Errorf("%q left its place:\n%s", link, comment)
		}
	}
}

// Forges split the row of a table at pipes before they read anything else in it,
// and do not agree on a pipe after a backslash.
func TestAPipeDoesNotEndACell(t *testing.T) {
	for in, want := range map[string]string{"a|b": `a\|b`, `a\|b`: `a\u007cb`, `a\\|b`: `a\\u007cb`, "||": `\|\|`, "": ""} {
		if got := cell(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}
