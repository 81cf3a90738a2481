package config

import (
	"errors"
	"fmt"
	"strings"
)

// Places say where fields were set, so that a problem is told where it can be mended. The
// zero value knows of no file.
type Places struct {
	file  string
	lines map[string]int    // of fields that the file has
	flags map[string]string // that came after the file
}

// SetBy says that a flag set a field, whatever the file says.
func (p *Places) SetBy(flag, field string) {
	if p.flags == nil {
		p.flags = map[string]string{}
	}
	p.flags[field] = flag
}

// Of is how a message about a field begins: the flag that set it, or the line of the file
// that has it, or else what it is in.
func (p Places) Of(field string) string {
	list, _, _ := strings.Cut(field, "[") // a flag sets the whole of it
	if flag := p.flags[list]; flag != "" {
		return "--" + flag
	}
	if p.file == "" {
		return field
	}
	for at := field; at != ""; at = at[:max(0, strings.LastIndexAny(at, ".["))] {
		if line := p.lines[at]; line > 0 {
			return fmt.Sprintf("%s:%d: %s", p.file, line, field)
		}
	}
	return p.file + ": " + field
}

// Explain is an error with all problems, each with its place; nil where there are none.
func (p Places) Explain(problems Problems) error {
	var errs []error
	for _, problem := range problems {
		errs = append(errs, errors.New(p.Of(problem.Field)+": "+problem.Message))
	}
	return errors.Join(errs...)
}
