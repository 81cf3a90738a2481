package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The cluster controller reads of a Pod that has ended why it failed, and nothing secret.
func TestAFailureIsReported(t *testing.T) {
	to := filepath.Join(t.TempDir(), "report")
	var stdout, stderr bytes.Buffer
	code := command(t.Context(), []string{"snapshot", "--endpoint=https://127.0.0.1:1", "--cert=/none/tls.crt", "--key=/none/tls.key", "--report=" + to}, &stdout, &stderr)
	if code != 1 || stdout.Len() > 0 {
		t.Errorf("it ended with %d and wrote %q", code, stdout.String())
	}
	text, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	var said report
	if err := json.Unmarshal(text, &said); err != nil {
		t.Fatal(err)
	}
	if want := "cannot read the client's certificate: open /none/tls.crt: no such file or directory"; said.Error != want || !strings.Contains(stderr.String(), want) {
		t.Errorf("it reported %q and said %q, want %q", said.Error, stderr.String(), want)
	}
}

func TestAMemberStartsEmptyUnlessASnapshotIsAskedFor(t *testing.T) {
	data := filepath.Join(t.TempDir(), "member")
	var stdout, stderr bytes.Buffer
	if code := command(t.Context(), []string{"restore", "--asked=" + filepath.Join(t.TempDir(), "none"), "--data=" + data}, &stdout, &stderr); code != 0 {
		t.Errorf("it ended with %d: %s", code, stderr.String())
	}
	if want := "No snapshot is to be restored\n"; stdout.String() != want {
		t.Errorf("it wrote %q, want %q", stdout.String(), want)
	}
	if _, err := os.Stat(data); err == nil {
		t.Error("the member has data")
	}
}

func TestWrongCallsAreRefused(t *testing.T) {
	for _, args := range [][]string{nil, {"delete"}, {"snapshot", "--none"}, {"snapshot", "more"}} {
		var stdout, stderr bytes.Buffer
		if code := command(t.Context(), args, &stdout, &stderr); code != 2 || stderr.Len() == 0 {
			t.Errorf("%v: ended with %d and said %q", args, code, stderr.String())
		}
	}
}
