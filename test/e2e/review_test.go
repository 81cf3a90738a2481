package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"code.gitea.io/sdk/gitea"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/local"
	"github.com/aetherplatform/aether/internal/testenv"
)

// What was reviewed is what runs: the digest of the comment is the one that the
// TenantSource reports after the merge. The review server comments as webhooks come,
// a CI job with the same token updates that comment, and the forge lets nothing be
// merged that the review does not. `aether get sources` says so of what is applied.
func TestAPullRequestIsReviewedMergedAndApplied(t *testing.T) {
	w := startWorld(t, filepath.Join(testenv.Root(), "tenants"))
	forge := w.forge()
	w.settles(local.Pushed{Commit: w.git("rev-parse", "origin/main")})
	forge.saysOfWhatRuns("False", "NotReviewed", "came by no pull request")

	// A namespace is opened to the internet.
	w.git("switch", "--quiet", "--create", "open-the-shop")
	web := w.edit("acme/namespaces/web.yaml", "{ingressController: true}", "{ingressController: true}, {cidr: 0.0.0.0/0}")
	first := w.commits("Open the shop", map[string]string{"acme/namespaces/web.yaml": web})
	w.git("push", "--quiet", "origin", "open-the-shop")
	number := forge.open("open-the-shop", "Open the shop <img src=x onerror=alert(1)>")
	forge.reviews(first, gitea.StatusSuccess)
	comment := forge.comment(number)
	if want := "can now be reached by the internet"; !strings.Contains(comment.Body, want) || strings.Contains(comment.Body, "<img") {
		t.Errorf("the comment lacks %q, or repeats the title's markup:\n%s", want, comment.Body)
	}
	if code, out := forge.review(number, "--link", reportLink(comment)); code != 0 {
		t.Fatalf("the review of a CI job ends with %d, want 0\n%s", code, out)
	}
	if again := forge.comment(number); again.ID != comment.ID || again.Body != comment.Body {
		t.Errorf("a CI job made of comment %d another: %d\n%s", comment.ID, again.ID, again.Body)
	}

	// Then it also claims a name that is another tenant's.
	second := w.commits("Claim a name", map[string]string{"acme/namespaces/grab.yaml": strings.ReplaceAll(web, "acme-web", "globex-billing")})
	w.git("push", "--quiet", "origin", "open-the-shop")
	forge.reviews(second, gitea.StatusFailure)
	again := forge.comment(number)
	if again.ID != comment.ID || !strings.Contains(again.Body, "grab.yaml") {
		t.Errorf("comment %d became %d, without the place of the error:\n%s", comment.ID, again.ID, again.Body)
	}
	if code, out := forge.review(number); code != 1 {
		t.Fatalf("the review of a claim on another's name ends with %d, want 1\n%s", code, out)
	}
	if forge.merge(number) {
		t.Error("what must not be merged was merged")
	}

	// Without that it is merged, and applied as it was reviewed.
	w.git("rm", "--quiet", "tenants/acme/namespaces/grab.yaml")
	third := w.commits("Take it back", nil)
	w.git("push", "--quiet", "origin", "open-the-shop")
	forge.reviews(third, gitea.StatusSuccess)
	reviewed := regexp.MustCompile(`sha256:[0-9a-f]{64}`).FindString(forge.comment(number).Body)
	if !forge.merge(number) {
		t.Fatal("what may be merged was not")
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
	forge.saysOfWhatRuns("True", "AsReviewed", fmt.Sprintf("as it was reviewed in #%d", number))

	// Two that were reviewed one by one: nobody has seen both together.
	one, head := forge.proposes(proposal{branch: "one", files: map[string]string{"tenants/acme/namespaces/one.yaml": namespaceYAML("acme", "acme-one")}})
	other, otherHead := forge.proposes(proposal{branch: "other", files: map[string]string{"tenants/acme/namespaces/other.yaml": namespaceYAML("acme", "acme-other")}})
	forge.reviews(head, gitea.StatusSuccess)
	forge.reviews(otherHead, gitea.StatusSuccess)
	if !forge.merge(one) || !forge.merge(other) {
		t.Fatal("what may be merged was not")
	}
	w.git("fetch", "--quiet", "origin", "main")
	w.settles(local.Pushed{Commit: w.git("rev-parse", "origin/main")})
	forge.saysOfWhatRuns("False", "MergeDiffers", "main had moved on")
}

// saysOfWhatRuns has `aether get sources` say whether what is applied was reviewed.
func (f *forge) saysOfWhatRuns(status, reason, message string) {
	f.Helper()
	cmd := exec.CommandContext(f.Context(), filepath.Join(testenv.Root(), "bin", "aether"), "get", "sources", "--output", "json",
		"--kubeconfig", f.Kubeconfig(), "--forge", "gitea", "--url", f.url)
	cmd.Env = append(os.Environ(), "AETHER_FORGE_TOKEN="+f.token)
	out, err := cmd.Output()
	if err != nil {
		f.Fatalf("aether get sources: %v\n%s", err, out)
	}
	var list struct {
		Items []struct {
			Review struct{ Status, Reason, Message string }
		}
	}
	if err := json.Unmarshal(out, &list); err != nil || len(list.Items) != 1 {
		f.Fatalf("aether get sources: %v\n%s", err, out)
	}
	if got := list.Items[0].Review; got.Status != status || got.Reason != reason || !strings.Contains(got.Message, message) {
		f.Errorf("of what runs it says %+v, not %s, %s, %s", got, status, reason, message)
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
	// user of Client; remote is their fork of the repository, where they have one.
	user, password, remote string
}

func (w *world) forge() *forge {
	w.Helper()
	admin, err := w.Admin()
	if err != nil {
		w.Fatal(err)
	}
	f := &forge{world: w, url: admin.URL, user: admin.Name, password: admin.Password}
	if f.Client, err = gitea.NewClient(f.url, gitea.SetBasicAuth(admin.Name, admin.Password), gitea.SetContext(w.Context())); err != nil {
		w.Fatal(err)
	}
	token, err := os.ReadFile(filepath.Join(w.Dir, "pki", "forge-review-token"))
	if err != nil {
		w.Fatal(err)
	}
	f.token = string(token)
	return f
}

func (f *forge) open(branch, title string) int64 {
	f.Helper()
	pr, _, err := f.CreatePullRequest(fleetOwner, fleetRepository, gitea.CreatePullRequestOption{Head: branch, Base: "main", Title: title})
	if err != nil {
		f.Fatal(err)
	}
	return pr.Index
}

// reviews waits until the review server has said of a commit what it thinks.
func (f *forge) reviews(pushed local.Pushed, want gitea.StatusState) {
	f.Helper()
	f.eventually(time.Minute, "the review of "+pushed.Commit, func() bool {
		combined, _, err := f.GetCombinedStatus(fleetOwner, fleetRepository, pushed.Commit)
		if err != nil {
			f.Fatal(err)
		}
		return combined.State != "" && combined.State != gitea.StatusPending
	})
	if got := f.status(pushed.Commit); got != want {
		f.Errorf("the status of %s is %q, want %q", pushed.Commit, got, want)
	}
}

// merge merges a pull request, where the forge lets it. While the forge still looks for
// conflicts, as it does anew of every pull request when the branch below it moves, it
// says to try again: neither yes nor no. Its SDK keeps that answer's text to itself.
func (f *forge) merge(number int64) bool {
	f.Helper()
	var said struct{ Message string }
	var status int
	f.eventually(time.Minute, fmt.Sprintf("a look for conflicts of #%d", number), func() bool {
		request, err := http.NewRequestWithContext(f.Context(), http.MethodPost,
			fmt.Sprintf("%s/api/v1/repos/%s/%s/pulls/%d/merge", f.url, fleetOwner, fleetRepository, number), strings.NewReader(`{"Do":"merge"}`))
		if err != nil {
			f.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		request.SetBasicAuth(f.user, f.password)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			f.Fatal(err)
		}
		defer response.Body.Close()
		status = response.StatusCode
		body, err := io.ReadAll(response.Body)
		if err != nil {
			f.Fatal(err)
		}
		said.Message = ""
		if status != http.StatusOK {
			if err := json.Unmarshal(body, &said); err != nil {
				f.Fatalf("a merge of #%d gives %d, %s", number, status, body)
			}
		}
		return status != http.StatusMethodNotAllowed || said.Message != "Please try again later"
	})
	f.Logf("a merge of #%d gives %d, %s", number, status, said.Message)
	return status == http.StatusOK
}

// review runs `aether review` as a CI job does, and returns its exit code.
func (f *forge) review(number int64, flags ...string) (int, string) {
	f.Helper()
	args := append([]string{"review", "--forge", "gitea", "--url", f.url, "--repo", fleetOwner + "/" + fleetRepository,
		"--pr", strconv.FormatInt(number, 10), "--user", "aether-review"}, flags...)
	cmd := exec.CommandContext(f.Context(), filepath.Join(testenv.Root(), "bin", "aether"), args...)
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
		for _, c := range all {
			f.Logf("%s, %s: %.200s", c.Poster.UserName, c.Created, c.Body)
		}
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

// `make up` leaves a pull request open that has something to say, and its review.
func TestTheExampleFleetComesWithAPullRequestToRead(t *testing.T) {
	p := newPlace(t)
	c := p.up()
	if code := p.runs(c); code != 0 {
		t.Fatalf("up ended with %d:\n%s%s", code, &c.stderr, &c.stdout)
	}
	t.Logf("up said:\n%s", &c.stderr)
	platform, err := local.Open(p.dir)
	if err != nil {
		t.Fatal(err)
	}
	want := platform.Opened.URL + "\n                     its comment says what it would do"
	if !strings.Contains(c.stdout.String(), want) {
		t.Errorf("up does not say %q:\n%s", want, &c.stdout)
	}
	admin, err := platform.Admin()
	if err != nil {
		t.Fatal(err)
	}
	comments, err := admin.Comments(t.Context(), fleetOwner, fleetRepository, platform.Opened.Number)
	if err != nil || len(comments) != 1 || comments[0].User.Login != "aether-review" {
		t.Fatalf("the comments are %+v, %v; want the review server's", comments, err)
	}
	for _, want := range []string{"acme-web", "can now be reached by the internet", "acme-newsletter", "smtp.example.com"} {
		if !strings.Contains(comments[0].Body, want) {
			t.Errorf("the comment does not tell of %q:\n%s", want, comments[0].Body)
		}
	}
	c = p.aether("down")
	if code := p.runs(c); code != 0 {
		t.Errorf("down ended with %d:\n%s", code, &c.stderr)
	}
	p.nothingIsLeft()
}
