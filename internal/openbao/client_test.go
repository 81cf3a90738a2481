package openbao_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/aetherplatform/aether/internal/openbao"
)

// canary is in every value and token; nothing may ever show it.
const canary = "canary-5f2b8c"

var token = openbao.NewToken("hvs." + canary)

// serve is a client of a server that answers so.
func serve(t *testing.T, handler http.HandlerFunc, changes ...func(*openbao.Connection, *openbao.Options)) *openbao.Client {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.EnableHTTP2 = true
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	t.Cleanup(s.Close)
	connection := openbao.Connection{Address: s.URL, CA: authority(s)}
	opts := openbao.Options{}
	for _, change := range changes {
		change(&connection, &opts)
	}
	c, err := openbao.New(connection, opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func authority(s *httptest.Server) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
}

func answers(status int, header map[string]string, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for key, value := range header {
			w.Header().Set(key, value)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// silent fails if what is printed or encoded of a value shows a secret.
func silent(t *testing.T, v any) {
	t.Helper()
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "value", v)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "value", v)
	encoded, _ := json.Marshal(v)
	texts := []string{log.String(), string(encoded), fmt.Sprint(v), fmt.Sprintln(v)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%10s"} {
		texts = append(texts, fmt.Sprintf(verb, v))
	}
	for _, text := range texts {
		for _, secret := range []string{canary, fmt.Sprintf("%x", canary), fmt.Sprintf("%X", canary)} {
			if strings.Contains(text, secret) {
				t.Errorf("%T shows a secret: %s", v, text)
			}
		}
	}
}

func TestAnErrorSaysWhatIsWrongAndNothingOfTheAnswer(t *testing.T) {
	body := func(said string) string { return `{"errors":["` + said + ` ` + canary + `"]}` }
	for name, c := range map[string]struct {
		status int
		header map[string]string
		body   string
		kind   openbao.Kind
		want   string
		after  time.Duration
	}{
		"denied":                 {status: 403, body: body("permission denied"), kind: openbao.Denied, want: "permission denied (403)"},
		"a proxy wants a login":  {status: 401, body: canary, kind: openbao.Denied, want: "permission denied (401)"},
		"nothing":                {status: 404, body: `{"errors":[]}`, kind: openbao.NotFound, want: "there is nothing (404)"},
		"no route":               {status: 404, body: canary, kind: openbao.NotFound, want: "there is nothing (404)"},
		"nothing, with warnings": {status: 404, body: `{"warnings":["` + canary + `"]}`, kind: openbao.NotFound, want: "there is nothing (404)"},
		"wrong":                  {status: 400, body: body("bad"), kind: openbao.Invalid, want: "it does not take the request (400)"},
		"not supported":          {status: 501, body: body("no"), kind: openbao.Invalid, want: "it cannot do that (501)"},
		"sealed":                 {status: 503, body: body("Vault is sealed"), kind: openbao.Unavailable, want: "it is sealed (503)"},
		"standby":                {status: 500, body: body("local node not active but active cluster node not found"), kind: openbao.Unavailable, want: "no node is active (500)"},
		"failing":                {status: 500, body: body("1 error occurred"), kind: openbao.Unavailable, want: "it fails (500)"},
		"a proxy fails":          {status: 502, body: "<html>" + canary, kind: openbao.Unavailable, want: "it fails (502)"},
		"behind":                 {status: 412, body: body("required index state not present"), kind: openbao.Unavailable, want: "this node is behind (412)"},
		"busy": {
			status: 429, header: map[string]string{"Retry-After": "7"}, body: body("quota"), kind: openbao.Unavailable,
			want: "it takes no more requests for now (429)", after: 7 * time.Second,
		},
		"busy for a year": {
			status: 429, header: map[string]string{"Retry-After": "31536000"}, kind: openbao.Unavailable,
			want: "it takes no more requests for now (429)", after: time.Hour,
		},
		"no JSON":       {status: 200, body: canary, kind: openbao.Invalid, want: "the answer is not one of OpenBao's (200)"},
		"other JSON":    {status: 200, body: `{"data":{"x":"` + canary + `"}}`, kind: openbao.Invalid, want: "the answer is not one of OpenBao's"},
		"no content":    {status: 204, kind: openbao.Invalid, want: "the answer is not one of OpenBao's"},
		"an odd time":   {status: 200, body: `{"data":{"data":{},"metadata":{"version":1,"created_time":"` + canary + `"}}}`, kind: openbao.Invalid, want: "the answer is not one of OpenBao's"},
		"far too large": {status: 200, body: `{"data":{"data":{"x":"` + strings.Repeat("x", 9<<20) + `"}}}`, kind: openbao.Invalid, want: "the answer is larger than 8 MiB (200)"},
		"destroyed": {
			status: 404, body: `{"data":{"data":null,"metadata":{"version":3,"created_time":"2026-01-01T00:00:00Z","deletion_time":"","destroyed":true}}}`,
			kind: openbao.Gone, want: "version 3 is destroyed",
		},
		"deleted": {
			status: 404, body: `{"data":{"data":null,"metadata":{"version":3,"created_time":"2026-01-01T00:00:00Z","deletion_time":"2026-01-02T00:00:00Z","destroyed":false}}}`,
			kind: openbao.Gone, want: "version 3 is deleted",
		},
	} {
		t.Run(name, func(t *testing.T) {
			client := serve(t, answers(c.status, c.header, c.body))
			_, err := client.Read(t.Context(), token, "secret", "acme/db", 0)
			silent(t, err)
			if openbao.KindOf(err) != c.kind {
				t.Errorf("got %v, want %s", err, c.kind)
			}
			if diff := cmp.Diff("cannot read secret/data/acme/db in OpenBao: "+c.want, err.Error()); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
			if got := openbao.RetryAfter(fmt.Errorf("cannot sync: %w", err)); got != c.after {
				t.Errorf("it is to be left alone for %v, want %v", got, c.after)
			}
			// Nothing that it answers makes another request fail louder.
			_, err = client.Metadata(t.Context(), token, "secret", "acme/db")
			silent(t, err)
			_, err = client.Create(t.Context(), token, "secret", "acme/db", map[string]any{"password": canary})
			silent(t, err)
			_, err = client.Login(t.Context(), "aether-ns-x", canary)
			silent(t, err)
			_, err = client.ReadRole(t.Context(), token, "x")
			silent(t, err)
			_, err = client.ReadPolicy(t.Context(), token, "x")
			silent(t, err)
			_, err = client.Policies(t.Context(), token)
			silent(t, err)
			silent(t, client.WritePolicy(t.Context(), token, "x", canary))
		})
	}
}

func TestWithoutAnAnswerItSaysWhy(t *testing.T) {
	one := httptest.NewTLSServer(answers(200, nil, "{}"))
	defer one.Close()
	plain := httptest.NewServer(answers(200, nil, "{}"))
	defer plain.Close()
	old := httptest.NewUnstartedServer(answers(200, nil, "{}"))
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
	old.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	old.StartTLS()
	defer old.Close()
	closed := httptest.NewTLSServer(nil)
	closed.Close()
	rude := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_, _ = io.WriteString(conn, canary+"\r\n\r\n")
			_ = conn.Close()
		}
	}))
	defer rude.Close()

	for name, c := range map[string]struct {
		connection openbao.Connection
		want       string
	}{
		"nobody listens":                 {openbao.Connection{Address: closed.URL}, "the connection is refused"},
		"signed by nobody that it knows": {openbao.Connection{Address: one.URL}, "its certificate is signed by an authority that is not trusted; see caBundle"},
		"another's certificate":          {openbao.Connection{Address: strings.Replace(one.URL, "127.0.0.1", "localhost", 1), CA: authority(one)}, "its certificate is for another name"},
		"no TLS":                         {openbao.Connection{Address: strings.Replace(plain.URL, "http:", "https:", 1)}, "it does not speak TLS"},
		"TLS of long ago":                {openbao.Connection{Address: old.URL, CA: authority(old)}, "the connection failed"},
		"no HTTP":                        {openbao.Connection{Address: rude.URL, CA: authority(rude)}, "the connection failed"},
		"no such host":                   {openbao.Connection{Address: "https://openbao.invalid"}, "its name cannot be resolved"},
	} {
		t.Run(name, func(t *testing.T) {
			client, err := openbao.New(c.connection, openbao.Options{})
			if err != nil {
				t.Fatal(err)
			}
			_, err = client.Read(t.Context(), token, "secret", "acme/db", 0)
			silent(t, err)
			if !errors.Is(err, openbao.Unavailable) {
				t.Errorf("got %v, want unavailable", err)
			}
			if diff := cmp.Diff("cannot read secret/data/acme/db in OpenBao: "+c.want, fmt.Sprint(err)); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
		})
	}
}

