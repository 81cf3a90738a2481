package webhook

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
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

func TestOnlySignedPushesMakeFluxFetch(t *testing.T) {
	const body = `{"ref":"refs/heads/main"}`
	fetched := []string{`aether-system/fleet {"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":"2026-01-02T03:04:05.000000006Z"}}}`}

	tests := map[string]struct {
		why    string
		method string
		header http.Header
		body   string
		secret string
		fail   error
		status int
		want   []string
	}{
		"Gitea's push": {
			why:    "the local platform's forge sends these",
			header: http.Header{"X-Gitea-Event": {"push"}, "X-Gitea-Signature": {sign("key", body)}},
			status: 200, want: fetched,
		},
		"GitHub's push": {
			why:    "the same receiver serves GitHub",
			header: http.Header{"X-Github-Event": {"push"}, "X-Hub-Signature-256": {"sha256=" + sign("key", body)}},
			status: 200, want: fetched,
		},
		"a ping": {
			why:    "forges try a webhook when it is made",
			header: http.Header{"X-Github-Event": {"ping"}, "X-Hub-Signature-256": {"sha256=" + sign("key", body)}},
			status: 200,
		},
		"another event": {
			why:    "a comment changes nothing in Git",
			header: http.Header{"X-Gitea-Event": {"issue_comment"}, "X-Gitea-Signature": {sign("key", body)}},
			status: 400,
		},
		"a signature of another secret": {
			why:    "anyone can send a request",
			header: http.Header{"X-Gitea-Event": {"push"}, "X-Gitea-Signature": {sign("other", body)}},
			status: 401,
		},
		"a signature of another body": {
			why:    "an event must arrive as it was sent",
			header: http.Header{"X-Gitea-Event": {"push"}, "X-Gitea-Signature": {sign("key", "{}")}},
			status: 401,
		},
		"a wrong signature beside a right one of the other kind": {
			why:    "one that is wrong is enough to refuse",
			header: http.Header{"X-Gitea-Event": {"push"}, "X-Gitea-Signature": {sign("other", body)}, "X-Hub-Signature-256": {"sha256=" + sign("key", body)}},
			status: 401,
		},
		"no signature": {
			why:    "a webhook without a secret is a mistake",
			header: http.Header{"X-Gitea-Event": {"push"}},
			status: 401,
		},
		"no secret here": {
			why:    "an empty key would let everyone in",
			header: http.Header{"X-Gitea-Event": {"push"}, "X-Gitea-Signature": {sign("", body)}},
			secret: "-", status: 401,
		},
		"a visit by browser": {
			why:    "reading must never act",
			method: http.MethodGet,
			header: http.Header{"X-Gitea-Event": {"push"}, "X-Gitea-Signature": {sign("key", body)}},
			status: 405,
		},
		"an endless body": {
			why:    "memory is bounded whoever sends",
			header: http.Header{"X-Gitea-Event": {"push"}, "X-Gitea-Signature": {sign("key", body)}},
			body:   strings.Repeat("x", maxEvent+1),
			status: 413,
		},
		"a source that is not there yet": {
			why:    "the first push may come before the source",
			header: http.Header{"X-Gitea-Event": {"push"}, "X-Gitea-Signature": {sign("key", body)}},
			fail:   apierrors.NewNotFound(schema.GroupResource{}, "fleet"),
			status: 200, want: fetched,
		},
		"an API server that refuses": {
			why:    "the forge shows the delivery as failed",
			header: http.Header{"X-Gitea-Event": {"push"}, "X-Gitea-Signature": {sign("key", body)}},
			fail:   errors.New("refused"),
			status: 500, want: fetched,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			to := &patches{fail: test.fail}
			receiver := &Receiver{
				Secret:  []byte("key"),
				Sources: []client.ObjectKey{{Namespace: "aether-system", Name: "fleet"}},
				Client:  to,
				Now:     func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC) },
				Log:     slog.New(slog.DiscardHandler),
			}
			if test.secret == "-" {
				receiver.Secret = nil
			}
			method, sent := http.MethodPost, body
			if test.method != "" {
				method = test.method
			}
			if test.body != "" {
				sent = test.body
			}
			request := httptest.NewRequest(method, "/hook", strings.NewReader(sent))
			request.Header = test.header
			answer := httptest.NewRecorder()
			receiver.ServeHTTP(answer, request)

			if answer.Code != test.status {
				t.Errorf("%s: got status %d (%s), want %d", test.why, answer.Code, answer.Body, test.status)
			}
			if diff := cmp.Diff(test.want, to.got); diff != "" {
				t.Errorf("%s: patches (-want +got):\n%s", test.why, diff)
			}
		})
	}
}

func sign(secret, body string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(body))
	return hex.EncodeToString(mac.Sum(nil))
}
