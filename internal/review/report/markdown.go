package report

import (
	"cmp"
	"fmt"
	"html"
	"net/url"
	"strings"

	"github.com/aetherplatform/aether/internal/review"
)

// Marker is the first line of the comment; one finds it again by it.
const Marker = "<!-- aether-review -->"

// MinLimit is the least that Markdown fits a report into, in bytes.
const MinLimit = 4096

const (
	maxMarkdownFields = 60
	maxMarkdownLines  = 60
	maxMarkdownName   = 100
)

// Markdown is the report as one comment of a pull request of at most limit bytes;
// 0 is no limit, and less than MinLimit counts as MinLimit. Where it does not fit,
// it is folded from the least important: content of deleted objects, field diffs of the
// tenants of least risk, then of the others, the objects of each tenant, details of
// findings, tenants themselves, and at last the rows of the lists. It says what it
// folded, and where the whole report is.
func Markdown(r *review.Report, limit int, o Options) (text string, folded bool) {
	if limit > 0 {
		limit = max(limit, MinLimit)
	}
	c := newComment(newView(r), limit, o)
	for _, fold := range []func() bool{c.foldDeleted, c.foldDiffs, c.foldObjects, c.foldDetails, c.foldTenants, c.foldRows} {
		if c.fits() {
			break
		}
		for !c.fits() && fold() {
			folded = true
		}
	}
	return c.String(), folded
}

// How much of a tenant is shown.
const (
	withDeleted = iota // with the content of what is deleted
	withDiffs
	withObjects
	asLine
	hidden
	levels
)

// allRows leaves all rows in a list.
const allRows = 1 << 30

type comment struct {
	*view
	limit int
	link  string

	blocks  []block // the groups, then a tenant each, most important first
	at      int     // where the current fold goes on, from the end
	level   int     // that it folds to
	size    int     // of all blocks
	details bool
	rows    int
	lists   string
}

// block is a part of the comment that can be shown at several levels.
type block struct {
	texts [levels]string
	level int
}

func newComment(v *view, limit int, o Options) *comment {
	c := &comment{view: v, limit: limit, link: safeLink(o.Link), details: true, rows: allRows}
	c.lists = c.writeLists()
	var room [levels]int
	for n := range c.groups {
		c.blocks = append(c.blocks, c.block(&room, func(level int) string { return groupBlock(c.groups[n], level) }))
	}
	for n := range c.tenants {
		c.blocks = append(c.blocks, c.block(&room, func(level int) string { return tenantBlock(c.tenants[n], level) }))
	}
	for _, b := range c.blocks {
		c.size += len(b.texts[0])
	}
	return c
}

// block writes a block at every level that can still fit: what comes after blocks
// that alone are too large is folded at that level in any case.
func (c *comment) block(used *[levels]int, write func(level int) string) block {
	var b block
	for level := range hidden {
		if c.limit > 0 && used[level] > c.limit {
			b.texts[level] = "\n" // counts as something, is never shown
		} else {
			b.texts[level] = write(level)
		}
		used[level] += len(b.texts[level])
	}
	return b
}

func (c *comment) fits() bool {
	return c.limit == 0 || c.length() <= c.limit
}

func (c *comment) length() int { return len(c.head()) + len(c.lists) + c.size + len(c.foot()) }

func (c *comment) foldDeleted() bool { return c.foldTo(withDiffs) }
func (c *comment) foldDiffs() bool   { return c.foldTo(withObjects) }
func (c *comment) foldObjects() bool { return c.foldTo(asLine) }
func (c *comment) foldTenants() bool { return c.foldTo(hidden) }

// foldTo folds the least important block that shows more than level.
func (c *comment) foldTo(level int) bool {
	if c.level != level {
		c.level, c.at = level, len(c.blocks)
	}
	if c.at == 0 {
		return false
	}
	c.at--
	b := &c.blocks[c.at]
	c.size += len(b.texts[level]) - len(b.texts[b.level])
	b.level = level
	return true
}

func (c *comment) foldDetails() bool {
	if !c.details {
		return false
	}
	c.details = false
	c.lists = c.writeLists()
	return true
}

func (c *comment) foldRows() bool {
	switch c.rows {
	case 0:
		return false
	case allRows:
		c.rows = 64
	default:
		c.rows /= 2
	}
	c.lists = c.writeLists()
	return true
}

func (c *comment) String() string {
	var b strings.Builder
	b.WriteString(c.head())
	b.WriteString(c.lists)
	for _, x := range c.blocks {
		b.WriteString(x.texts[x.level])
	}
	b.WriteString(c.foot())
	return b.String()
}

