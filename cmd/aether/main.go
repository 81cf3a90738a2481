// Command aether checks and renders fleets, asks clusters about them, and runs
// the platform on one machine.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	// Roots of TLS where the system has none: an image holds the program and nothing
	// beside it, and the review server speaks to forges, which public roots sign for.
	_ "golang.org/x/crypto/x509roots/fallback"
	"golang.org/x/term"

	"github.com/aetherplatform/aether/internal/cli"
	"github.com/aetherplatform/aether/internal/cli/root"
	policytest "github.com/aetherplatform/aether/internal/policytest/kyverno"
	"github.com/aetherplatform/aether/internal/review/kyverno"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	// Who is not patient enough for what a command tidies up ends it with another Ctrl-C.
	context.AfterFunc(ctx, stop)

	env := &cli.Env{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr,
		Color:   term.IsTerminal(int(os.Stdout.Fd())) && showsColors(os.Getenv),
		Watched: term.IsTerminal(int(os.Stderr.Fd())) && os.Getenv("TERM") != "dumb",
		Now:     time.Now,
		Kyverno: kyverno.Engine{}, KyvernoTests: policytest.Tests{},
	}
	os.Exit(root.Main(ctx, env, os.Args))
}

// showsColors says whether the user wants colours on a terminal: https://no-color.org.
func showsColors(getenv func(string) string) bool {
	return getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"
}
