package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/jsonschema-go/jsonschema"

	"github.com/aetherplatform/aether/internal/review"
)

var writers = map[string]func(io.Writer, *review.Report) error{
	"report.txt":        func(w io.Writer, r *review.Report) error { return Text(w, r, Options{}) },
	"report-colour.txt": func(w io.Writer, r *review.Report) error { return Text(w, r, Options{Color: true}) },
	"report.json":       JSON,
	"report.html":       HTML,
	"report.sarif":      SARIF,
	"report.md": func(w io.Writer, r *review.Report) error {
		s, _ := Markdown(r, 65536, Options{Link: "https://ci.example.com/aether/17"})
		_, err := io.WriteString(w, s)
		return err
	},
}

func TestReportsReadAsReviewed(t *testing.T) {
	for name, write := range writers {
		t.Run(name, func(t *testing.T) { golden(t, name, written(t, write, sample())) })
	}
}

func TestTheSameReportGivesTheSameBytes(t *testing.T) {
	for name, write := range writers {
		t.Run(name, func(t *testing.T) {
			first := written(t, write, sample())
			for range 5 {
				if diff := cmp.Diff(string(first), string(written(t, write, sample()))); diff != "" {
					t.Fatalf("written twice, they differ:\n%s", diff)
				}
			}
		})
	}
}

func TestNothingOfAReportIsChangedByWritingIt(t *testing.T) {
	r := sample()
	for _, write := range writers {
		written(t, write, r)
	}
	if diff := cmp.Diff(sample(), r); diff != "" {
		t.Errorf("a writer changed the report:\n%s", diff)
	}
}

func TestAnEmptyReportIsWritten(t *testing.T) {
	for name, write := range writers {
		t.Run(name, func(t *testing.T) {
			if len(written(t, write, &review.Report{})) == 0 {
				t.Error("nothing is written")
			}
		})
	}
	s, _ := Markdown(&review.Report{}, 0, Options{})
	if !strings.Contains(s, "No object changes") {
		t.Errorf("a change that changes nothing does not say so:\n%s", s)
	}
}

