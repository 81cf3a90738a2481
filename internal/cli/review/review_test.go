package review

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/aetherplatform/aether/internal/cli"
	"github.com/aetherplatform/aether/internal/forge"
	"github.com/aetherplatform/aether/internal/local"
	"github.com/aetherplatform/aether/internal/review"
	"github.com/aetherplatform/aether/internal/testenv"
)

func environment(pairs ...string) func(string) string {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return func(name string) string { return m[name] }
}

func TestACIJobNeedsNoFlags(t *testing.T) {
	tests := map[string]struct {
		why   string
		env   []string
		want  ciJob
		token string
	}{
		"GitHub Actions": {"its variables", []string{
			"GITHUB_ACTIONS", "true", "GITHUB_SERVER_URL", "https://github.com", "GITHUB_REPOSITORY", "platform/fleet",
			"GITHUB_REF", "refs/pull/12/merge", "GITHUB_RUN_ID", "9", "GITHUB_TOKEN", "t",
		}, ciJob{forge.GitHub, "https://github.com", "platform/fleet", 12, "https://github.com/platform/fleet/actions/runs/9"}, "t"},
		"Gitea Actions": {"it sets GitHub's variables as well", []string{
			"GITEA_ACTIONS", "true", "GITHUB_ACTIONS", "true", "GITHUB_SERVER_URL", "https://git.example.com", "GITHUB_REPOSITORY", "platform/fleet",
			"GITHUB_REF", "refs/pull/12/head", "GITHUB_TOKEN", "t", "GITEA_TOKEN", "g",
		}, ciJob{forge.Gitea, "https://git.example.com", "platform/fleet", 12, ""}, "g"},
		"GitLab CI": {"a fork's pipeline belongs to another project than its merge request", []string{
			"GITLAB_CI", "true", "CI_SERVER_URL", "https://gitlab.com", "CI_PROJECT_PATH", "mallory/fleet", "CI_MERGE_REQUEST_PROJECT_PATH", "a/b/fleet",
			"CI_MERGE_REQUEST_IID", "12", "CI_JOB_URL", "https://gitlab.com/j", "GITLAB_TOKEN", "t", "CI_JOB_TOKEN", "may not comment",
		}, ciJob{forge.GitLab, "https://gitlab.com", "a/b/fleet", 12, "https://gitlab.com/j"}, "t"},
		"a push": {"it has no pull request", []string{"GITHUB_ACTIONS", "true", "GITHUB_REF", "refs/heads/refs/pull/1/merge"},
			ciJob{kind: forge.GitHub}, ""},
		"our own token": {"it goes before the job's", []string{"GITHUB_ACTIONS", "true", "GITHUB_TOKEN", "t", "AETHER_FORGE_TOKEN", "a"}, ciJob{kind: forge.GitHub}, "a"},
		"no CI":         {"there are only flags", nil, ciJob{}, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			getenv := environment(test.env...)
			got := job(getenv)
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(ciJob{})); diff != "" {
				t.Errorf("%s (-want +got)\n%s", test.why, diff)
			}
			if got := cli.ForgeToken(got.kind, getenv); got != test.token {
				t.Errorf("%s: the token is %q, want %q", test.why, got, test.token)
			}
		})
	}
}

func TestWhatIsMissingIsAskedFor(t *testing.T) {
	tests := map[string]struct {
		args []string
		env  []string
		want string
	}{
		"no pull request": {nil, nil, "error: which pull request is to be reviewed?\ntry:   aether review --pr 12\n"},
		"no repository":   {[]string{"--pr", "1"}, nil, "error: which repository is the pull request in?\ntry:   aether review --repo platform/fleet --pr 12\n"},
		"no forge":        {[]string{"--pr", "1", "--repo", "a/b"}, nil, "error: which forge is the pull request on?\ntry:   aether review --forge gitea\n"},
		"no token":        {[]string{"--pr", "1", "--repo", "a/b", "--forge", "github"}, nil, "error: there is no token for the forge: set AETHER_FORGE_TOKEN\ntry:   aether review --help\n"},
		"a format": {[]string{"--pr", "1", "--repo", "a/b", "--forge", "github", "-o", "report.pdf"}, nil,
			"error: cannot write a report to \"report.pdf\": its name has to end in one of json\ntry:   name it report.json\n"},
		"no secret":         {[]string{"serve", "--repo", "a/b"}, nil, "error: there is no secret to check deliveries with\ntry:   set AETHER_WEBHOOK_SECRET to what the forge's webhook has as its secret\n"},
		"nothing to serve":  {[]string{"serve"}, []string{"AETHER_WEBHOOK_SECRET", "s"}, "error: which repositories are to be reviewed?\ntry:   aether review serve --repo platform/fleet\n"},
		"no forge to serve": {[]string{"serve", "--repo", "a/b"}, []string{"AETHER_WEBHOOK_SECRET", "s"}, "error: which forge is the pull request on?\ntry:   aether review --forge gitea\n"},
		"no source": {[]string{"serve", "--repo", "a/b", "--forge", "github", "--reconcile", "fleet"}, []string{"AETHER_WEBHOOK_SECRET", "s", "AETHER_FORGE_TOKEN", "t"},
			"error: --reconcile: \"fleet\" is not a GitRepository; write namespace/name, such as aether-system/fleet\ntry:   aether review serve --print-config shows every field\n"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			code, _, stderr := execute(t, Engine{}, environment(test.env...), test.args...)
			if code != cli.ExitUsage || stderr != test.want {
				t.Errorf("got %d and\n%swant %d and\n%s", code, stderr, cli.ExitUsage, test.want)
			}
		})
	}
}