func TestItWaitsForNoAnswerForEver(t *testing.T) {
	stop := make(chan struct{})
	client := serve(t, func(http.ResponseWriter, *http.Request) { <-stop },
		func(_ *openbao.Connection, o *openbao.Options) { o.Timeout = 50 * time.Millisecond })
	defer close(stop)
	_, err := client.Read(t.Context(), token, "secret", "acme/db", 0)
	if want := "cannot read secret/data/acme/db in OpenBao: it does not answer in time"; fmt.Sprint(err) != want || !errors.Is(err, openbao.Unavailable) {
		t.Errorf("got %v, want %s", err, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = client.Read(ctx, token, "secret", "acme/db", 0)
	if !errors.Is(err, context.Canceled) || !errors.Is(err, openbao.Unavailable) {
		t.Errorf("called off: got %v", err)
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	asked := false
	elsewhere := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer elsewhere.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		client := serve(t, answers(status, map[string]string{"Location": elsewhere.URL + "/v1/" + canary}, ""),
			func(c *openbao.Connection, _ *openbao.Options) { c.CA += authority(elsewhere) })
		_, err := client.Read(t.Context(), token, "secret", "acme/db", 0)
		silent(t, err)
		if !errors.Is(err, openbao.Unavailable) {
			t.Errorf("%d: got %v", status, err)
		}
		if err := client.WritePolicy(t.Context(), token, "x", ""); !errors.Is(err, openbao.Unavailable) {
			t.Errorf("%d: a write: got %v", status, err)
		}
	}
	if asked {
		t.Error("a token was taken to another host")
	}
}

func TestARequestIsMadeOnceOverOneConnection(t *testing.T) {
	requests, connections := 0, map[string]bool{}
	client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		requests++
		connections[r.RemoteAddr] = true
		if r.ProtoMajor != 2 {
			t.Errorf("it came by %s", r.Proto)
		}
		w.WriteHeader(500)
	})
	for range 5 {
		if _, err := client.Read(t.Context(), token, "secret", "acme/db", 0); err == nil {
			t.Error("no error")
		}
	}
	if requests != 5 || len(connections) != 1 {
		t.Errorf("%d requests over %d connections, want 5 over 1", requests, len(connections))
	}
}

