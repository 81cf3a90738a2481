package sources

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/aetherplatform/aether/internal/local/forge"
	"github.com/aetherplatform/aether/internal/local/gitea"
)

// world is a forge with a repository that has one commit, the GitRepository
// aether-system/fleet that points at it, and the Reconciler.
type world struct {
	testing.TB
	*Reconciler
	push     string // the URL to push to, credentials included
	checkout string
	writes   int
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{TB: t, checkout: t.TempDir()}

	var server *forge.Server
	git := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { server.ServeHTTP(rw, r) }))
	t.Cleanup(git.Close)
	server, err := forge.New(forge.Options{
		Dir: t.TempDir(), URL: git.URL, Admin: forge.Login{Name: "flux", Password: "right"}, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	api := &gitea.Client{URL: git.URL, Name: "flux", Password: "right"}
	if err := errors.Join(api.EnsureOrg(t.Context(), "platform"), api.EnsureRepository(t.Context(), "platform", "fleet")); err != nil {
		t.Fatal(err)
	}
	w.push = strings.Replace(git.URL, "://", "://flux:right@", 1) + "/platform/fleet.git"
	w.git("init", "--quiet", "--initial-branch=main")

	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), sourcev1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	w.Reconciler = &Reconciler{
		Dir: t.TempDir(),
		Now: time.Now,
		Client: fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&sourcev1.GitRepository{}).WithObjects(
			&corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Namespace: "aether-system", Name: "fleet"},
				Data:       map[string][]byte{"username": []byte("flux"), "password": []byte("right")},
			},
			&sourcev1.GitRepository{
				ObjectMeta: metav1.ObjectMeta{Namespace: "aether-system", Name: "fleet", UID: "1", Generation: 1},
				Spec: sourcev1.GitRepositorySpec{
					URL: git.URL + "/platform/fleet", Interval: metav1.Duration{Duration: time.Minute},
					SecretRef: &meta.LocalObjectReference{Name: "fleet"}, Reference: &sourcev1.GitRepositoryRef{Branch: "main"},
				},
			},
		).WithInterceptorFuncs(interceptor.Funcs{
			SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
				w.writes++
				return c.SubResource(sub).Patch(ctx, o, p, opts...)
			},
		}).Build(),
	}
	files := httptest.NewServer(w.Reconciler)
	t.Cleanup(files.Close)
	w.Reconciler.URL = files.URL
	return w
}

func (w *world) git(args ...string) string {
	w.Helper()
	cmd := exec.CommandContext(w.Context(), "git", args...)
	cmd.Dir = w.checkout
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com")
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// pushes commits files, by path, and pushes the branch main.
func (w *world) pushes(files map[string]string) (commit string) {
	w.Helper()
	for name, content := range files {
		path := filepath.Join(w.checkout, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			w.Fatal(err)
		}
	}
	w.git("add", "--all", "--force")
	w.git("commit", "--quiet", "--message", "Change the fleet")
	w.git("push", "--quiet", "--force", w.push, "HEAD:main")
	return w.git("rev-parse", "HEAD")
}

// reconciles runs the Reconciler once and returns the GitRepository after it.
func (w *world) reconciles(change ...func(*sourcev1.GitRepository)) (*sourcev1.GitRepository, error) {
	w.Helper()
	key := client.ObjectKey{Namespace: "aether-system", Name: "fleet"}
	var repo sourcev1.GitRepository
	if err := w.Get(w.Context(), key, &repo); err != nil {
		w.Fatal(err)
	}
	for _, c := range change {
		c(&repo)
		repo.Generation++
		if err := w.Update(w.Context(), &repo); err != nil {
			w.Fatal(err)
		}
	}
	_, err := w.Reconcile(w.Context(), repo.DeepCopy())
	if err := w.Get(w.Context(), key, &repo); err != nil {
		w.Fatal(err)
	}
	return &repo, err
}

// content fetches an artifact, checks what is told of it, and lists it: the
// folders by name and the files with their content.
func (w *world) content(a *meta.Artifact) map[string]string {
	w.Helper()
	response, err := http.Get(a.URL)
	if err != nil {
		w.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	sum := sha256.New()
	read := io.TeeReader(response.Body, sum)
	zip, err := gzip.NewReader(read)
	if err != nil {
		w.Fatalf("%s: %s: %v", a.URL, response.Status, err)
	}
	found := map[string]string{}
	for archive := tar.NewReader(zip); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			w.Fatal(err)
		}
		data, err := io.ReadAll(archive)
		if err != nil {
			w.Fatal(err)
		}
		found[header.Name] = string(data)
	}
	size, err := io.Copy(io.Discard, read)
	if err != nil || size != 0 {
		w.Fatalf("%d bytes after the archive (%v)", size, err)
	}
	if got := "sha256:" + hex.EncodeToString(sum.Sum(nil)); got != a.Digest {
		w.Errorf("the artifact's digest is %s, its status says %s", got, a.Digest)
	}
	if a.Size == nil || *a.Size != response.ContentLength {
		w.Errorf("the artifact has %d bytes, its status says %v", response.ContentLength, a.Size)
	}
	return found
}

