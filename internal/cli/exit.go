package cli

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// Exit codes. They are documented in ExitCodes, and scripts rely on them.
const (
	// ExitOK: done, and nothing is wrong.
	ExitOK = 0
	// ExitFindings: the question was answered, and the answer is not good: the fleet
	// has errors, or what was asked about is not ready, or not as it has to be.
	ExitFindings = 1
	// ExitUsage: the command cannot be run as it was written: an unknown command or
	// flag, a wrong argument, a path that cannot be read or written.
	ExitUsage = 2
	// ExitCluster: the cluster could not be asked: it does not answer, it refuses, or
	// Aether is not installed in it.
	ExitCluster = 3
	// ExitNotFound: the cluster answered that there is no such object.
	ExitNotFound = 4
	// ExitRefused: what was compared has errors of its own, or an admission policy
	// would newly refuse it.
	ExitRefused = 5
	// ExitInterrupted: Ctrl-C, as shells have it: 128 and the number of the signal.
	ExitInterrupted = 130
)

// ExitCodes is the table of exit codes for the help of aether.
const ExitCodes = `Exit codes:
    0  done, and nothing is wrong
    1  the fleet has errors, what was asked about is not ready or not as it has to be,
       or there are changes
    2  the command cannot be run as written: a flag, an argument, a path
    3  the cluster could not be asked: no answer, no permission, no Aether in it
    4  there is no such object in the cluster
    5  the change has errors, or a policy would refuse it
  130  interrupted`

// Error is how a command fails.
type Error struct {
	// Code to exit with.
	Code int
	// Err is the cause. Nil when the command has printed all there is to say.
	Err error
	// Try is one line that says what to do about it, or empty.
	Try string
}

// Error is the cause alone.
func (e *Error) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit code %d", e.Code)
	}
	return e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Findings ends a command that has printed what is wrong.
func Findings() error { return &Error{Code: ExitFindings} }

// Usage is the error of a command that cannot be run as it was written.
func Usage(try, format string, args ...any) error {
	return &Error{Code: ExitUsage, Err: fmt.Errorf(format, args...), Try: try}
}

// UsageOf makes an error of cobra, such as a wrong number of arguments, one that
// points to the command's help.
func UsageOf(cmd *cobra.Command, err error) error {
	return Usage(cmd.CommandPath()+" --help", "%w", err)
}

// Args makes a check of arguments point to the command's help.
func Args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return UsageOf(cmd, err)
		}
		return nil
	}
}

// Report prints an error as a person should read it, the cause and then what to
// try, and returns the code to exit with.
func Report(w io.Writer, err error) int {
	if err == nil {
		return ExitOK
	}
	var e *Error
	if !errors.As(err, &e) {
		e = &Error{Code: ExitUsage}
	} else if e.Err == nil {
		return e.Code
	}
	fmt.Fprintf(w, "error: %v\n", err)
	if e.Try != "" {
		fmt.Fprintf(w, "try:   %s\n", e.Try)
	}
	return e.Code
}