func TestAFullDiskIsAnError(t *testing.T) {
	for name, write := range writers {
		if write(broken{}, sample()) == nil {
			t.Errorf("%s: what could not be written is no error", name)
		}
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func written(t *testing.T, write func(io.Writer, *review.Report) error, r *review.Report) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// What a person sees is what is there, in every output.
func TestNoOutputHidesOrCommands(t *testing.T) {
	for name, write := range writers {
		if name == "report-colour.txt" {
			continue // it commands colours
		}
		for _, s := range hostile {
			invisible(t, name, s, written(t, write, poisoned(s)))
		}
	}
}

func invisible(t *testing.T, name, s string, out []byte) {
	t.Helper()
	if !utf8.Valid(out) {
		t.Errorf("%s: %q gives invalid UTF-8", name, s)
	}
	for _, r := range string(out) {
		if r != '\n' && !visible(r) {
			t.Errorf("%s: %q gives %U", name, s, r)
			return
		}
	}
}

func TestColourIsTheOnlyCommandToATerminal(t *testing.T) {
	for _, s := range hostile {
		out := string(written(t, writers["report-colour.txt"], poisoned(s)))
		for _, code := range []string{"0", red, green, yellow, bold, faint} {
			out = strings.ReplaceAll(out, "\x1b["+code+"m", "")
		}
		invisible(t, "report-colour.txt", s, []byte(out))
	}
}

// A line of text begins with what we wrote, so that no value forges a line.
func TestAValueStaysOnItsLine(t *testing.T) {
	plainLines := bytes.Count(written(t, writers["report.txt"], poisoned("x")), []byte("\n"))
	for _, s := range []string{"x\nTenant forged", "x\r\nerror", "x\u2028y", "x\u0085y", "x\vy\fz"} {
		r := poisoned("x")
		r.Findings[0].Title, r.Errors[0].Message, r.Changes[1].Fields[0].Path, r.Changes[1].Name = s, s, s, s
		if n := bytes.Count(written(t, writers["report.txt"], r), []byte("\n")); n != plainLines {
			t.Errorf("%q makes %d lines of %d", s, n, plainLines)
		}
	}
}

func TestALongValueShowsWhereItDiffers(t *testing.T) {
	long := strings.Repeat("a", 100_000)
	was, is := spans(long+"allow"+long, long+"deny"+long)
	if was.Differs != "allow" || is.Differs != "deny" {
		t.Errorf("differs: %q and %q, want allow and deny", was.Differs, is.Differs)
	}
	if len(was.String()) > 1000 {
		t.Errorf("%d bytes are shown of a long value", len(was.String()))
	}
	if got := inert(long, maxValue); !strings.HasSuffix(got, "… (100,000 bytes in all)") {
		t.Errorf("a cut text does not say so: %q", got[maxValue-10:])
	}
}

func TestJSONIsTheReport(t *testing.T) {
	var got review.Report
	r := poisoned("\u202e<&\u009b\U000e0041")
	if err := json.Unmarshal(written(t, JSON, r), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, &got); diff != "" {
		t.Errorf("read back, it is another (-want +got):\n%s", diff)
	}
	if out := string(written(t, JSON, &review.Report{})); strings.Contains(out, "null") {
		t.Errorf("an empty list is null:\n%s", out)
	}
}

func TestWhatIsSecretIsMarkedAndNotShown(t *testing.T) {
	for name, write := range writers {
		if name == "report.json" || name == "report.sarif" {
			continue
		}
		if out := written(t, write, sample()); !bytes.Contains(out, []byte("changed, value not shown")) {
			t.Errorf("%s does not say that a secret changed", name)
		}
	}
}

func TestAGroupIsShownOnceWithItsExceptions(t *testing.T) {
	out := string(written(t, writers["report.txt"], sample()))
	if n := strings.Count(out, "53 → 5353"); n != 2 { // the group's, and within 1053
		t.Errorf("the change of the group is shown %d times:\n%s", n-1, out)
	}
	for _, want := range []string{"in 5 namespaces of 2 tenants", "otherwise in globex-shop", "unchanged in acme-legacy"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing:\n%s", want, out)
		}
	}
}

func TestSARIFHoldsWhatForgesAskFor(t *testing.T) {
	var log sarifLog
	if err := json.Unmarshal(written(t, SARIF, sample()), &log); err != nil {
		t.Fatal(err)
	}
	if log.Version != "2.1.0" || len(log.Runs) != 1 || log.Runs[0].Tool.Driver.Name == "" {
		t.Fatalf("not a log of SARIF 2.1.0: %+v", log)
	}
	run := log.Runs[0]
	levels := []string{"none", "note", "warning", "error"}
	seen := map[string]bool{}
	for _, x := range run.Results {
		if x.RuleIndex >= len(run.Tool.Driver.Rules) || run.Tool.Driver.Rules[x.RuleIndex].ID != x.RuleID {
			t.Errorf("%s: its index names another rule", x.RuleID)
		}
		if !slices.Contains(levels, x.Level) || x.Message.Text == "" || len(x.Locations) != 1 {
			t.Errorf("%s: level, message or location is missing: %+v", x.RuleID, x)
		}
		at := x.Locations[0].PhysicalLocation
		if at.ArtifactLocation.URI == "" || strings.HasPrefix(at.ArtifactLocation.URI, "/") || at.Region != nil && at.Region.StartLine < 1 {
			t.Errorf("%s: no place in the repository: %+v", x.RuleID, at)
		}
		if fingerprint := x.PartialFingerprints["aether/v1"]; fingerprint == "" || seen[fingerprint] {
			t.Errorf("%s: its fingerprint is not its own: %q", x.RuleID, fingerprint)
		} else {
			seen[fingerprint] = true
		}
	}
	if len(run.Results) != 2+1+5 {
		t.Errorf("%d results, want 2 errors, 1 new violation and 5 findings", len(run.Results))
	}
}

func TestSARIFIsOfItsSchema(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "sarif-schema-2.1.0.json"))
	if err != nil {
		t.Fatal(err)
	}
	// The validator knows draft 7, in which all that this schema uses is the same but
	// for the name of its own address.
	data = bytes.Replace(data, []byte("json-schema.org/draft-04/schema#"), []byte("json-schema.org/draft-07/schema#"), 1)
	data = bytes.Replace(data, []byte(`"id": "https://docs.oasis-open.org`), []byte(`"$id": "https://docs.oasis-open.org`), 1)
	var document jsonschema.Schema
	if err := json.Unmarshal(data, &document); err != nil {
		t.Fatal(err)
	}
	schema, err := document.Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, report := range map[string]*review.Report{
		"a change of many things": sample(), "nothing": {}, "hostile names": poisoned("\u202e<%&\u009b\x00\n#?:"),
	} {
		var log any
		if err := json.Unmarshal(written(t, SARIF, report), &log); err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(log); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, broken := range map[string]string{
		"no message": `{"version":"2.1.0","runs":[{"tool":{"driver":{"name":"x"}},"results":[{"ruleId":"x"}]}]}`,
		"line 0": `{"version":"2.1.0","runs":[{"tool":{"driver":{"name":"x"}},"results":[{"message":{"text":"x"},"locations":[{"physicalLocation":
			{"artifactLocation":{"uri":"x"},"region":{"startLine":0}}}]}]}]}`,
		"a field of its own": `{"version":"2.1.0","runs":[{"tool":{"driver":{"name":"x"}},"aether":1}]}`,
	} {
		var log any
		if err := json.Unmarshal([]byte(broken), &log); err != nil {
			t.Fatal(err)
		}
		if schema.Validate(log) == nil {
			t.Errorf("%s is taken, so the schema is not asked", name)
		}
	}
}

func TestFingerprintsStayWhileLinesMove(t *testing.T) {
	prints := func(r *review.Report) (out []string) {
		var log sarifLog
		if err := json.Unmarshal(written(t, SARIF, r), &log); err != nil {
			t.Fatal(err)
		}
		for _, x := range log.Runs[0].Results {
			out = append(out, x.PartialFingerprints["aether/v1"])
		}
		return out
	}
	moved := sample()
	for i := range moved.Findings {
		moved.Findings[i].Place.Line += 7
	}
	for i := range moved.Errors {
		moved.Errors[i].Place.Line += 7
	}
	if diff := cmp.Diff(prints(sample()), prints(moved)); diff != "" {
		t.Errorf("fingerprints moved with the lines:\n%s", diff)
	}
}