func (c *comment) head() string {
	s := c.Summary
	return fmt.Sprintf("%s\n### Aether review: %s\n\n**%s** created, **%s** changed, **%s** deleted, **%s** moved in %s of %s\n\n",
		Marker, c.verdict(), thousands(s.Created), thousands(s.Changed), thousands(s.Deleted), thousands(s.Moved),
		count(s.Namespaces, "namespace"), count(s.Tenants, "tenant"))
}

// foot says what was folded, and which revisions and digest this is about.
func (c *comment) foot() string {
	var b strings.Builder
	var n [levels]int
	for _, x := range c.blocks {
		for level := 1; level <= x.level; level++ {
			n[level]++
		}
	}
	var parts []string
	for level, what := range []string{"", "content of deleted objects", "field diffs", "objects", "names"} {
		if level > 0 && n[level] > 0 {
			parts = append(parts, fmt.Sprintf("%s of %d of %s", what, n[level], count(len(c.blocks), "part")))
		}
	}
	if !c.details {
		parts = append(parts, "details of findings")
	}
	if c.rows != allRows {
		parts = append(parts, fmt.Sprintf("all but the first %d rows of each list", c.rows))
	}
	if len(parts) > 0 {
		fmt.Fprintf(&b, "**Folded to fit a comment:** %s. ", strings.Join(parts, "; "))
		if c.link == "" {
			b.WriteString("`aether diff` shows the whole report.\n\n")
		} else {
			b.WriteString("The rest is in the whole report.\n\n")
		}
	}
	if c.link != "" {
		fmt.Fprintf(&b, "[Whole report](<%s>)\n\n", c.link)
	}
	fmt.Fprintf(&b, "Render digest %s<br>base %s<br>head %s\n",
		code(cmp.Or(c.Head.Digest, "none"), maxMarkdownName), revision(c.Base), revision(c.Head))
	return b.String()
}

func revision(r review.Revision) string {
	if r.Commit == "" {
		return code(r.Name, maxMarkdownName)
	}
	return code(r.Commit, maxMarkdownName) + " " + code(r.Name, maxMarkdownName)
}

func (c *comment) writeLists() string {
	var b strings.Builder
	c.writeFindings(&b)
	c.writeErrors(&b)
	c.writeApprovals(&b)
	c.writeViolations(&b)
	return b.String()
}

func (c *comment) writeFindings(b *strings.Builder) {
	if len(c.findings) == 0 {
		return
	}
	b.WriteString("| Risk | What it means | Where |\n| --- | --- | --- |\n")
	for _, f := range c.findings[:min(c.rows, len(c.findings))] {
		risk := string(f.Risk)
		if f.Risk == review.High {
			risk = "**high**"
		}
		what := prose(f.Title)
		if c.details {
			for _, d := range f.Details {
				what += "<br>" + prose(d)
			}
		}
		names, more := where(f.Tenants, f.Namespaces, 3)
		at := join(codes(names), more)
		if p := f.Place.String(); p != "" {
			if at != "" {
				at += "<br>"
			}
			at += code(p, maxName)
		}
		fmt.Fprintf(b, "| %s | %s | %s |\n", risk, cell(what), cell(at))
	}
	b.WriteString("\n")
	c.more(b, len(c.findings), "finding")
}

func (c *comment) more(b *strings.Builder, all int, noun string) {
	if all > c.rows {
		fmt.Fprintf(b, "…and %s.\n\n", count(all-c.rows, "more "+noun))
	}
}

func (c *comment) writeErrors(b *strings.Builder) {
	fresh := c.weights.Errors
	if fresh > 0 {
		b.WriteString("#### Errors\n\n")
		for _, e := range c.errors[:min(fresh, c.rows)] {
			fmt.Fprintf(b, "- %s: %s\n", code(e.Place.String(), maxName), prose(e.Message))
		}
		b.WriteString("\n")
		c.more(b, fresh, "error")
	}
	if n := len(c.errors) - fresh; n > 0 {
		fmt.Fprintf(b, "%s that base has too.\n\n", count(n, "error"))
	}
}

func (c *comment) writeApprovals(b *strings.Builder) {
	if len(c.Approvals) == 0 {
		return
	}
	b.WriteString("#### Approvals needed\n\n")
	for _, a := range c.Approvals[:min(c.rows, len(c.Approvals))] {
		who := codes(a.Owners)
		if a.Platform {
			who = join("**platform team**", who)
		}
		fmt.Fprintf(b, "- %s: %s: %s\n", code(a.Path, maxName), cmp.Or(who, "nobody is named"), prose(a.Reason))
	}
	b.WriteString("\n")
	c.more(b, len(c.Approvals), "path")
}

