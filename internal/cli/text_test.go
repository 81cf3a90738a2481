package cli_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aetherplatform/aether/internal/cli"
)

func TestNearestNamesAreThoseThatWereMeant(t *testing.T) {
	names := []string{"acme-web", "acme-payments", "globex-web", "initech-prod"}
	for typed, test := range map[string]struct {
		why  string
		want []string
	}{
		"acme-wbe": {"two letters swapped", []string{"acme-web"}},
		"web":      {"the tenant's prefix left out", []string{"acme-web", "globex-web"}},
		"acme-pay": {"only begun", []string{"acme-payments"}},
		"zzz":      {"nothing is near", nil},
	} {
		got := cli.Nearest(typed, names)
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("Nearest(%q): %s (-want +got):\n%s", typed, test.why, diff)
		}
	}
}

func TestRevisionsAreShortenedToWhatAPersonCompares(t *testing.T) {
	for revision, want := range map[string]string{
		"main@sha1:3b1f0c8a7d2e4f5a6b7c8d9e0f1a2b3c4d5e6f70": "main@3b1f0c8",
		"sha1:3b1f0c8a7d2e4f5a6b7c8d9e0f1a2b3c4d5e6f70":      "3b1f0c8",
		"refs/tags/v1.2.3": "refs/tags/v1.2.3",
		"":                 "",
	} {
		if got := cli.ShortRevision(revision); got != want {
			t.Errorf("ShortRevision(%q) = %q, want %q", revision, got, want)
		}
	}
}

func TestTablesAlignWhateverTheColour(t *testing.T) {
	table := cli.NewTable("NAME", "READY", "NOTE")
	table.Add(cli.Text("a"), cli.Cell{Text: "True", Style: cli.Good}, cli.Text("größer"))
	table.Add(cli.Text("long-name"), cli.Cell{Text: "False", Style: cli.Bad}, cli.Cell{})

	var plain, coloured bytes.Buffer
	table.Print(&plain, false)
	table.Print(&coloured, true)
	want := "NAME        READY   NOTE\na           True    größer\nlong-name   False\n"
	if diff := cmp.Diff(want, plain.String()); diff != "" {
		t.Errorf("plain (-want +got):\n%s", diff)
	}
	want = "NAME        READY   NOTE\na           \x1b[32mTrue\x1b[0m    größer\nlong-name   \x1b[31mFalse\x1b[0m\n"
	if diff := cmp.Diff(want, coloured.String()); diff != "" {
		t.Errorf("coloured (-want +got):\n%s", diff)
	}
}

func TestErrorsAreTheCauseAndThenWhatToTry(t *testing.T) {
	for _, test := range []struct {
		err  error
		code int
		text string
	}{
		{nil, cli.ExitOK, ""},
		{cli.Findings(), cli.ExitFindings, ""},
		{fmt.Errorf("cannot do it: %w", cli.Usage("another way", "no way")), cli.ExitUsage, "error: cannot do it: no way\ntry:   another way\n"},
		{errors.New("unforeseen"), cli.ExitUsage, "error: unforeseen\n"},
	} {
		var w bytes.Buffer
		if code := cli.Report(&w, test.err); code != test.code || w.String() != test.text {
			t.Errorf("Report(%v) = %d, %q; want %d, %q", test.err, code, w.String(), test.code, test.text)
		}
	}
}
