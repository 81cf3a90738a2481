package diff

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/aetherplatform/aether/internal/cli"
	"github.com/aetherplatform/aether/internal/repository"
	"github.com/aetherplatform/aether/internal/review"
	"github.com/aetherplatform/aether/internal/review/live"
)

// liveReport compares with a cluster.
func (o *Options) liveReport(ctx context.Context, repo *repository.Repository) (*review.Report, error) {
	commit := ""
	if o.Head != "" {
		var err error
		if commit, err = repo.Resolve(o.Head); err != nil {
			return nil, usage(fmt.Errorf("--head: %w", err))
		}
	}
	head, closer, err := o.headSource(repo, commit)
	if err != nil {
		return nil, usage(err)
	}
	defer closer.Close()
	config, name, err := o.Config()
	if err != nil {
		return nil, err
	}
	options := o.options(head)
	options.Now = o.Now()
	_, side, report, err := live.Report(ctx, live.Options{
		Head: options, Config: live.ReadOnly(config, o.As), Name: "cluster " + name, Source: o.Source,
	})
	if err != nil {
		return nil, o.liveError(err)
	}
	return report, o.checkTenant(side)
}

// liveError tells a fleet that cannot be read from a cluster that cannot be asked.
func (o *Options) liveError(err error) error {
	var fleet *live.HeadError
	if errors.As(err, &fleet) {
		return usage(err)
	}
	if errors.Is(err, live.ErrChoose) {
		return cli.Usage("--source aether-system/fleet", "--source: %w", err)
	}
	var asked *cli.Error
	if !errors.As(cli.ClusterError(err, "compare with the cluster"), &asked) {
		return err
	}
	switch {
	case !apierrors.IsForbidden(err):
	case o.As != "" && live.MayNotImpersonate(err):
		asked.Try = fmt.Sprintf("ask the platform team for the verb impersonate on %s, or pass --as '' to ask as yourself", o.As)
	case o.As != "":
		asked.Try = fmt.Sprintf("%s lacks the right: `kubectl auth can-i --list --as %s` says what it has", o.As, o.As)
	default:
		asked.Try = "a dry-run needs the verbs get, list, create and patch on all that is rendered; leave --as out to ask as Aether's operator"
	}
	return asked
}