func (c *comment) writeViolations(b *strings.Builder) {
	fresh := c.weights.Violations
	if fresh > 0 {
		b.WriteString("#### New policy violations\n\n")
		c.violations(b, c.refused[:fresh])
	}
	if old := c.refused[fresh:]; len(old) > 0 {
		title := count(len(old), "policy violation") + " that base has too"
		if !c.details {
			fmt.Fprintf(b, "%s.\n\n", title)
			return
		}
		open(b, title)
		c.violations(b, old)
		shut(b)
	}
}

func (c *comment) violations(b *strings.Builder, all []review.Violation) {
	for _, x := range all[:min(len(all), c.rows)] {
		fmt.Fprintf(b, "- %s: policy %s: %s", code(full(x.Object), maxName), code(x.Policy, maxMarkdownName), prose(x.Message))
		if p := x.Place.String(); p != "" {
			fmt.Fprintf(b, " (%s)", code(p, maxName))
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
	c.more(b, len(all), "violation")
}

func groupBlock(g group, level int) string {
	var b strings.Builder
	title := codeHTML(sign(g.change.Action)+" "+kind(g.change.Object)+" "+g.change.Name) + " " + groupSize(g)
	if g.Cause != "" {
		title += ", by " + codeHTML(g.Cause)
	}
	if level == asLine {
		fmt.Fprintf(&b, "%s in %s\n\n", code(sign(g.change.Action)+" "+full(g.change.Object), maxName), count(len(g.Namespaces), "namespace"))
		return b.String()
	}
	open(&b, title)
	for _, except := range []struct {
		how   string
		names []string
	}{{"Otherwise in", g.Otherwise}, {"Unchanged in", g.Unchanged}} {
		if len(except.names) > 0 {
			names, more := where(nil, except.names, 10)
			fmt.Fprintf(&b, "%s %s.\n\n", except.how, join(codes(names), more))
		}
	}
	var lines []string
	lines = diff(lines, g.change, level)
	fence(&b, lines)
	shut(&b)
	return b.String()
}

// codeHTML is code for inside of <summary>, where Markdown is not read.
func codeHTML(s string) string {
	return "<code>" + html.EscapeString(cmp.Or(inert(s, maxName), "(none)")) + "</code>"
}

func tenantBlock(t tenant, level int) string {
	var b strings.Builder
	note := count(t.changes, "object")
	if t.risk != review.Info {
		note += ", " + string(t.risk) + " risk"
	}
	if t.grouped > 0 {
		note += fmt.Sprintf(", %s as in many namespaces", thousands(t.grouped))
	}
	if level == asLine || len(t.clusters) == 0 {
		fmt.Fprintf(&b, "Tenant %s: %s\n\n", code(t.name, maxMarkdownName), note)
		return b.String()
	}
	open(&b, fmt.Sprintf("Tenant %s: %s", codeHTML(t.name), note))
	for _, c := range t.clusters {
		for _, n := range c.namespaces {
			head := "Whole tenant"
			if n.name != "" {
				head = "Namespace " + code(n.name, maxMarkdownName)
			}
			if c.name != "" {
				head += " on cluster " + code(c.name, maxMarkdownName)
			}
			fmt.Fprintf(&b, "%s\n\n", head)
			var lines []string
			for _, change := range n.changes {
				lines = diff(lines, change, level)
			}
			fence(&b, lines)
		}
	}
	shut(&b)
	return b.String()
}

func open(b *strings.Builder, title string) {
	fmt.Fprintf(b, "<details><summary>%s</summary>\n\n", title)
}

func shut(b *strings.Builder) { b.WriteString("</details>\n\n") }

// diff adds the lines of one object. Each begins with a mark of a diff or a space,
// so that none can be a command of the forge.
func diff(lines []string, c *review.Change, level int) []string {
	mark := sign(c.Action)
	if mark == "~" || mark == ">" {
		mark = "!"
	}
	name := fmt.Sprintf("%s %s %s", mark, inert(kind(c.Object), maxMarkdownName), inert(c.Name, maxName))
	if note := join(movedFrom(c), inert(c.Place.String(), maxName)); note != "" {
		name += "  # " + note
	}
	lines = append(lines, name)
	if level >= withObjects {
		return lines
	}
	if level == withDeleted && c.Action == review.Deleted {
		for _, l := range content(c.Content, maxMarkdownLines) {
			lines = append(lines, "-     "+l)
		}
	}
	if c.Action == review.Created {
		for _, l := range content(c.Content, maxMarkdownLines) {
			lines = append(lines, "+     "+l)
		}
	}
	for _, f := range c.Fields[:min(len(c.Fields), maxMarkdownFields)] {
		lines = append(lines, fieldLines(f)...)
	}
	if n := len(c.Fields) - maxMarkdownFields; n > 0 {
		lines = append(lines, "      … "+count(n, "more field"))
	}
	return lines
}

func fieldLines(f review.Field) []string {
	mark, path, what := line(f)
	switch {
	case mark != "~":
		return []string{mark + "   " + path + ": " + what}
	case f.Old == review.Redacted || f.New == review.Redacted:
		return []string{"!   " + path + ": " + what}
	}
	was, is := spans(f.Old, f.New)
	return []string{"-   " + path + ": " + was.String(), "+   " + path + ": " + is.String()}
}

// fence writes a block that nothing inside can close.
func fence(b *strings.Builder, lines []string) {
	body := strings.Join(lines, "\n")
	marks := strings.Repeat("`", max(3, longestRun(body)+1))
	fmt.Fprintf(b, "%sdiff\n%s\n%s\n\n", marks, body, marks)
}

func longestRun(s string) int {
	longest, run := 0, 0
	for _, r := range s {
		if r != '`' {
			run = 0
			continue
		}
		run++
		longest = max(longest, run)
	}
	return longest
}

// code is s as a code span: forges look for mentions, references and links
// everywhere else.
func code(s string, limit int) string {
	s = inert(s, limit)
	if strings.TrimSpace(s) == "" {
		return "(none)"
	}
	marks := strings.Repeat("`", longestRun(s)+1)
	if strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") || strings.HasPrefix(s, " ") || strings.HasSuffix(s, " ") {
		s = " " + s + " "
	}
	return marks + s + marks
}

func codes(names []string) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = code(n, maxMarkdownName)
	}
	return strings.Join(out, ", ")
}

