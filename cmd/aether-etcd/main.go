// Command aether-etcd takes snapshots of the etcd of a hosted control plane, and makes
// the data of a new member of one. The cluster controller runs it in Pods.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/aetherplatform/aether/internal/snapshot"
	"github.com/aetherplatform/aether/internal/version"
)

const usage = `aether-etcd takes snapshots of an etcd, and restores them.

  aether-etcd snapshot --help
  aether-etcd restore --help
  aether-etcd version
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(command(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// command is the program, and returns its exit code: 1 when it failed, 2 when it was
// called wrongly.
func command(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	name := ""
	if len(args) > 0 {
		name, args = args[0], args[1:]
	}
	flags := flag.NewFlagSet("aether-etcd "+name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	var run func() error
	switch name {
	case "snapshot":
		run = take(ctx, flags, stdout)
	case "restore":
		run = restore(flags, stdout)
	case "version":
		run = func() error {
			_, err := fmt.Fprintln(stdout, version.Get().Line("aether-etcd"))
			return err
		}
	case "help", "-h", "--help":
		fmt.Fprint(stdout, usage)
		return 0
	default:
		fmt.Fprint(stderr, usage)
		return 2
	}
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "aether-etcd %s: it takes flags alone, not %q\n", name, flags.Arg(0))
		return 2
	}
	if err := run(); err != nil {
		fmt.Fprintf(stderr, "aether-etcd %s: %v\n", name, err)
		return 1
	}
	return 0
}

// report is what the cluster controller reads of a Pod that has ended.
type report struct {
	snapshot.Taken
	Error string `json:"error,omitempty"`
}

func take(ctx context.Context, flags *flag.FlagSet, stdout io.Writer) func() error {
	o := snapshot.Options{Now: time.Now}
	flags.StringVar(&o.Endpoint, "endpoint", "", "URL of etcd")
	flags.StringVar(&o.CA, "ca", "", "file of the certificate of etcd's authority")
	flags.StringVar(&o.Cert, "cert", "", "file of the client's certificate")
	flags.StringVar(&o.Key, "key", "", "file of the client's key")
	flags.StringVar(&o.Folder, "folder", "", "folder of snapshots")
	flags.IntVar(&o.Keep, "keep", 28, "how many snapshots there are before the oldest is removed")
	limit := flags.Duration("timeout", 15*time.Minute, "how long it may take")
	to := flags.String("report", "", "file to write what was taken to, as JSON, or why it failed")
	return func() error {
		ctx, stop := context.WithTimeout(ctx, *limit)
		defer stop()
		taken, err := snapshot.Take(ctx, o)
		said := report{Taken: taken}
		if err != nil {
			said.Error = err.Error()
		}
		text, failed := json.Marshal(said)
		if err := errors.Join(err, failed); err != nil {
			return errors.Join(err, write(*to, text))
		}
		_, failed = fmt.Fprintln(stdout, string(text))
		return errors.Join(failed, write(*to, text))
	}
}

func write(file string, text []byte) error {
	if file == "" {
		return nil
	}
	if err := os.WriteFile(file, text, 0o600); err != nil { //nolint:gosec // the flag says where
		return fmt.Errorf("cannot write the report: %w", err)
	}
	return nil
}

func restore(flags *flag.FlagSet, stdout io.Writer) func() error {
	var m snapshot.Member
	flags.StringVar(&m.Folder, "folder", "", "folder of snapshots")
	asked := flags.String("asked", "", "file with the name of the snapshot; nothing is restored where there is none")
	flags.StringVar(&m.Data, "data", "", "folder of the member's data")
	flags.StringVar(&m.Name, "name", "", "name of the member")
	flags.StringVar(&m.PeerURL, "peer-url", "", "URL of the member for its peers")
	flags.StringVar(&m.Cluster, "cluster", "", "all members, as name=URL,name=URL")
	flags.StringVar(&m.Token, "token", "", "token of the cluster")
	return func() error {
		name, err := os.ReadFile(*asked) //nolint:gosec // the flag says which
		if errors.Is(err, os.ErrNotExist) {
			_, err := fmt.Fprintln(stdout, "No snapshot is to be restored")
			return err
		}
		if err != nil {
			return fmt.Errorf("cannot read which snapshot to restore: %w", err)
		}
		m.Snapshot = strings.TrimSpace(string(name))
		done, err := snapshot.Restore(m)
		if err != nil {
			return err
		}
		said := "The member has data, which stays as it is"
		if done {
			said = "Restored " + m.Snapshot
		}
		_, err = fmt.Fprintln(stdout, said)
		return err
	}
}