func TestARequestIsOfTheConnectionAndNotOfTheEnvironment(t *testing.T) {
	for name, value := range map[string]string{
		"BAO_TOKEN": "x", "VAULT_TOKEN": "x", "BAO_NAMESPACE": "x", "VAULT_NAMESPACE": "x", "BAO_ADDR": "https://x.invalid",
		"VAULT_ADDR": "https://x.invalid", "BAO_WRAP_TTL": "1m", "VAULT_WRAP_TTL": "1m", "BAO_SKIP_VERIFY": "1",
	} {
		t.Setenv(name, value)
	}
	var got http.Header
	var at string
	handler := func(w http.ResponseWriter, r *http.Request) {
		got, at = r.Header, r.Method+" "+r.URL.RequestURI()
		_, _ = io.WriteString(w, `{"data":{"data":{"n":1.50},"metadata":{"version":2,"created_time":"2026-01-01T00:00:00Z"}}}`)
	}
	client := serve(t, handler, func(c *openbao.Connection, _ *openbao.Options) { c.Address += "/"; c.Namespace = "/platform/prod/" })
	secret, err := client.Read(t.Context(), token, "secret", "acme/db", 2)
	if err != nil {
		t.Fatal(err)
	}
	silent(t, secret)
	if secret.Data["n"] != json.Number("1.50") || secret.Version != 2 {
		t.Errorf("the number is %v in version %d", secret.Data["n"], secret.Version)
	}
	headers := map[string]string{}
	for _, key := range []string{"X-Vault-Token", "X-Vault-Namespace", "X-Vault-Wrap-Ttl"} {
		headers[key] = got.Get(key)
	}
	want := map[string]string{"X-Vault-Token": "hvs." + canary, "X-Vault-Namespace": "platform/prod", "X-Vault-Wrap-Ttl": ""}
	if diff := cmp.Diff(want, headers); diff != "" || at != "GET /v1/secret/data/acme/db?version=2" {
		t.Errorf("%s (-want +got):\n%s", at, diff)
	}

	client = serve(t, handler)
	_, _ = client.Login(t.Context(), "x", "y")
	if got.Get("X-Vault-Token") != "" || got.Get("X-Vault-Namespace") != "" || at != "PUT /v1/auth/kubernetes/login" {
		t.Errorf("%s with a token or a namespace", at)
	}
}

