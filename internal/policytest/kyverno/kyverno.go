// Package kyverno runs the tests of Kyverno's policies with the code of Kyverno's
// own command, for package policytest. Only the program itself imports it: it makes
// a program nearly twice as large.
//
// It asks no cluster, no registry and no server: a test with a policy that would is
// told apart before it runs, and reported as not asked. What Kyverno logs is not
// printed, and what it breaks off on is an error of the test.
package kyverno

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	command "github.com/kyverno/kyverno/cmd/cli/kubectl-kyverno/commands/test"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/aetherplatform/aether/internal/policytest"
)

// Tests runs them.
type Tests struct{}

var _ policytest.Runner = Tests{}

// longest bounds one test: nothing counts what Kyverno's rules cost.
const longest = 2 * time.Minute

// one holds tests apart: Kyverno's command keeps what a test is about in globals. A
// test that did not come to an end has it for good.
var one = make(chan struct{}, 1)

var (
	errEndless  = errors.New("a test before it did not come to an end, so no other is run")
	errTooLong  = fmt.Errorf("it did not come to an end within %v; make it smaller", longest)
	errPanicked = errors.New("it makes Kyverno break off; take policies and objects out until it runs, to find which it is")
)

// quiet has Kyverno keep to itself what it logs.
var quiet = sync.OnceFunc(func() {
	log.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard())
})

// Run implements policytest.Runner.
func (Tests) Run(ctx context.Context, root, dir string) (policytest.Outcome, error) {
	quiet()
	files, err := read(root)
	if err != nil {
		return policytest.Outcome{}, err
	}
	if why := files.leaves(); why != "" {
		return policytest.Outcome{NotAsked: why}, nil
	}
	select {
	case one <- struct{}{}:
	default:
		return policytest.Outcome{}, errEndless
	}
	files.teachPlurals()

	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	type ran struct {
		out []byte
		err error
	}
	done := make(chan ran, 1)
	go func() {
		r := ran{err: errPanicked}
		defer func() {
			_ = recover() // its value may hold what is secret
			<-one
			done <- r
		}()
		r.out, r.err = run(ctx, dir)
	}()
	select {
	case r := <-done:
		return outcome(r.out, r.err)
	case <-ctx.Done():
		return policytest.Outcome{}, errTooLong
	}
}

func run(ctx context.Context, dir string) ([]byte, error) {
	var out bytes.Buffer
	cmd := command.Command()
	cmd.SetArgs([]string{dir, "--require-tests", "--detailed-results", "--remove-color", "--output-format", "json"})
	cmd.SetOut(&out)
	cmd.SetErr(io.Discard)
	cmd.SilenceErrors = true
	err := cmd.ExecuteContext(ctx)
	return out.Bytes(), err
}

// outcome reads what Kyverno's command prints: progress, then the rows. It fails
// when a row does, which the row says too.
func outcome(out []byte, err error) (o policytest.Outcome, _ error) {
	progress, table, found := bytes.Cut(out, []byte("  Checking results ...\n"))
	if !found {
		if err == nil || errors.Is(err, errPanicked) {
			return o, errPanicked
		}
		return o, errors.New(strings.TrimPrefix(reason(string(progress), err), "failed to run test "))
	}
	var rows []struct{ Policy, Rule, Resource, Result, Reason, Message string }
	if err := json.NewDecoder(bytes.NewReader(table)).Decode(&rows); err != nil {
		return o, fmt.Errorf("what Kyverno prints of it cannot be read: %w", err)
	}
	for _, r := range rows {
		o.Rows = append(o.Rows, policytest.Row{
			Policy: r.Policy, Rule: r.Rule, Resource: r.Resource, Reason: r.Reason, Message: r.Message, Passed: r.Result == "Pass",
		})
	}
	for line := range strings.Lines(string(progress)) {
		if what, is := strings.CutPrefix(strings.TrimSpace(line), "ERROR: "); is {
			o.Notes = append(o.Notes, what)
		}
	}
	return o, nil
}

// reason is why a test was not run: of a file that it cannot read Kyverno's command
// returns the number, and prints the error.
func reason(progress string, err error) string {
	if _, why, is := strings.Cut(progress, "    Error: "); is {
		return why
	}
	return err.Error()
}
