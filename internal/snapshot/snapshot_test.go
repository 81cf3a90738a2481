package snapshot

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/aetherplatform/aether/internal/testenv"
)

// With the real etcd: what was written is in another etcd that begins with a snapshot,
// what came after it is not, and nobody mistakes the one for the other by its revisions.
func TestAnotherEtcdHoldsWhatTheSnapshotHolds(t *testing.T) {
	w := newWorld(t)
	first := w.starts("first", w.member("first"))
	for i := range 50 {
		w.puts(first, fmt.Sprintf("/registry/things/%d", i), fmt.Sprintf("thing %d", i))
	}
	w.puts(first, "/registry/things/7", "changed")
	taken := w.takes(first)
	if taken.Revision != 52 || taken.Size == 0 {
		t.Errorf("took %+v, want revision 52", taken)
	}
	w.puts(first, "/registry/late", "after the snapshot")

	m := w.member("second")
	m.Snapshot = taken.Name
	w.restores(m, true)
	second := w.starts("second", m)
	got := w.holds(second)
	if len(got) != 50 || got["/registry/things/7"] != "changed" || got["/registry/things/49"] != "thing 49" || got["/registry/late"] != "" {
		t.Errorf("the other etcd holds %d keys: %v", len(got), got)
	}
	res, err := second.Get(t.Context(), "/registry/things/7")
	if err != nil {
		t.Fatal(err)
	}
	if res.Header.Revision < bump {
		t.Errorf("the other etcd is at revision %d, want above %d", res.Header.Revision, bump)
	}
	if _, err := second.Get(t.Context(), "/registry/things/7", clientv3.WithRev(taken.Revision)); err == nil || !strings.Contains(err.Error(), "compacted") {
		t.Errorf("the revision of the snapshot is answered with %v, want that it is compacted", err)
	}

	w.puts(second, "/registry/new", "of the second life")
	w.restores(m, false)
	if got := w.holds(second); got["/registry/new"] != "of the second life" {
		t.Error("restoring once more changed what the member holds")
	}
}

