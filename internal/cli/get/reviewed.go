package get

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"strings"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/cli"
	"github.com/aetherplatform/aether/internal/forge"
	"github.com/aetherplatform/aether/internal/review/applied"
)

// Forge is which forge to ask of reviews. It is named by whoever asks: what a cluster
// says of an address is never sent a token.
type Forge struct {
	Kind, URL, Repo string
	// Getenv reads the token.
	Getenv func(string) string
}

func (f *Forge) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&f.Kind, "forge", "", "of sources, also ask gitea, github or gitlab whether what is applied was reviewed")
	flags.StringVar(&f.URL, "url", "", "`URL` of the forge (default for github: https://github.com)")
	flags.StringVar(&f.Repo, "repo", "", "`owner/name` of the repository (default: the one that the source's GitRepository names on that forge)")
}

func (f *Forge) named() bool { return f.Kind != "" }

// check is whether the forge can be asked at all.
func (f *Forge) check() error {
	switch {
	case !f.named() && (f.URL != "" || f.Repo != ""):
		return cli.Usage("aether get sources --forge gitea", "which forge is it?")
	case !f.named():
		return nil
	case f.URL == "" && forge.Kind(f.Kind) == forge.GitHub:
		f.URL = "https://github.com"
	}
	if _, err := f.open(cmp.Or(f.Repo, "owner/name")); err != nil {
		return cli.Usage("aether get --help", "%w", err)
	}
	return nil
}

func (f *Forge) open(repo string) (forge.Repository, error) {
	kind := forge.Kind(f.Kind)
	return forge.New(forge.Options{Kind: kind, URL: f.URL, Repository: repo, Token: cli.ForgeToken(kind, f.Getenv)})
}

// review asks whether what a source has applied is what was reviewed.
func (f *Forge) review(ctx context.Context, c client.Client, s *v1alpha1.TenantSource) applied.Verdict {
	repo := f.Repo
	if repo == "" {
		found, why := f.repository(ctx, c, s)
		if why != "" {
			return applied.Unknown(why)
		}
		repo = found
	}
	r, err := f.open(repo)
	if err != nil {
		return applied.Unknown(err.Error())
	}
	return applied.Compare(ctx, r, s.Status.LastAppliedRevision, s.Status.Digest)
}

// repository is what a source's GitRepository is called on the forge, or why that
// cannot be told.
func (f *Forge) repository(ctx context.Context, c client.Client, s *v1alpha1.TenantSource) (repo, why string) {
	ref := s.Spec.SourceRef
	if ref.Kind != sourcev1.GitRepositoryKind {
		return "", fmt.Sprintf("%s %q comes by no pull requests", ref.Kind, ref.Name)
	}
	var source sourcev1.GitRepository
	key := client.ObjectKey{Namespace: s.Namespace, Name: ref.Name}
	if err := c.Get(ctx, key, &source); err != nil {
		return "", fmt.Sprintf("cannot read GitRepository %s, name the repository with --repo: %v", key, err)
	}
	repo, ok := repositoryAt(f.URL, source.Spec.URL)
	if !ok {
		return "", fmt.Sprintf("GitRepository %s is not on %s; name the repository with --repo", key, f.URL)
	}
	return repo, ""
}

// repositoryAt is the repository of an address to clone, where it is on a forge. Of
// SSH only the host's name has to be the same: it has a port of its own.
func repositoryAt(forgeURL, cloneURL string) (string, bool) {
	at, err := url.Parse(forgeURL)
	if err != nil {
		return "", false
	}
	clone, err := url.Parse(cloneURL)
	if err != nil {
		return "", false
	}
	path := strings.Trim(strings.TrimSuffix(clone.Path, ".git"), "/")
	switch {
	case clone.Scheme == "ssh" && strings.EqualFold(clone.Hostname(), at.Hostname()):
		return path, path != ""
	case !strings.EqualFold(clone.Host, at.Host):
		return "", false
	}
	if below := strings.Trim(at.Path, "/"); below != "" { // a forge need not be at the root of its host
		var ok bool
		if path, ok = strings.CutPrefix(path, below+"/"); !ok {
			return "", false
		}
	}
	return path, path != ""
}

// say adds what the forge said of a source to the listing.
func (l *listing) say(s *v1alpha1.TenantSource, v applied.Verdict, told bool) error {
	review, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&v)
	if err != nil {
		return err
	}
	if l.beside == nil {
		l.beside = map[client.Object]map[string]any{}
	}
	l.beside[s] = map[string]any{"review": review}
	if v.Status != metav1.ConditionTrue && !told {
		l.notes = append(l.notes, fmt.Sprintf("%s/%s: %s", s.Namespace, s.Name, v.Message))
	}
	return nil
}
