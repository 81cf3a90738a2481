package artifact

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/aetherplatform/aether/internal/fleet"
)

func TestOnlyAVerifiedBodyIsUsed(t *testing.T) {
	good := archive(t, map[string]string{"tenants/acme/tenant.yaml": "kind: Tenant\n", "README.md": "outside"})
	want := fleet.Tree{"acme/tenant.yaml": {Data: []byte("kind: Tenant\n")}}
	sum512 := sha512.Sum512(good)
	sum384 := sha512.Sum384(good)

	for name, tc := range map[string]struct {
		why    string
		serve  http.HandlerFunc
		digest string
		max    int64
		is     error
		says   string
	}{
		"the whole body": {
			why:    "what the source announced",
			serve:  body(good),
			digest: digestOf(good),
		},
		"sha384": {
			why:    "Flux may be told to use it",
			serve:  body(good),
			digest: "sha384:" + hex.EncodeToString(sum384[:]),
		},
		"sha512": {
			why:    "Flux may be told to use it",
			serve:  body(good),
			digest: "sha512:" + hex.EncodeToString(sum512[:]),
		},
		"half a body": {
			why: "a connection that breaks must not look like removed tenants",
			serve: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", fmt.Sprint(len(good)))
				w.Write(good[:len(good)/2])
			},
			digest: digestOf(good),
			says:   "unexpected EOF",
		},
		"half a body that looks whole": {
			why:    "a proxy may cut without saying so",
			serve:  body(good[:len(good)/2]),
			digest: digestOf(good),
			is:     ErrDigest,
		},
		"another body": {
			why:    "the archive is fine, and not the announced one",
			serve:  body(archive(t, map[string]string{"tenants/evil/tenant.yaml": "x"})),
			digest: digestOf(good),
			is:     ErrDigest,
		},
		"a body with something after it": {
			why:    "the digest is over everything, not over what the reader wanted",
			serve:  body(append(bytes.Clone(good), "more"...)),
			digest: digestOf(good),
			is:     ErrDigest,
		},
		"an endless body": {
			why: "memory and time are bounded",
			serve: func(w http.ResponseWriter, r *http.Request) {
				chunk := make([]byte, 32<<10)
				for r.Context().Err() == nil {
					if _, err := w.Write(chunk); err != nil {
						return
					}
				}
			},
			digest: digestOf(good),
			max:    1 << 20,
			is:     ErrTooLarge,
		},
		"a body of exactly the bound": {
			why:    "the bound is what may be, not what may not",
			serve:  body(good),
			digest: digestOf(good),
			max:    int64(len(good)),
		},
		"404": {
			why:    "a newer artifact has replaced it",
			serve:  func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) },
			digest: digestOf(good),
			is:     ErrNotFound,
		},
		"500": {
			why:    "worth another attempt",
			serve:  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
			digest: digestOf(good),
			says:   "500 Internal Server Error",
		},
		"a redirect": {
			why: "an artifact server does not send us to the metadata service",
			serve: func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "http://169.254.169.254/", http.StatusFound)
			},
			digest: digestOf(good),
			says:   `redirects to "http://169.254.169.254/"`,
		},
		"an unknown digest": {
			why:    "what cannot be verified is not used",
			serve:  body(good),
			digest: "blake3:00",
			says:   `digest "blake3:00"`,
		},
		"an empty digest": {
			why:    "what cannot be verified is not used",
			serve:  body(good),
			digest: "sha256:",
			says:   "64 hexadecimal digits",
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(tc.serve)
			defer server.Close()
			f := &Fetcher{MaxBytes: tc.max}

			tree, err := f.Fetch(t.Context(), server.URL, tc.digest, "./tenants")

			switch {
			case tc.is == nil && tc.says == "":
				if err != nil {
					t.Fatalf("%s: %v", tc.why, err)
				}
				if diff := cmp.Diff(want, tree); diff != "" {
					t.Errorf("%s: (-want +got)\n%s", tc.why, diff)
				}
			case err == nil:
				t.Fatalf("%s: got a tree of %d files, want an error", tc.why, len(tree))
			case tc.is != nil && !errors.Is(err, tc.is):
				t.Errorf("%s: got %q, want %q", tc.why, err, tc.is)
			case !strings.Contains(err.Error(), tc.says):
				t.Errorf("%s: got %q, want it to say %q", tc.why, err, tc.says)
			}
		})
	}
}

func TestAGzipBombTakesNoMemory(t *testing.T) {
	bomb := archive(t, map[string]string{"tenants/acme/a.yaml": strings.Repeat("a", 64<<20), "tenants/globex/a.yaml": "kind: Tenant\n"})
	server := httptest.NewServer(body(bomb))
	defer server.Close()

	tree, err := new(Fetcher).Fetch(t.Context(), server.URL, digestOf(bomb), "./tenants")
	if err != nil {
		t.Fatalf("one tenant's bomb keeps all others from being read: %v", err)
	}
	if file := tree["acme/a.yaml"]; file.Refused == "" || len(file.Data) > 0 {
		t.Errorf("a file of 64 MiB was read: %d bytes, refused %q", len(file.Data), file.Refused)
	}
	if len(tree["globex/a.yaml"].Data) == 0 {
		t.Error("another tenant's file is missing")
	}
}

func TestAServerThatHangsIsLeft(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer server.Close()
	defer close(release)

	_, err := (&Fetcher{Timeout: 50 * time.Millisecond}).Fetch(t.Context(), server.URL, digestOf(nil), ".")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
}

func TestADigestIsFetchedOnce(t *testing.T) {
	good := archive(t, map[string]string{"tenants/acme/tenant.yaml": "kind: Tenant\n"})
	var fetches atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fetches.Add(1)
		w.Write(good)
	}))
	defer server.Close()
	f := &Fetcher{}

	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if _, err := f.Fetch(t.Context(), server.URL, digestOf(good), "./tenants"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()

	if got := fetches.Load(); got != 1 {
		t.Errorf("fetched %d times, want once", got)
	}
}

func TestTreeIsAProperFileSystem(t *testing.T) {
	tree := fleet.Tree{
		"profiles/default/kustomization.yaml": {Data: []byte("components: []\n")},
		"namespace/network/deny.yaml":         {Data: []byte("kind: NetworkPolicy\n")},
		"namespace/link":                      {Link: "/etc/passwd"},
	}
	if err := fstest.TestFS(FS(tree), "profiles/default/kustomization.yaml", "namespace/network/deny.yaml"); err != nil {
		t.Error(err)
	}
	if _, err := FS(tree).Open("namespace/link"); err == nil {
		t.Error("a symbolic link is there")
	}
}

func body(data []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.Write(data) }
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func archive(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var buf bytes.Buffer
	zw := gzip.NewWriter(&buf)
	tw := tar.NewWriter(zw)
	for name, data := range files {
		if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(tw.Close(), zw.Close()); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}
