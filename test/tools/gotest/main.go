// Command gotest runs `go test` so that a person can follow it: a line a package
// as it ends, the whole output of what failed, and at the end what was skipped
// and why. It exits as `go test` does.
//
//	go run ./test/tools/gotest [arguments of go test]
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
)

func main() {
	// The tests get the interrupt too; what they say as they end is still printed.
	signal.Notify(make(chan os.Signal, 1), os.Interrupt)
	cmd := exec.Command("go", append([]string{"test", "-json"}, os.Args[1:]...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		fail(err)
	}
	if err := cmd.Start(); err != nil {
		fail(err)
	}
	if err := newReport(os.Stdout).read(out); err != nil {
		fail(err)
	}
	var ended *exec.ExitError
	if err := cmd.Wait(); errors.As(err, &ended) {
		os.Exit(max(1, ended.ExitCode()))
	} else if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "gotest:", err)
	os.Exit(1)
}

// event is what `go test -json` writes, see `go doc test2json`.
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
	Elapsed    float64
}

// report gathers the output of each test until it is known whether it is of interest.
type report struct {
	to      io.Writer
	output  map[string][]string // by package and test
	passed  int
	failed  []string
	skipped []string
}

func newReport(to io.Writer) *report { return &report{to: to, output: map[string][]string{}} }

func (r *report) read(from io.Reader) error {
	lines := bufio.NewReader(from)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				fmt.Fprintf(r.to, "%s", line) // not of test2json: as it is
			} else {
				r.take(e)
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	r.summarize()
	return nil
}

func (r *report) take(e event) {
	name := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		r.output[name] = append(r.output[name], e.Output)
		return
	case "build-output":
		fmt.Fprint(r.to, e.Output)
		return
	case "pass", "fail", "skip":
	default:
		return
	}
	output := r.output[name]
	delete(r.output, name)
	switch {
	case e.Test == "":
		r.endPackage(e, output)
	case e.Action == "pass":
		r.passed++
	case e.Action == "fail":
		r.failed = append(r.failed, name)
		fmt.Fprint(r.to, strings.Join(output, ""))
	case e.Action == "skip":
		r.skipped = append(r.skipped, name+": "+reason(output))
	}
}

func (r *report) endPackage(e event, output []string) {
	switch e.Action {
	case "skip": // no test files
	case "pass":
		fmt.Fprintf(r.to, "ok    %6.1f s  %s\n", e.Elapsed, e.Package)
	case "fail":
		// What was written outside of tests, and by those that a crash cut off.
		for name, lines := range r.output {
			if strings.HasPrefix(name, e.Package+" ") {
				output = append(output, lines...)
				delete(r.output, name)
			}
		}
		r.failed = append(r.failed, e.Package)
		fmt.Fprintf(r.to, "%sFAIL  %6.1f s  %s\n", strings.Join(output, ""), e.Elapsed, e.Package)
	}
}

// reason is what a test said when it was skipped.
func reason(output []string) string {
	for _, line := range output {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "===") && !strings.HasPrefix(line, "---") {
			return line
		}
	}
	return "no reason given"
}

func (r *report) summarize() {
	fmt.Fprintf(r.to, "\n%d tests passed, %d skipped, %d failed\n", r.passed, len(r.skipped), len(r.failed))
	for _, name := range r.skipped {
		fmt.Fprintln(r.to, "  skipped", name)
	}
	for _, name := range r.failed {
		fmt.Fprintln(r.to, "  FAILED ", name)
	}
}
