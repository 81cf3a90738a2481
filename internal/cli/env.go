// Package cli is what the commands of aether share: where they read and write,
// how they fail, how they find a fleet on disk and a cluster in a kubeconfig.
//
// Each command is a package below it, named as on the command line; package root
// puts them together. A result goes to standard output, progress and errors go to
// standard error, and nothing is coloured unless a person looks at it.
package cli

import (
	"io"
	"time"

	"github.com/aetherplatform/aether/internal/policytest"
	"github.com/aetherplatform/aether/internal/review/policy"
)

// Env is what a command gets instead of globals.
type Env struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer

	// Color says that Out is a terminal that shows colours.
	Color bool
	// Now is the clock.
	Now func() time.Time
	// Kyverno evaluates Kyverno's policies. Left out, they are listed as not evaluated:
	// only the program itself links it.
	Kyverno policy.Engine
	// KyvernoTests runs the tests of Kyverno's policies. Left out, a fleet that has some
	// is not green.
	KyvernoTests policytest.Runner
}
