// Command aether checks and renders fleets, asks clusters about them, and runs
// the platform on one machine.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/aetherplatform/aether/internal/cli"
	"github.com/aetherplatform/aether/internal/cli/root"
	policytest "github.com/aetherplatform/aether/internal/policytest/kyverno"
	"github.com/aetherplatform/aether/internal/review/kyverno"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	env := &cli.Env{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr,
		Color:   term.IsTerminal(int(os.Stdout.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb",
		Now:     time.Now,
		Kyverno: kyverno.Engine{}, KyvernoTests: policytest.Tests{},
	}
	os.Exit(root.Execute(ctx, env, os.Args[1:]))
}