func TestAnArtifactHoldsWhatFluxWouldPack(t *testing.T) {
	w := newWorld(t)
	if err := os.Symlink("tenant.yaml", filepath.Join(w.checkout, "link.yaml")); err != nil {
		t.Fatal(err)
	}
	commit := w.pushes(map[string]string{
		"tenants/acme/tenant.yaml":  "kind: Tenant\n",
		"tenants/acme-b/x.yaml":     "x\n",
		"tenants/acme/ns/web.yaml":  "$Format:%H$\n",
		".gitattributes":            "*.yaml export-subst\nns export-ignore\n",
		"docs/picture.png":          "png",
		"docs/page.md":              "page",
		"secret/.sourceignore":      "*.txt\n",
		"secret/a.txt":              "ignored",
		"secret/b.md":               "kept",
		"tenants/globex/tenant.yml": "left out by spec.ignore",
	})
	ignore := "# Comments are no patterns.\n/tenants/globex\n!*.png\n"
	repo, err := w.reconciles(func(r *sourcev1.GitRepository) { r.Spec.Ignore = &ignore })
	if err != nil {
		t.Fatal(err)
	}
	a := repo.Status.Artifact
	if want := "main@sha1:" + commit; a.Revision != want {
		t.Errorf("the revision is %q, want %q", a.Revision, want)
	}
	if want := "gitrepository/aether-system/fleet/" + commit + ".tar.gz"; a.Path != want {
		t.Errorf("the path is %q, want %q", a.Path, want)
	}
	want := map[string]string{
		"docs/": "", "docs/page.md": "page", "docs/picture.png": "png",
		"secret/": "", "secret/.sourceignore": "*.txt\n", "secret/b.md": "kept",
		"tenants/": "", "tenants/acme/": "", "tenants/acme-b/": "", "tenants/acme/ns/": "",
		"tenants/acme-b/x.yaml": "x\n", "tenants/acme/tenant.yaml": "kind: Tenant\n", "tenants/acme/ns/web.yaml": "$Format:%H$\n",
	}
	if diff := cmp.Diff(want, w.content(a)); diff != "" {
		t.Errorf("the artifact (-want +got):\n%s", diff)
	}
}

func TestTheSameTreeGivesTheSameBytes(t *testing.T) {
	files := map[string]string{"tenants/acme/tenant.yaml": "kind: Tenant\n", "tenants/b.yaml": "b\n"}
	a, b := newWorld(t), newWorld(t)
	a.pushes(files)
	b.pushes(map[string]string{"gone.yaml": "gone\n"})
	if err := os.Remove(filepath.Join(b.checkout, "gone.yaml")); err != nil {
		t.Fatal(err)
	}
	b.pushes(files)
	first, err1 := a.reconciles()
	second, err2 := b.reconciles()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if first.Status.Artifact.Digest != second.Status.Artifact.Digest {
		t.Errorf("two commits of one tree have the digests %s and %s", first.Status.Artifact.Digest, second.Status.Artifact.Digest)
	}
}

