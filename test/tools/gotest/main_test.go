package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWhatFailedIsPrintedAndWhatWasSkippedIsNamed(t *testing.T) {
	events := `
{"Action":"start","Package":"a"}
{"Action":"output","Package":"a","Test":"TestGood","Output":"noise\n"}
{"Action":"pass","Package":"a","Test":"TestGood"}
{"Action":"output","Package":"a","Test":"TestNode","Output":"=== RUN   TestNode\n"}
{"Action":"output","Package":"a","Test":"TestNode","Output":"    node_test.go:7: needs root\n"}
{"Action":"skip","Package":"a","Test":"TestNode"}
{"Action":"pass","Package":"a","Elapsed":1.5}
{"Action":"output","Package":"b","Test":"TestBad","Output":"    bad_test.go:3: got 1, want 2\n"}
{"Action":"fail","Package":"b","Test":"TestBad"}
{"Action":"output","Package":"b","Test":"TestCutOff","Output":"panic: no\n"}
{"Action":"output","Package":"b","Output":"FAIL\n"}
{"Action":"fail","Package":"b","Elapsed":0.5}
{"Action":"build-output","ImportPath":"c","Output":"c.go:1: syntax error\n"}
{"Action":"fail","Package":"c","Elapsed":0}
{"Action":"skip","Package":"d"}
go: a line that is no event
`
	want := `ok       1.5 s  a
    bad_test.go:3: got 1, want 2
FAIL
panic: no
FAIL     0.5 s  b
c.go:1: syntax error
FAIL     0.0 s  c
go: a line that is no event

1 tests passed, 1 skipped, 3 failed
  skipped a TestNode: node_test.go:7: needs root
  FAILED  b TestBad
  FAILED  b
  FAILED  c
`
	var out strings.Builder
	if err := newReport(&out).read(strings.NewReader(strings.TrimPrefix(events, "\n"))); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("the report (-want +got):\n%s", diff)
	}
}
