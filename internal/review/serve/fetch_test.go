package serve

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/internal/forge"
)

// patches records what is written to the API server.
type patches struct {
	client.Writer
	got  []string
	fail error
}

func (p *patches) Patch(_ context.Context, o client.Object, patch client.Patch, _ ...client.PatchOption) error {
	data, err := patch.Data(o)
	p.got = append(p.got, o.GetNamespace()+"/"+o.GetName()+" "+string(data))
	return errors.Join(err, p.fail)
}

func TestAPushMakesFluxFetch(t *testing.T) {
	fetched := []string{`aether-system/fleet {"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":"2026-01-02T03:04:05.000000006Z"}}}`}
	tests := map[string]struct {
		why    string
		kind   forge.Kind
		event  string
		ref    string
		fail   error
		status int
		want   []string
	}{
		"Gitea's push":       {"Flux's own interval is long", forge.Gitea, "push", "refs/heads/main", nil, 200, fetched},
		"GitHub's push":      {"the same server serves GitHub", forge.GitHub, "push", "refs/heads/main", nil, 200, fetched},
		"another branch's":   {"Flux tracks one", forge.Gitea, "push", "refs/heads/topic", nil, 200, nil},
		"a tag of that name": {"it is no branch", forge.Gitea, "push", "refs/tags/main", nil, 200, nil},
		"GitHub's ping":      {"forges try a webhook when it is made", forge.GitHub, "ping", "refs/heads/main", nil, 200, nil},
		"a comment":          {"it changes nothing in Git", forge.Gitea, "issue_comment", "refs/heads/main", nil, 200, nil},
		"before the source":  {"the first push may come before it", forge.Gitea, "push", "refs/heads/main", apierrors.NewNotFound(schema.GroupResource{}, "fleet"), 200, fetched},
		"refused by the API": {"the forge shows the delivery as failed", forge.Gitea, "push", "refs/heads/main", errors.New("refused"), 500, fetched},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			to := &patches{fail: test.fail}
			sources := &Sources{
				Keys: []client.ObjectKey{{Namespace: "aether-system", Name: "fleet"}}, Client: to,
				Now: func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC) },
				Log: slog.New(slog.DiscardHandler),
			}
			s, _ := newServer(t, test.kind, newReviewer(), sources.Fetch)
			answer := send(s, test.event, `{"ref":"`+test.ref+`","repository":{"full_name":"platform/fleet"}}`)
			if answer.Code != test.status {
				t.Errorf("%s: got status %d (%s), want %d", test.why, answer.Code, answer.Body, test.status)
			}
			if diff := cmp.Diff(test.want, to.got); diff != "" {
				t.Errorf("%s: patches (-want +got):\n%s", test.why, diff)
			}
		})
	}
}

func TestOnlyASignatureProvesGiteaAndGitHub(t *testing.T) {
	const body = "{}"
	right, other := sign("secret", body), sign("other", body)
	tests := map[string]struct {
		why    string
		kind   forge.Kind
		header map[string]string
		secret string
		want   bool
	}{
		"Gitea's":                        {"it is right", forge.Gitea, map[string]string{"X-Gitea-Signature": right}, "secret", true},
		"GitHub's":                       {"it is right", forge.GitHub, map[string]string{"X-Hub-Signature-256": "sha256=" + right}, "secret", true},
		"of another secret":              {"anyone can send a request", forge.Gitea, map[string]string{"X-Gitea-Signature": other}, "secret", false},
		"of another body":                {"an event must arrive as it was sent", forge.Gitea, map[string]string{"X-Gitea-Signature": sign("secret", "[]")}, "secret", false},
		"a wrong one beside a right one": {"one that is wrong is enough to refuse", forge.Gitea, map[string]string{"X-Gitea-Signature": other, "X-Hub-Signature-256": "sha256=" + right}, "secret", false},
		"none":                           {"a webhook without a secret is a mistake", forge.Gitea, nil, "secret", false},
		"no secret here":                 {"an empty key would let everyone in", forge.Gitea, map[string]string{"X-Gitea-Signature": sign("", body)}, "", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			header := http.Header{}
			for k, v := range test.header {
				header.Set(k, v)
			}
			if got := genuine(test.kind, header, []byte(body), []byte(test.secret)); got != test.want {
				t.Errorf("%s: genuine is %t, want %t", test.why, got, test.want)
			}
		})
	}
}
