package authority

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds on a CODEOWNERS file, those of the forges and above what people write.
const (
	maxCodeOwnersBytes = 3 << 20
	maxRules           = 20_000
	maxPatternBytes    = 1_024
)

// codeOwners is a CODEOWNERS file: rules by section. What is written before any
// section header is a section too.
//
// It is read here and not by a library: the one there is (hmarr/codeowners) knows
// no sections, gives up the whole file at the first line it does not understand,
// refuses characters that paths may have, and panics on the pattern "/".
//
// There are two dialects. GitLab's has sections, and takes a path that does not begin
// with a slash to be at any depth, and one that does not end with one to be a file.
// A file is in it if it is where only GitLab looks, or has a section.
type codeOwners struct {
	file     string
	gitlab   bool
	sections []*section
	faults   []fault
}

// section of a file, as GitLab has them: each names owners of its own.
type section struct {
	name     string
	optional bool
	// approvals that are needed of its owners.
	approvals int
	defaults  []string
	rules     []rule
}

// rule gives the files of a pattern their owners. None takes them away.
type rule struct {
	line    int
	pattern *regexp.Regexp
	owners  []string
	exclude bool
}

// fault is a line that says nothing, and why.
type fault struct {
	line    int
	message string
}

// parseCodeOwners reads a file. Lines that it cannot read are faults; the others
// hold.
func parseCodeOwners(file string, data []byte) *codeOwners {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	c := &codeOwners{file: file, gitlab: file == gitlabFile || hasSections.Match(data)}
	current := c.section("")
	rules := 0
	for i, raw := range bytes.Split(data, []byte("\n")) {
		number := i + 1
		if !utf8.Valid(raw) {
			c.fault(number, "is not UTF-8 text; save the file as UTF-8")
			continue
		}
		line := strings.TrimSpace(string(raw))
		if line == "" || line[0] == '#' {
			continue
		}
		if rules++; rules > maxRules {
			c.fault(number, fmt.Sprintf("has more than %d rules; what follows is not read", maxRules))
			break
		}
		if strings.HasPrefix(line, "[") || strings.HasPrefix(line, "^[") {
			if s, ok := c.header(number, line); ok {
				current = s
			}
			continue
		}
		r, err := parseRule(line, c.gitlab)
		if err != nil {
			c.fault(number, err.Error())
			continue
		}
		r.line = number
		if len(r.owners) == 0 && !r.exclude {
			r.owners = current.defaults
		}
		current.rules = append(current.rules, r)
	}
	return c
}

func (c *codeOwners) fault(line int, message string) {
	c.faults = append(c.faults, fault{line, message})
}

// section finds one by its name, or begins it: sections of the same name are one.
func (c *codeOwners) section(name string) *section {
	for _, s := range c.sections {
		if strings.EqualFold(s.name, name) {
			return s
		}
	}
	s := &section{name: name, approvals: 1}
	c.sections = append(c.sections, s)
	return s
}

// sectionHeader is "[name]", "^[name]", "[name][2] @owner".
var sectionHeader = regexp.MustCompile(`^(\^)?\[([^\[\]]+)\](?:\[(\d+)\])?(?:\s+(.*))?$`)

// hasSections is whether a file has a line that GitHub and Gitea have no use for.
var hasSections = regexp.MustCompile(`(?m)^[ \t]*\^?\[[^\[\]\r\n]+\](?:\[\d+\])?(?:[ \t].*)?\r?$`)

// gitlabFile is where no other forge looks.
const gitlabFile = ".gitlab/CODEOWNERS"

func (c *codeOwners) header(number int, line string) (*section, bool) {
	m := sectionHeader.FindStringSubmatch(line)
	if m == nil {
		c.fault(number, `is no section; write [Name], ^[Name] or [Name][2] @owner, and "\[" where a path begins with a bracket`)
		return nil, false
	}
	owners, err := parseOwners(m[4])
	if err != nil {
		c.fault(number, err.Error())
		return nil, false
	}
	s := c.section(strings.TrimSpace(m[2]))
	// Of sections of the same name, one that is required makes them so.
	s.optional = m[1] != "" && (s.optional || len(s.rules) == 0)
	s.defaults = owners
	// 0 and what is no number count as 1; of sections of the same name the most holds.
	if n, err := strconv.Atoi(m[3]); err == nil {
		s.approvals = max(s.approvals, n)
	}
	return s, true
}

// parseRule reads "<pattern> <owner>…".
func parseRule(line string, gitlab bool) (rule, error) {
	end := len(line)
	for i, escaped := 0, false; i < len(line); i++ {
		if !escaped && (line[i] == ' ' || line[i] == '\t') {
			end = i
			break
		}
		escaped = !escaped && line[i] == '\\'
	}
	r := rule{}
	text := line[:end]
	if strings.HasPrefix(text, "!") {
		r.exclude, text = true, text[1:]
	}
	var err error
	if r.pattern, err = compilePattern(text, gitlab); err != nil {
		return rule{}, err
	}
	r.owners, err = parseOwners(line[end:])
	return r, err
}

