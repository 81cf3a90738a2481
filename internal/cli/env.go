// Package cli is what the commands of aether share: where they read and write,
// how they fail, how they find a fleet on disk and a cluster in a kubeconfig.
//
// Each command is a package below it, named as on the command line; package root
// puts them together. A result goes to standard output, progress and errors go to
// standard error, and nothing is coloured unless a person looks at it.
package cli

import (
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
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
	// Watched says that Err is a terminal: someone sits before it and waits.
	Watched bool
	// Program is how this program was called, such as "kubectl aether"; "" is aether.
	Program string
	// Now is the clock.
	Now func() time.Time
	// Kyverno evaluates Kyverno's policies. Left out, they are listed as not evaluated:
	// only the program itself links it.
	Kyverno policy.Engine
	// KyvernoTests runs the tests of Kyverno's policies. Left out, a fleet that has some
	// is not green.
	KyvernoTests policytest.Runner

	// commands are our own command lines within a text: see SpeakOf.
	commands *regexp.Regexp
}

// slow is after how long someone who waits is told for what.
const slow = time.Second

// Waiting tells who sits before a terminal what takes so long. The function that it
// returns ends that, and takes the line away.
func (e *Env) Waiting(what string) (done func()) {
	if !e.Watched {
		return func() {}
	}
	var mu sync.Mutex
	told, over := false, false
	timer := time.AfterFunc(slow, func() {
		mu.Lock()
		defer mu.Unlock()
		if !over {
			told = true
			fmt.Fprint(e.Err, what)
		}
	})
	return func() {
		timer.Stop()
		mu.Lock()
		defer mu.Unlock()
		if over = true; told {
			fmt.Fprint(e.Err, "\r\x1b[K")
		}
	}
}

// SpeakOf names the commands there are, which Speak finds in a text.
func (e *Env) SpeakOf(commands []string) {
	names := make([]string, len(commands))
	for i, name := range commands {
		names[i] = regexp.QuoteMeta(name)
	}
	e.commands = regexp.MustCompile(`(^|[^\w/.-])(?:kubectl )?aether (--help|(?:` + strings.Join(names, "|") + `)\b)`)
}

// Speak writes the command lines in a text as the user has to type them.
func (e *Env) Speak(text string) string {
	if e.Program == "" || e.commands == nil {
		return text
	}
	return e.commands.ReplaceAllString(text, "${1}"+e.Program+" ${2}")
}