// prose is a sentence: plain words stay as they are, and everything else, such as
// names, becomes code.
func prose(s string) string {
	var out, odd []string
	flush := func() {
		if len(odd) > 0 {
			out = append(out, code(strings.Join(odd, " "), allRows))
			odd = nil
		}
	}
	for word := range strings.SplitSeq(inert(s, maxMessage), " ") {
		name := strings.TrimRight(word, punctuation)
		switch {
		case plain(word), word == "→":
			flush()
			out = append(out, word)
		case name != "":
			odd = append(odd, name)
			if name != word { // the sentence's, not the name's
				flush()
				out[len(out)-1] += word[len(name):]
			}
		case word != "":
			odd = append(odd, word)
		}
	}
	flush()
	return strings.Join(out, " ")
}

// plain is whether a word of a sentence means nothing to any forge: letters, or a
// short number, and punctuation at the end. Seven characters of hexadecimal may be
// a commit.
func plain(word string) bool {
	word = strings.TrimRight(word, punctuation)
	if len(word) > 1 && isLetter(word[len(word)-2]) {
		word = strings.TrimSuffix(word, ".")
	}
	if word == "" {
		return false
	}
	digits, hex := 0, 0
	for i := range len(word) {
		c := word[i]
		switch {
		case c >= '0' && c <= '9':
			digits++
			hex++
		case c == '\'' && i > 0 && isLetter(word[i-1]):
		case !isLetter(c):
			return false
		case c|0x20 <= 'f':
			hex++
		}
	}
	if digits > 0 {
		return digits == len(word) && digits < 7
	}
	return hex < len(word) || len(word) < 7
}

// punctuation ends a word and is no part of it.
const punctuation = ",;:"

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

// cell is s within a row of a table. A pipe after a backslash is read in two ways
// by the forges, so that one is escaped by its number.
func cell(s string) string {
	var b strings.Builder
	for i := range len(s) {
		switch {
		case s[i] != '|':
			b.WriteByte(s[i])
		case i > 0 && s[i-1] == '\\':
			b.WriteString(`u007c`)
		default:
			b.WriteString(`\|`)
		}
	}
	return b.String()
}

// safeLink is a link that cannot leave its place in the comment; "" for any other.
func safeLink(link string) string {
	u, err := url.Parse(link)
	if err != nil || len(link) > maxMessage || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return ""
	}
	if link = u.String(); strings.ContainsAny(link, "<>\\ \"'`|") || inert(link, maxMessage) != link {
		return ""
	}
	return link
}