func TestNoMoreIsAskedThanTheRateAllows(t *testing.T) {
	requests := 0
	client := serve(t, func(w http.ResponseWriter, _ *http.Request) { requests++; w.WriteHeader(404) },
		func(_ *openbao.Connection, o *openbao.Options) { o.Rate, o.Burst = 0.001, 3 })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for range 3 {
		if _, err := client.Read(ctx, token, "secret", "acme/db", 0); !errors.Is(err, openbao.NotFound) {
			t.Errorf("got %v", err)
		}
	}
	_, err := client.Read(ctx, token, "secret", "acme/db", 0)
	if want := "cannot read secret/data/acme/db in OpenBao: more is asked of it than its rate allows"; fmt.Sprint(err) != want || !errors.Is(err, openbao.Unavailable) {
		t.Errorf("got %v, want %s", err, want)
	}
	if requests != 3 {
		t.Errorf("%d requests, want 3", requests)
	}
}

func TestAConnectionMustBeOneThatSecretsCanTravel(t *testing.T) {
	for name, c := range map[string]openbao.Connection{
		"in the clear":     {Address: "http://openbao.example.com"},
		"no address":       {},
		"no scheme":        {Address: "openbao.example.com:8200"},
		"a user":           {Address: "https://me:" + canary + "@openbao.example.com"},
		"a path":           {Address: "https://openbao.example.com/v1"},
		"a query":          {Address: "https://openbao.example.com?x=y"},
		"no certificate":   {Address: "https://openbao.example.com", CA: "x"},
		"an odd mount":     {Address: "https://openbao.example.com", AuthMount: "../sys"},
		"an odd namespace": {Address: "https://openbao.example.com", Namespace: "a//b"},
	} {
		if _, err := openbao.New(c, openbao.Options{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestATokenIsNeverShown(t *testing.T) {
	type holder struct {
		Token   openbao.Token
		Pointer *openbao.Token
		hidden  openbao.Token
		lease   openbao.Lease
	}
	h := holder{token, &token, token, openbao.Lease{Token: token}}
	for _, v := range []any{token, &token, h, &h, []openbao.Token{token}, map[string]openbao.Token{"x": token}, h.lease, struct{ any }{token}} {
		silent(t, v)
	}
	silent(t, openbao.Secret{Data: map[string]any{"password": canary}})
	silent(t, &openbao.Secret{Data: map[string]any{"password": canary}})
	silent(t, []any{openbao.Secret{Data: map[string]any{"password": canary}}})
	if got := fmt.Sprintf("%v %s %q", token, token, token); got != "[redacted] [redacted] [redacted]" {
		t.Errorf("printed as %s", got)
	}
	if !openbao.NewToken("").IsZero() || token.IsZero() {
		t.Error("a token is none, or none is a token")
	}
}