func TestStatusSpeaksAsFluxDoes(t *testing.T) {
	tests := map[string]struct {
		why    string
		change func(*world, *sourcev1.GitRepository)
		ready  metav1.ConditionStatus
		reason string
		want   string
		also   string
	}{
		"a repository that is there": {
			why:    "readers wait for Ready and for what was asked to be handled",
			change: func(*world, *sourcev1.GitRepository) {},
			ready:  "True", reason: "Succeeded", want: "stored artifact for revision 'main@sha1:", also: sourcev1.ArtifactInStorageCondition,
		},
		"a branch that is not": {
			why:    "a misspelled branch is the commonest mistake",
			change: func(_ *world, r *sourcev1.GitRepository) { r.Spec.Reference.Branch = "mian" },
			ready:  "False", reason: "GitOperationFailed", also: sourcev1.FetchFailedCondition,
			want: "failed to checkout and determine revision: reference not found: 'refs/heads/mian'",
		},
		"a wrong password": {
			why: "credentials are rotated",
			change: func(w *world, _ *sourcev1.GitRepository) {
				w.must(w.Update(w.Context(), &corev1.Secret{
					ObjectMeta: metav1.ObjectMeta{Namespace: "aether-system", Name: "fleet"},
					Data:       map[string][]byte{"username": []byte("flux"), "password": []byte("wrong")},
				}))
			},
			ready: "False", reason: "AuthenticationFailed", also: sourcev1.FetchFailedCondition,
			want: "failed to checkout and determine revision: authentication required or refused",
		},
		"a Secret that is not there": {
			why:    "it is made by hand",
			change: func(_ *world, r *sourcev1.GitRepository) { r.Spec.SecretRef.Name = "other" },
			ready:  "False", reason: "AuthenticationFailed", also: sourcev1.FetchFailedCondition,
			want: "failed to get secret 'aether-system/other': not found",
		},
		"a repository that is not": {
			why:    "so is the URL",
			change: func(_ *world, r *sourcev1.GitRepository) { r.Spec.URL += "x" },
			ready:  "False", reason: "GitOperationFailed", also: sourcev1.FetchFailedCondition,
			want: "failed to checkout and determine revision: ",
		},
		"a protocol of its own": {
			why:    "git would run a command for it",
			change: func(_ *world, r *sourcev1.GitRepository) { r.Spec.URL = "ext::touch /tmp/aether-must-not-be" },
			ready:  "False", reason: "GitOperationFailed", also: sourcev1.FetchFailedCondition,
			want: "failed to checkout and determine revision: ",
		},
		"what only Flux's own can do": {
			why:    "silently ignoring a field would be worse than not having it",
			change: func(_ *world, r *sourcev1.GitRepository) { r.Spec.RecurseSubmodules = true },
			ready:  "False", reason: reasonUnsupported, also: meta.StalledCondition,
			want: "spec.recurseSubmodules is not served by the stand-in for source-controller: leave it out, or run Flux's own",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.pushes(map[string]string{"tenants/acme/tenant.yaml": "kind: Tenant\n"})
			repo, _ := w.reconciles(func(r *sourcev1.GitRepository) {
				r.Annotations = map[string]string{meta.ReconcileRequestAnnotation: "now"}
				test.change(w, r)
			})
			ready := conditions.Get(repo, meta.ReadyCondition)
			if ready == nil || ready.Status != test.ready || ready.Reason != test.reason || !strings.HasPrefix(ready.Message, test.want) {
				t.Errorf("%s: Ready is %+v, want %s %s %q", test.why, ready, test.ready, test.reason, test.want)
			}
			if !conditions.IsTrue(repo, test.also) {
				t.Errorf("%s: %s is not True: %+v", test.why, test.also, repo.Status.Conditions)
			}
			if repo.Status.ObservedGeneration != repo.Generation || repo.Status.LastHandledReconcileAt != "now" {
				t.Errorf("%s: observed generation %d of %d, handled %q", test.why, repo.Status.ObservedGeneration, repo.Generation, repo.Status.LastHandledReconcileAt)
			}
			if strings.Contains(fmt.Sprint(repo.Status), "right") {
				t.Errorf("%s: the status holds the password", test.why)
			}
		})
	}
}

