// Package rootstest tries whether a program has certificates to trust where the system
// has none, as in an image that holds nothing but the program.
package rootstest

import (
	"crypto/x509"
	"os"
	"os/exec"
	"testing"
)

// child is set in the process that has no system.
const child = "AETHER_TEST_WITHOUT_ROOTS"

// Trusts fails unless the test's own binary, which links what its program links, trusts
// someone with SSL_CERT_FILE and SSL_CERT_DIR leading nowhere. The test runs again in that
// process: the roots are read once, when a program starts.
func Trusts(t *testing.T) {
	t.Helper()
	if os.Getenv(child) != "" {
		roots, err := x509.SystemCertPool()
		if err != nil {
			t.Fatal(err)
		}
		if roots.Equal(x509.NewCertPool()) {
			t.Fatal("it trusts no one: import golang.org/x/crypto/x509roots/fallback")
		}
		return
	}
	empty := t.TempDir()
	again := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$") //nolint:gosec // this very program
	again.Env = append(os.Environ(), child+"=1", "SSL_CERT_FILE=/dev/null", "SSL_CERT_DIR="+empty)
	if out, err := again.CombinedOutput(); err != nil {
		t.Errorf("without the system's roots: %v\n%s", err, out)
	}
}