// Each failure leaves the member without data, so that the next attempt is a first one.
func TestADamagedSnapshotIsNotRestored(t *testing.T) {
	w := newWorld(t)
	first := w.starts("first", w.member("first"))
	w.puts(first, "a", "b")
	taken := w.takes(first)
	whole, err := os.ReadFile(filepath.Join(w.folder, taken.Name))
	if err != nil {
		t.Fatal(err)
	}
	flipped := slices.Clone(whole)
	flipped[len(flipped)/2] ^= 1
	for name, test := range map[string]struct {
		data []byte
		want string
	}{
		"20261127T120000Z-1.db": {whole[:len(whole)-100], "snapshot 20261127T120000Z-1.db is cut off: it does not end with a digest"},
		"20261127T120000Z-2.db": {flipped, "snapshot 20261127T120000Z-2.db is damaged: its digest is "},
		"../elsewhere.db":       {nil, `"../elsewhere.db" is no name of a snapshot`},
		"20261127T120000Z-3.db": {nil, "cannot read the snapshot: open "},
	} {
		if test.data != nil {
			if err := os.WriteFile(filepath.Join(w.folder, name), test.data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		m := w.member("second")
		m.Snapshot = name
		if _, err := Restore(m); err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s: error is %v, want %s", name, err, test.want)
		}
		if _, err := os.Stat(m.Data); err == nil {
			t.Errorf("%s: the member has data", name)
		}
	}
	m := w.member("second")
	m.Snapshot = taken.Name
	if err := os.MkdirAll(filepath.Join(m.Data+".restoring", "member"), 0o700); err != nil {
		t.Fatal(err)
	}
	w.restores(m, true) // what a kill left is no obstacle
}

func TestOldSnapshotsGoOnceANewerOneIsThere(t *testing.T) {
	w := newWorld(t)
	first := w.starts("first", w.member("first"))
	for _, name := range []string{"20200101T000000Z-1.db", "20200102T000000Z-2.db", "notes.txt", "20200101-mine.db", partial + "now"} {
		if err := os.WriteFile(filepath.Join(w.folder, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	old := filepath.Join(w.folder, partial+"old")
	if err := os.WriteFile(old, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(old, time.Time{}, time.Now().Add(-2*abandoned)); err != nil {
		t.Fatal(err)
	}
	taken := w.takes(first)
	entries, err := os.ReadDir(w.folder)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	slices.Sort(got)
	want := []string{partial + "now", "20200101-mine.db", "20200102T000000Z-2.db", taken.Name, "notes.txt"}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the folder holds %v, want %v", got, want)
	}
}

func TestASnapshotOfAnEtcdThatIsAwayLeavesNothing(t *testing.T) {
	w := newWorld(t)
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Second)
	defer stop()
	if _, err := Take(ctx, w.options("https://127.0.0.1:1")); err == nil {
		t.Fatal("it was taken")
	} else if strings.Contains(err.Error(), "PRIVATE") {
		t.Errorf("the error is %v", err)
	}
	if entries, _ := os.ReadDir(w.folder); len(entries) > 0 {
		t.Errorf("the folder holds %v", entries)
	}
}

// world is a folder of snapshots, and what etcds are known by.
type world struct {
	*testing.T
	folder, pki string
	ports       map[string][2]int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, folder: t.TempDir(), pki: t.TempDir(), ports: map[string][2]int{}}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "etcd"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"tls.crt": {Type: "CERTIFICATE", Bytes: der}, "tls.key": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(w.pki, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *world) file(name string) string { return filepath.Join(w.pki, name) }

// member of an etcd of one.
func (w *world) member(name string) Member {
	w.Helper()
	if _, is := w.ports[name]; !is {
		w.ports[name] = [2]int{w.port(), w.port()}
	}
	peer := fmt.Sprintf("http://127.0.0.1:%d", w.ports[name][1])
	return Member{Folder: w.folder, Data: filepath.Join(w.TempDir(), "member"), Name: name, PeerURL: peer, Cluster: name + "=" + peer, Token: name}
}

func (w *world) port() int {
	w.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// starts the real etcd.
func (w *world) starts(name string, m Member) *clientv3.Client {
	w.Helper()
	url := fmt.Sprintf("https://127.0.0.1:%d", w.ports[name][0])
	cmd := testenv.Command("etcd", "--name="+m.Name, "--data-dir="+m.Data,
		"--listen-client-urls="+url, "--advertise-client-urls="+url, "--listen-peer-urls="+m.PeerURL, "--initial-advertise-peer-urls="+m.PeerURL,
		"--initial-cluster="+m.Cluster, "--initial-cluster-token="+m.Token, "--initial-cluster-state=new",
		"--cert-file="+w.file("tls.crt"), "--key-file="+w.file("tls.key"), "--trusted-ca-file="+w.file("tls.crt"), "--client-cert-auth")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		if w.Failed() {
			w.Logf("etcd %s wrote:\n%s", name, out.String())
		}
	})
	config, err := w.options(url).client()
	if err != nil {
		w.Fatal(err)
	}
	c, err := clientv3.New(config)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = c.Close() })
	testenv.Eventually(w.T, func(ctx context.Context) error {
		ctx, stop := context.WithTimeout(ctx, time.Second)
		defer stop()
		_, err := c.Get(ctx, "health")
		return err
	})
	return c
}

func (w *world) options(endpoint string) Options {
	return Options{Endpoint: endpoint, CA: w.file("tls.crt"), Cert: w.file("tls.crt"), Key: w.file("tls.key"), Folder: w.folder, Keep: 2, Now: time.Now}
}

func (w *world) puts(c *clientv3.Client, key, value string) {
	w.Helper()
	if _, err := c.Put(w.Context(), key, value); err != nil {
		w.Fatal(err)
	}
}

func (w *world) holds(c *clientv3.Client) map[string]string {
	w.Helper()
	res, err := c.Get(w.Context(), "", clientv3.WithPrefix())
	if err != nil {
		w.Fatal(err)
	}
	all := map[string]string{}
	for _, kv := range res.Kvs {
		all[string(kv.Key)] = string(kv.Value)
	}
	return all
}

func (w *world) takes(c *clientv3.Client) Taken {
	w.Helper()
	taken, err := Take(w.Context(), w.options(c.Endpoints()[0]))
	if err != nil {
		w.Fatal(err)
	}
	return taken
}

func (w *world) restores(m Member, want bool) {
	w.Helper()
	if done, err := Restore(m); err != nil || done != want {
		w.Fatalf("restoring says %t, %v, want %t", done, err, want)
	}
}