func TestAFailedFetchKeepsTheArtifact(t *testing.T) {
	w := newWorld(t)
	w.pushes(map[string]string{"a.yaml": "a\n"})
	before, err := w.reconciles()
	if err != nil {
		t.Fatal(err)
	}
	after, err := w.reconciles(func(r *sourcev1.GitRepository) { r.Spec.Reference.Branch = "gone" })
	if err == nil {
		t.Fatal("a branch that is not there was fetched")
	}
	if diff := cmp.Diff(before.Status.Artifact, after.Status.Artifact); diff != "" {
		t.Errorf("the artifact changed (-before +after):\n%s", diff)
	}
	w.content(after.Status.Artifact)
}

func TestNothingNewWritesNothing(t *testing.T) {
	w := newWorld(t)
	w.pushes(map[string]string{"a.yaml": "a\n"})
	for range 3 {
		if _, err := w.reconciles(); err != nil {
			t.Fatal(err)
		}
	}
	if w.writes != 1 {
		t.Errorf("the status was written %d times for one commit", w.writes)
	}
}

func TestTheLastTwoArtifactsAreServed(t *testing.T) {
	w := newWorld(t)
	var artifacts []*meta.Artifact
	for i := range 4 {
		w.pushes(map[string]string{"a.yaml": fmt.Sprint(i)})
		repo, err := w.reconciles()
		if err != nil {
			t.Fatal(err)
		}
		artifacts = append(artifacts, repo.Status.Artifact)
	}
	for i, want := range []int{404, 404, 200, 200} {
		response, err := http.Get(artifacts[i].URL)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("artifact %d of 4: got status %d, want %d", i+1, response.StatusCode, want)
		}
	}
}

func TestAnUnrelatedHistoryIsFetched(t *testing.T) {
	w := newWorld(t)
	w.pushes(map[string]string{"a.yaml": "a\n"})
	if _, err := w.reconciles(); err != nil {
		t.Fatal(err)
	}
	w.git("checkout", "--quiet", "--orphan", "other")
	w.git("rm", "--quiet", "-r", "--force", ".")
	w.pushes(map[string]string{"b.yaml": "b\n"})
	repo, err := w.reconciles()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"b.yaml": "b\n"}, w.content(repo.Status.Artifact)); diff != "" {
		t.Errorf("the artifact (-want +got):\n%s", diff)
	}
}

func TestALostArtifactIsPackedAgain(t *testing.T) {
	w := newWorld(t)
	w.pushes(map[string]string{"a.yaml": "a\n"})
	before, err := w.reconciles()
	if err != nil {
		t.Fatal(err)
	}
	w.must(os.RemoveAll(w.Dir))
	after, err := w.reconciles()
	if err != nil {
		t.Fatal(err)
	}
	if before.Status.Artifact.Digest != after.Status.Artifact.Digest {
		t.Errorf("the digest was %s and is %s", before.Status.Artifact.Digest, after.Status.Artifact.Digest)
	}
	w.content(after.Status.Artifact)
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// BenchmarkOneFileOfTenThousandChanged is the time from "fetch now" to the new
// artifact in a fleet of 10,000 files.
func BenchmarkOneFileOfTenThousandChanged(b *testing.B) {
	w := newWorld(b)
	files := map[string]string{}
	for i := range 10_000 {
		files[fmt.Sprintf("tenants/t%03d/ns%02d.yaml", i/10, i%10)] = fmt.Sprintf("kind: TenantNamespace\nmetadata: {name: t%03d-%02d}\n%s", i/10, i%10, strings.Repeat("# a line of the size that lines have\n", 12))
	}
	w.pushes(files)
	if _, err := w.reconciles(); err != nil {
		b.Fatal(err)
	}
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		w.pushes(map[string]string{"tenants/t001/ns01.yaml": fmt.Sprint("kind: TenantNamespace # ", i)})
		b.StartTimer()
		if _, err := w.reconciles(); err != nil {
			b.Fatal(err)
		}
	}
}
