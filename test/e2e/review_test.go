package e2e

import (
	"errors"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"code.gitea.io/sdk/gitea"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/local"
	"github.com/aetherplatform/aether/internal/testenv"
)

// What was reviewed is what runs: the digest of the comment is the one that the
// TenantSource reports after the merge.
func TestAPullRequestIsReviewedMergedAndApplied(t *testing.T) {
	w := startWorld(t, filepath.Join(testenv.Root(), "tenants"))
	forge := w.forge()

	// A namespace is opened to the internet.
	w.git("switch", "--quiet", "--create", "open-the-shop")
	web := w.edit("acme/namespaces/web.yaml", "{ingressController: true}", "{ingressController: true}, {cidr: 0.0.0.0/0}")
	first := w.commits("Open the shop", map[string]string{"acme/namespaces/web.yaml": web})
	w.git("push", "--quiet", "origin", "open-the-shop")
	number := forge.open("open-the-shop", "Open the shop <img src=x onerror=alert(1)>")
	if code, out := forge.review(number); code != 0 {
		t.Fatalf("the review ends with %d, want 0\n%s", code, out)
	}
	comment := forge.comment(number)
	if want := "can now be reached by the internet"; !strings.Contains(comment.Body, want) || strings.Contains(comment.Body, "<img") {
		t.Errorf("the comment lacks %q, or repeats the title's markup:\n%s", want, comment.Body)
	}
	if got := forge.status(first.Commit); got != gitea.StatusSuccess {
		t.Errorf("the status of a change that may be merged is %q", got)
	}

	// Then it also claims a name that is another tenant's.
	second := w.commits("Claim a name", map[string]string{"acme/namespaces/grab.yaml": strings.ReplaceAll(web, "acme-web", "globex-billing")})
	w.git("push", "--quiet", "origin", "open-the-shop")
	if code, out := forge.review(number); code != 1 {
		t.Fatalf("the review of a claim on another's name ends with %d, want 1\n%s", code, out)
	}
	again := forge.comment(number)
	if again.ID != comment.ID || !strings.Contains(again.Body, "grab.yaml") {
		t.Errorf("comment %d became %d, without the place of the error:\n%s", comment.ID, again.ID, again.Body)
	}
	if got := forge.status(second.Commit); got != gitea.StatusFailure {
		t.Errorf("the status of a claim on another's name is %q", got)
	}

	// Without that it is merged, and applied as it was reviewed.
	w.git("rm", "--quiet", "tenants/acme/namespaces/grab.yaml")
	w.commits("Take it back", nil)
	w.git("push", "--quiet", "origin", "open-the-shop")
	if code, out := forge.review(number); code != 0 {
		t.Fatalf("the review ends with %d, want 0\n%s", code, out)
	}
	reviewed := regexp.MustCompile(`sha256:[0-9a-f]{64}`).FindString(forge.comment(number).Body)
	if merged, _, err := forge.MergePullRequest(fleetOwner, fleetRepository, number, gitea.MergePullRequestOption{Style: gitea.MergeStyleMerge}); err != nil || !merged {
		t.Fatalf("cannot merge: %v", err)
	}
	w.git("fetch", "--quiet", "origin", "main")
	w.settles(local.Pushed{Commit: w.git("rev-parse", "origin/main")})
	var source v1alpha1.TenantSource
	if err := w.Client.Get(t.Context(), client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: "fleet"}, &source); err != nil {
		t.Fatal(err)
	}
	if reviewed == "" || source.Status.Digest != reviewed {
		t.Errorf("%q is applied, and %q was reviewed", source.Status.Digest, reviewed)
	}
}

// edit is a file below tenants/ of the checkout with a text in place of another.
func (w *world) edit(name, old, replacement string) string {
	w.Helper()
	data, err := os.ReadFile(filepath.Join(w.checkout, "tenants", filepath.FromSlash(name)))
	if err != nil {
		w.Fatal(err)
	}
	if strings.Count(string(data), old) != 1 {
		w.Fatalf("%s does not hold %q once", name, old)
	}
	return strings.Replace(string(data), old, replacement, 1)
}

// The fleet's repository on the forge.
const fleetOwner, fleetRepository = "platform", "fleet"

// forge is the platform's forge as its administrator sees it.
type forge struct {
	*world
	*gitea.Client
	url, token string
}

func (w *world) forge() *forge {
	w.Helper()
	at := w.forgeAddress()
	password, _ := at.User.Password()
	user := at.User.Username()
	at.User = nil
	f := &forge{world: w, url: at.String()}
	c, err := gitea.NewClient(f.url, gitea.SetBasicAuth(user, password), gitea.SetContext(w.Context()), gitea.SetGiteaVersion(""))
	if err != nil {
		w.Fatal(err)
	}
	f.Client = c
	token, _, err := c.CreateAccessToken(gitea.CreateAccessTokenOption{Name: "review", Scopes: []gitea.AccessTokenScope{gitea.AccessTokenScopeAll}})
	if err != nil {
		w.Fatal(err)
	}
	f.token = token.Token
	return f
}

// forgeAddress is the forge's, with the administrator's name and password.
func (w *world) forgeAddress() *url.URL {
	w.Helper()
	data, err := os.ReadFile(w.Credentials())
	if err != nil {
		w.Fatal(err)
	}
	line := strings.ReplaceAll(strings.TrimSpace(string(data)), "%3a", ":") // as git writes it back
	at, err := url.Parse(line)
	if err != nil {
		w.Fatal("the credentials are no address")
	}
	return at
}

func (f *forge) open(branch, title string) int64 {
	f.Helper()
	pr, _, err := f.CreatePullRequest(fleetOwner, fleetRepository, gitea.CreatePullRequestOption{Head: branch, Base: "main", Title: title})
	if err != nil {
		f.Fatal(err)
	}
	return pr.Index
}

// review runs `aether review` as a CI job does, and returns its exit code.
func (f *forge) review(number int64) (int, string) {
	f.Helper()
	cmd := exec.CommandContext(f.Context(), filepath.Join(testenv.Root(), "bin", "aether"), "review",
		"--forge", "gitea", "--url", f.url, "--repo", fleetOwner+"/"+fleetRepository, "--pr", strconv.FormatInt(number, 10))
	cmd.Env = append(os.Environ(), "AETHER_FORGE_TOKEN="+f.token, "XDG_CACHE_HOME="+f.TempDir())
	out, err := cmd.CombinedOutput()
	if strings.Contains(string(out), f.token) {
		f.Error("the token is in the output")
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), string(out)
	}
	if err != nil {
		f.Fatal(err)
	}
	return 0, string(out)
}

// comment is the only one on a pull request.
func (f *forge) comment(number int64) *gitea.Comment {
	f.Helper()
	all, _, err := f.ListIssueComments(fleetOwner, fleetRepository, number, gitea.ListIssueCommentOptions{})
	if err != nil {
		f.Fatal(err)
	}
	if len(all) != 1 {
		f.Fatalf("there are %d comments, want 1", len(all))
	}
	return all[0]
}

func (f *forge) status(commit string) gitea.StatusState {
	f.Helper()
	combined, _, err := f.GetCombinedStatus(fleetOwner, fleetRepository, commit)
	if err != nil {
		f.Fatal(err)
	}
	return combined.State
}