func execute(t *testing.T, engine Engine, getenv func(string) string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	env := &cli.Env{In: strings.NewReader(""), Out: &out, Err: &errs, Now: time.Now}
	cmd := newReview(&Options{Env: env, Engine: engine, Getenv: getenv})
	cmd.AddCommand(newServe(&ServeOptions{Env: env, Engine: engine, Getenv: getenv}))
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(t.Context())
	return cli.Report(&errs, err), out.String(), errs.String()
}

func TestAJobReviewsAndItsExitCodeTells(t *testing.T) {
	url, token := world(t)
	getenv := environment("GITEA_ACTIONS", "true", "GITHUB_SERVER_URL", url, "GITHUB_REPOSITORY", "platform/fleet", "GITHUB_REF", "refs/pull/1/head", "GITEA_TOKEN", token)
	engine := func(r review.Report) Engine {
		return Engine{
			Produce:  func(context.Context, string, string, string) (*review.Report, error) { return &r, nil },
			Markdown: func(*review.Report, int, string) (string, bool) { return "report", false },
		}
	}
	output := filepath.Join(t.TempDir(), "report.json")
	code, stdout, stderr := execute(t, engine(review.Report{Summary: review.Summary{Changed: 2}}), getenv, "--output", output)
	// A number is taken by each thing that happens on the page.
	want := regexp.MustCompile("^2 changed\n" + regexp.QuoteMeta(url) + "/platform/fleet/pulls/1#issuecomment-[0-9]+\n$")
	if code != 0 || !want.MatchString(stdout) || stderr != "" {
		t.Errorf("a fine change gives %d and\n%s%s want 0 and\n%s", code, stdout, stderr, want)
	}
	var whole review.Report
	if data, err := os.ReadFile(output); err != nil || json.Unmarshal(data, &whole) != nil || whole.Summary.Changed != 2 || whole.Base.Name != "main" || whole.Head.Name != "#1" {
		t.Errorf("the whole report is %+v (%v)", whole, err)
	}

	code, _, _ = execute(t, engine(review.Report{Errors: []review.Error{{Message: "x"}}}), getenv)
	if code != cli.ExitFindings {
		t.Errorf("a change with errors gives %d, want %d", code, cli.ExitFindings)
	}
	code, _, stderr = execute(t, engine(review.Report{}), getenv, "--pr", "9")
	if code != cli.ExitCluster || !strings.Contains(stderr, "there is no such pull request") || strings.Contains(stderr, token) {
		t.Errorf("a pull request that is not there gives %d and\n%s", code, stderr)
	}
}

// world is a forge with one pull request, and a token for it.
func world(t *testing.T) (url, token string) {
	t.Helper()
	ports, err := local.FreePorts()
	if err != nil {
		t.Fatal(err)
	}
	platform, err := local.StartForge(t.Context(), local.Options{
		Root: testenv.Root(), Dir: filepath.Join(t.TempDir(), "platform"), Ports: ports, Attached: true, Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := platform.Stop(); err != nil {
			t.Error(err)
		}
	})
	admin, err := platform.Admin()
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{admin.EnsureOrg(t.Context(), "platform"), admin.EnsureRepository(t.Context(), "platform", "fleet")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if token, err = admin.Token(t.Context(), "review", "read:user", "write:repository", "write:issue"); err != nil {
		t.Fatal(err)
	}
	work := t.TempDir()
	for _, args := range [][]string{
		{"init", "--quiet", "--initial-branch=main"},
		{"commit", "--quiet", "--allow-empty", "--message", "base"},
		{"branch", "topic"},
		{"switch", "--quiet", "topic"},
		{"commit", "--quiet", "--allow-empty", "--message", "head"},
		{"push", "--quiet", strings.Replace(admin.URL, "://", "://"+admin.Name+":"+admin.Password+"@", 1) + "/platform/fleet.git", "main", "topic"},
	} {
		cmd := exec.Command("git", args...)
		cmd.Dir = work
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=A", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=A", "GIT_COMMITTER_EMAIL=a@b")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	head, err := exec.Command("git", "-C", work, "rev-parse", "HEAD").Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := admin.AwaitBranch(t.Context(), "platform", "fleet", "topic", strings.TrimSpace(string(head))); err != nil {
		t.Fatal(err)
	}
	if _, _, err := admin.OpenPull(t.Context(), "platform", "fleet", "topic", "main", "T", ""); err != nil {
		t.Fatal(err)
	}
	return admin.URL, token
}
