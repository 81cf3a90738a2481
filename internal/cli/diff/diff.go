// Package diff is `aether diff`: what a change of a fleet repository does to the
// objects in the clusters.
package diff

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aetherplatform/aether/internal/cli"
	"github.com/aetherplatform/aether/internal/fleet"
	"github.com/aetherplatform/aether/internal/repository"
	"github.com/aetherplatform/aether/internal/review"
	"github.com/aetherplatform/aether/internal/review/compare"
	"github.com/aetherplatform/aether/internal/review/judge"
	"github.com/aetherplatform/aether/internal/review/live"
)

// Options is what diff is asked.
type Options struct {
	*cli.Env
	cli.Cluster
	Repo        string
	Path        string
	Base        string
	Head        string
	NoMergeBase bool
	NoCache     bool
	Tenant      string
	Workload    *string
	Output      string
	Live        bool
	As          string
	Source      string
}

// NewCommand returns the command.
func NewCommand(env *cli.Env) *cobra.Command {
	o := &Options{Env: env}
	var cluster string
	cmd := &cobra.Command{
		Use:   "diff {--base REVISION | --live} [--head REVISION]",
		Short: "Show what a change does to the objects in the clusters",
		Long: `Show what a change of a fleet repository does: which objects it creates, changes
and deletes in which cluster, and what that means. Both revisions are rendered
with the code that the controllers run, and the objects are compared, field by
field. Order, comments, and what was the default anyway are no change.

Base is compared at the commit where the two lines of history part, as forges
compare a pull request: what base got since is not head's doing. --no-merge-base
compares the two revisions as they are.

Without --head, the files on disk are compared: those not committed yet, not
tracked or ignored count too, as for ` + "`aether validate`" + `. Revisions are read from
Git's object database. Nothing is checked out, and no file of yours is touched.

A revision is a branch, a tag, a commit or the beginning of one, origin/main,
refs/pull/1/head, or any of these followed by ~2 or ^2.

--live compares with a cluster in place of a revision, as kubectl diff --server-side
does: the API server says by dry-run what it would make of each object, so that its
defaults, what someone has changed, and what Git does not have show as well. Nothing
is written. Since Aether's admission policies let only its operator write, the
dry-run is made as the operator, for which you need the right to impersonate it.

A tenant with errors at head keeps what it has, so it shows errors and no
changes. The digest is what a TenantSource shows in its status once exactly this
is applied.

Exit codes, as of kubectl diff:
    0  no changes
    1  changes
    2  the command cannot be run as written: a flag, a revision, a path
    3  the cluster could not be asked
    5  head has errors that base has not, or a policy would newly refuse it;
       with --live: head has errors that the TenantSource does not report yet, or
       the API server refuses an object

What is worked out is kept in the user's cache directory, below aether; it may be
deleted at any time.`,
		Example: `  # What the working tree does, compared with where it left main
  aether diff --base main

  # The last commit, for a machine
  aether diff --base HEAD~1 --head HEAD --output json

  # What applying the working tree would do to the cluster of the kubeconfig
  aether diff --live

  # Has anybody changed what the branch main asked for?
  aether diff --live --head main

  # A pull request that was fetched, one tenant of it
  aether diff --base origin/main --head refs/pull/1/head --tenant acme`,
		Args: cli.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("cluster") {
				o.Workload = &cluster
			}
			return run(cmd.Context(), o)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Repo, "repo", ".", "`directory` in the Git repository")
	flags.StringVar(&o.Path, "path", ".", "`folder` of the repository that holds tenants/, base/ and policies/")
	flags.StringVar(&o.Base, "base", "", "`revision` to compare with")
	flags.StringVar(&o.Head, "head", "", "`revision` that is compared (default: the files on disk)")
	flags.BoolVar(&o.NoMergeBase, "no-merge-base", false, "compare with base as it is, not with where head left it")
	flags.BoolVar(&o.NoCache, "no-cache", false, "work out everything anew")
	flags.StringVar(&o.Tenant, "tenant", "", "compare only this tenant")
	flags.StringVar(&cluster, "cluster", "", "compare only what is on this workload cluster; '' is the one that the fleet is reconciled in")
	flags.BoolVar(&o.Live, "live", false, "compare with a cluster, by dry-run")
	flags.StringVar(&o.As, "as", live.Operator, "with --live, `user` to make the dry-run as; '' is yourself")
	flags.StringVar(&o.Source, "source", "", "with --live, `namespace/name` of the TenantSource, where there are several")
	o.AddFlags(flags)
	flags.StringVarP(&o.Output, "output", "o", "text", strings.Join(outputNames(), ", "))
	cli.Values(cmd, "output", outputNames()...)
	cli.CompleteFlag(cmd, "tenant", func(*cobra.Command, []string, string) []string {
		return cli.TenantsIn(filepath.Join(o.Repo, filepath.FromSlash(o.Path)))
	})
	return cmd
}

// workingTree is what the files on disk are called.
const workingTree = "working tree"