// owner is a user, a team, a role or an address: @user, @group/sub/team, @@role,
// name@example.com.
var owner = regexp.MustCompile(`^(@{1,2}[\pL\pN][\pL\pN._/-]*|[^\s@<>()]+@[\pL\pN.-]+)$`)

func parseOwners(text string) ([]string, error) {
	var owners []string
	for _, word := range strings.Fields(text) {
		if word[0] == '#' {
			break
		}
		if !owner.MatchString(word) {
			return nil, fmt.Errorf("%q is no owner; write @user, @organisation/team or an e-mail address", shorten(word))
		}
		owners = append(owners, word)
	}
	return owners, nil
}

// compilePattern makes an expression that matches a file's path as CODEOWNERS
// does: a pattern without a slash, but for one at the end, matches at any depth;
// what names a directory matches all that is below it; "*" and "?" end at a
// slash, "**" does not. For GitLab every pattern that does not begin with a slash
// matches at any depth, and only one that ends with a slash, or in "*" alone, names
// a directory. Go's expressions take linear time whatever the pattern.
func compilePattern(text string, gitlab bool) (*regexp.Regexp, error) {
	switch {
	case len(text) > maxPatternBytes:
		return nil, fmt.Errorf("has a pattern of more than %d bytes; name a directory above it", maxPatternBytes)
	case strings.Trim(text, "/") == "":
		return nil, fmt.Errorf(`%q is no pattern; write "*" for every file`, text)
	case strings.Contains(text, "***"):
		return nil, fmt.Errorf(`%q: "***" is no pattern; write "**"`, shorten(text))
	case strings.ContainsFunc(text, unicode.IsControl):
		return nil, fmt.Errorf("%q has a control character; take it out", shorten(text))
	}
	anchored := strings.Contains(strings.TrimSuffix(text, "/"), "/")
	if gitlab {
		anchored = strings.HasPrefix(text, "/")
	}
	directory := strings.HasSuffix(text, "/")
	segments := strings.Split(strings.Trim(text, "/"), "/")
	if !anchored && segments[0] != "**" {
		segments = append([]string{"**"}, segments...)
	}
	var b strings.Builder
	b.WriteString(`\A`)
	for i, s := range segments {
		last := i == len(segments)-1
		switch {
		case s == "":
			return nil, fmt.Errorf(`%q has an empty segment; write one "/"`, shorten(text))
		case s == "**" && last:
			b.WriteString(`.+`)
		case s == "**":
			b.WriteString(`(?:.+/)?`)
		default:
			if err := writeSegment(&b, s); err != nil {
				return nil, err
			}
			switch {
			case !last || directory:
				b.WriteString(`/`)
			case s == "*" && anchored, gitlab && text != "*":
				// "docs/*" is the files in docs, not those of its directories.
			default:
				b.WriteString(`(?:/.*)?`)
			}
			if last && directory {
				b.WriteString(`.*`)
			}
		}
	}
	b.WriteString(`\z`)
	return regexp.Compile("(?s)" + b.String())
}

func writeSegment(b *strings.Builder, segment string) error {
	if segment == "*" {
		b.WriteString(`[^/]+`)
		return nil
	}
	escaped := false
	for _, r := range segment {
		switch {
		case escaped:
			b.WriteString(regexp.QuoteMeta(string(r)))
			escaped = false
		case r == '\\':
			escaped = true
		case r == '*':
			b.WriteString(`[^/]*`)
		case r == '?':
			b.WriteString(`[^/]`)
		case r == '[' || r == ']':
			return fmt.Errorf("%q: ranges in brackets are not part of CODEOWNERS; write a line for each, or \\[ for the character", shorten(segment))
		default:
			b.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	if escaped {
		return fmt.Errorf(`%q ends in a backslash; take it away`, shorten(segment))
	}
	return nil
}

// owned is who owns a path by one section.
type owned struct {
	section   string
	optional  bool
	approvals int
	owners    []string
	line      int
}

// owners of a path, by section: in each the last line that matches decides.
func (c *codeOwners) owners(path string) []owned {
	var all []owned
	for _, s := range c.sections {
		for _, r := range slices.Backward(s.rules) {
			if !r.pattern.MatchString(path) {
				continue
			}
			if !r.exclude && len(r.owners) > 0 {
				all = append(all, owned{section: s.name, optional: s.optional, approvals: s.approvals, owners: r.owners, line: r.line})
			}
			break
		}
	}
	return all
}

// shorten keeps a message of a size.
func shorten(text string) string {
	const most = 80
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}
