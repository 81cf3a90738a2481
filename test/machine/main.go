//go:build linux

// Command machine runs the machines that nodes of the local platform are, and
// what is in them. `aether local up --nodes` starts it; nobody else has to.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"github.com/aetherplatform/aether/internal/local/machine"
)

// The first goroutine stays on the first thread, which lasts as long as the
// program: what it starts is ended with it.
func init() { runtime.LockOSThread() }

func main() {
	err := run(os.Args[1:])
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		os.Exit(exit.ExitCode())
	case err != nil:
		fmt.Fprintln(os.Stderr, "machine:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("name one of switch, run, enter")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	switch args[0] {
	case "switch":
		var s machine.Switch
		flags.StringVar(&s.API, "api", "", "address of kube-apiserver")
		flags.StringVar(&s.Forge, "forge", "", "address of the Git forge, if machines are to reach it")
		flags.StringVar(&s.Hooks, "hooks", "", "address on the host at which the forge's webhooks come in, if a Pod takes them")
		flags.StringVar(&s.Receiver, "receiver", "", "address on a machine that they are passed on to")
		flags.StringVar(&s.Network, "network", "", "link to make to the network namespace")
		flags.StringVar(&s.Proxy, "proxy", "", "Unix socket that leads into the network")
		world := flags.String("world", "", "addresses that stand for the rest of the world, with commas")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		if *world != "" {
			s.World = strings.Split(*world, ",")
		}
		return s.Run(ctx)
	case "run":
		var m machine.Machine
		dir := flags.String("dir", "", "folder of the machine")
		address := flags.String("address", "", "address in the machines' network")
		flags.StringVar(&m.Name, "name", "", "host name")
		flags.StringVar(&m.Bin, "bin", "", "folder of programs")
		flags.StringVar(&m.Network, "network", "", "link that the switch made")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		m.Dir = machine.Dir(*dir)
		var err error
		if m.Address, err = netip.ParseAddr(*address); err != nil {
			return err
		}
		return m.Run(ctx)
	case "enter":
		var w machine.Within
		dir := flags.String("dir", "", "folder of the machine")
		flags.StringVar(&w.Health, "health", "", "address in the machine that says whether the program is healthy")
		flags.StringVar(&w.Socket, "socket", "", "Unix socket to answer for it on")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		w.Dir, w.Program = machine.Dir(*dir), flags.Args()
		if len(w.Program) == 0 {
			return errors.New("name a program")
		}
		stop() // signals are the program's
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
		return w.Run(context.Background(), signals)
	case "init":
		const done = 3 // the first of the files beyond the standard three
		return machine.Init(os.Stdin, os.NewFile(done, "done"))
	case "exec":
		return machine.Exec(args[1:])
	default:
		return fmt.Errorf("%q is none of switch, run, enter", args[0])
	}
}