func run(ctx context.Context, o *Options) error {
	if outputs[o.Output] == nil {
		return cli.Usage("--output "+strings.Join(outputNames(), " or --output "), "--output: %q is not a format", o.Output)
	}
	switch {
	case o.Live && (o.Base != "" || o.NoMergeBase):
		return cli.Usage("--live compares with the cluster; leave --base and --no-merge-base out", "--live: there is a base already")
	case !o.Live && o.Source != "":
		return cli.Usage("add --live", "--source: is for a comparison with a cluster")
	case !o.Live && o.Base == "":
		return cli.Usage("--base main, --base HEAD~1 or --base origin/main; --live for a cluster", "--base: say what to compare with")
	}
	repo, err := repository.Open(o.Repo)
	if err != nil {
		return cli.Usage("name a directory in the fleet repository: --repo ~/fleet", "%w", err)
	}
	defer repo.Close()
	report, err := o.report(ctx, repo)
	if err != nil {
		return err
	}
	for _, e := range report.Errors {
		known := ""
		if e.Old {
			known = " (at base too)"
		}
		fmt.Fprintf(o.Err, "%s: %s: %s%s\n", e.Place, e.Tenant, e.Message, known)
	}
	if err := outputs[o.Output](o.Out, o.Env, report); err != nil {
		return fmt.Errorf("cannot print the report: %w", err)
	}
	return outcome(report)
}

// report compares with a revision, or with a cluster.
func (o *Options) report(ctx context.Context, repo *repository.Repository) (*review.Report, error) {
	if o.Live {
		return o.liveReport(ctx, repo)
	}
	base, head, closer, err := o.sources(repo)
	if err != nil {
		return nil, usage(err)
	}
	defer closer.Close()
	options := o.options(head)
	options.Base = base
	baseSide, headSide, report, err := judge.Report(ctx, options, nil, o.Kyverno)
	if err != nil {
		return nil, usage(err)
	}
	return report, o.checkTenant(baseSide, headSide)
}

func (o *Options) options(head compare.Source) compare.Options {
	return compare.Options{Head: head, Path: filepath.ToSlash(o.Path), Tenant: o.Tenant, Cluster: o.Workload, Store: o.store()}
}

// outcome is the exit code.
func outcome(report *review.Report) error {
	switch {
	case report.Failed():
		return &cli.Error{Code: cli.ExitRefused}
	case slices.ContainsFunc(report.Changes, func(c review.Change) bool { return !compare.OnlyFile(&c) }):
		return cli.Findings()
	}
	return nil
}

// usage keeps what a revision's error says to try.
func usage(err error) error {
	var e *repository.Error
	if errors.As(err, &e) {
		return cli.Usage(e.Try, "%w", err)
	}
	return cli.Usage("", "%w", err)
}

// sources are both sides, and what has to be closed after them.
func (o *Options) sources(repo *repository.Repository) (base, head compare.Source, closer io.Closer, err error) {
	none := compare.Source{}
	fail := func(err error) (compare.Source, compare.Source, io.Closer, error) { return none, none, nil, err }

	commit, err := repo.Resolve(o.Base)
	if err != nil {
		return fail(fmt.Errorf("--base: %w", err))
	}
	headCommit := ""
	if o.Head != "" || !o.NoMergeBase {
		if headCommit, err = repo.Resolve(cmp.Or(o.Head, "HEAD")); err != nil {
			return fail(fmt.Errorf("--head: %w", err))
		}
	}
	if head, closer, err = o.headSource(repo, headCommit); err != nil {
		return fail(err)
	}
	if !o.NoMergeBase {
		if commit, err = repo.MergeBase(commit, headCommit); err != nil {
			_ = closer.Close()
			return fail(err)
		}
	}
	base = compare.Source{Name: o.Base, Commit: commit}
	var files fs.FS
	if files, err = repo.Files(commit); err != nil {
		_ = closer.Close()
		return fail(err)
	}
	base.Files = files
	return base, head, closer, nil
}

// headSource is the files on disk, or those of a commit.
func (o *Options) headSource(repo *repository.Repository, commit string) (compare.Source, io.Closer, error) {
	if o.Head == "" {
		files, dir, err := repo.WorkingTree()
		return compare.Source{Name: workingTree, Files: files}, dir, err
	}
	files, err := repo.Files(commit)
	return compare.Source{Name: o.Head, Commit: commit, Files: files}, io.NopCloser(strings.NewReader("")), err
}

// store is the cache; without one everything is worked out anew.
func (o *Options) store() fleet.Store {
	if o.NoCache {
		return nil
	}
	return o.Env.Store()
}

func (o *Options) checkTenant(sides ...*review.Side) error {
	if o.Tenant == "" {
		return nil
	}
	var names []string
	for _, side := range sides {
		for _, t := range side.Result.Tenants {
			if t.Name == o.Tenant {
				return nil
			}
			names = append(names, t.Name)
		}
	}
	slices.Sort(names)
	err := cli.NotFound("tenant", o.Tenant, slices.Compact(names))
	var e *cli.Error
	if errors.As(err, &e) {
		e.Code, e.Try = cli.ExitUsage, strings.ReplaceAll(e.Try, "`aether get tenants` lists them", "`aether validate .` reads the fleet")
	}
	return err
}
