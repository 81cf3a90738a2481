package policytest

import (
	"fmt"
	"path"
	"strings"
)

// covers says whether a row is about what is expected.
func (e *Expectation) covers(row Row) bool {
	if e.Policy != row.Policy {
		return false
	}
	if e.payload {
		return path.Clean(e.Resource) == row.Resource
	}
	parts := strings.Split(row.Resource, "/")
	if len(parts) < 3 { // kind, namespace, name
		return e.Resource == "" || e.Resource == row.Resource
	}
	name, namespace, kind := parts[len(parts)-1], parts[len(parts)-2], parts[len(parts)-3]
	// Kyverno takes the name alone, so that objects of other kinds with the same name
	// are Excluded: they were never meant.
	if row.Reason == reasonExcluded && e.Kind != "" && !strings.EqualFold(e.Kind, kind) {
		return false
	}
	return e.Resource == "" || e.Resource == name || e.Resource == namespace+"/"+name
}

// judge tells what became of each expectation. Rows come in the order of the
// expectations, but say only of which policy and object they are.
func (t *Test) judge(o *Outcome) []Result {
	rows := make([][]Row, len(t.Expect))
	at := 0
	for _, row := range o.Rows {
		for i := at; i < len(t.Expect); i++ {
			if !t.Expect[i].covers(row) || answered(rows[i], row) {
				continue
			}
			rows[i] = append(rows[i], row)
			at = i
			break
		}
	}
	results := make([]Result, 0, len(t.Expect))
	for i := range t.Expect {
		e := &t.Expect[i]
		r := Result{
			Test: t.Name, File: t.File, Line: e.Line, Expected: e.String(),
			Policy: e.Policy, Rule: e.Rule, Resource: e.Resource, Want: e.Want,
		}
		r.Got, r.Failures = e.judge(rows[i], o)
		r.Passed = len(r.Failures) == 0
		results = append(results, r)
	}
	return results
}

// answered says whether a row is of the same rule and object as one before, and so
// belongs to another expectation.
func answered(rows []Row, row Row) bool {
	for _, r := range rows {
		if r.Rule == row.Rule && r.Resource == row.Resource {
			return true
		}
	}
	return false
}

// NotAsked is what a policy says of an object that it was never asked about.
const NotAsked = "not asked"

func (e *Expectation) judge(rows []Row, o *Outcome) (got string, failures []string) {
	fail := func(format string, args ...any) { failures = append(failures, fmt.Sprintf(format, args...)) }
	switch {
	case o.NotAsked != "" && e.Want == "skip":
		return NotAsked, nil
	case o.NotAsked != "":
		fail("expected %s, and the policy was not asked: %s; expect skip, or test it with Kyverno's own command", e.Want, o.NotAsked)
		return NotAsked, failures
	case len(rows) == 0:
		fail("expected %s, and the policy was not asked: there is no such policy, rule or object in the files of the test", e.Want)
		return NotAsked, append(failures, notes(o)...)
	}
	got = e.Want
	for _, row := range rows {
		what := row.Resource
		if row.Rule != "" {
			what = "rule " + row.Rule + ": " + what
		}
		switch {
		case row.Reason == reasonExcluded && e.Want == "skip":
			got = NotAsked
		case row.Reason == reasonExcluded:
			got = NotAsked
			fail("%s: expected %s, and the policy was not asked: it is not about the object; correct what it matches, or expect skip", what, e.Want)
		case row.Reason == reasonNotFound:
			got = NotAsked
			fail("%s: expected %s, and the policy was not asked: there is no such policy or rule in the files of the test, or it is not about the object", what, e.Want)
			failures = append(failures, notes(o)...)
		case row.Passed && row.Reason == reasonOK:
		default:
			got = row.Reason
			if _, other, is := strings.Cut(row.Reason, ", got "); is {
				got = other
			}
			line := fmt.Sprintf("%s: expected %s, got %s", what, e.Want, got)
			if row.Message != "" && row.Message != row.Reason {
				line += ": " + oneLine(row.Message)
			}
			failures = append(failures, line)
		}
	}
	return got, failures
}

func notes(o *Outcome) []string {
	all := make([]string, 0, len(o.Notes))
	for _, note := range o.Notes {
		all = append(all, "could not be loaded: "+note)
	}
	return all
}
