// Package snapshot takes snapshots of an etcd into a folder, checks them, and makes the
// data of a new member of one. It keeps no snapshot that it has not read through, removes
// an old one only after a newer one is there, and never touches data that a member has.
package snapshot

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	etcdsnapshot "go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap"
)

// Taken is a snapshot that was taken and checked.
type Taken struct {
	// Name of its file.
	Name string `json:"name"`
	// Time when it was complete.
	Time time.Time `json:"time"`
	// Size in bytes.
	Size int64 `json:"size"`
	// Revision of the store that it holds.
	Revision int64 `json:"revision"`
}

// Options of taking a snapshot.
type Options struct {
	// Endpoint of etcd, and the files of who asks it.
	Endpoint, CA, Cert, Key string
	// Folder of snapshots.
	Folder string
	// Keep is how many there are before the oldest is removed.
	Keep int
	// Now is the time.
	Now func() time.Time
}

// named is the name of a snapshot: when it was taken, and of which revision. Names are in
// the order of time.
var named = regexp.MustCompile(`^\d{8}T\d{6}Z-\d+\.db$`)

const (
	// partial begins the name of what is not a snapshot yet.
	partial = ".partial-"
	// abandoned is when a partial one is nobody's any more.
	abandoned = 6 * time.Hour
	// bump is how far revisions jump: whoever watched the store of before, which may have
	// gone on after the snapshot, sees none again that it has seen
	// (https://etcd.io/docs/v3.6/op-guide/recovery/#restoring-with-revision-bump).
	bump = 1_000_000_000
)

// Take takes a snapshot.
func Take(ctx context.Context, o Options) (Taken, error) {
	config, err := o.client()
	if err != nil {
		return Taken{}, err
	}
	if err := sweep(o.Folder, o.Now()); err != nil {
		return Taken{}, err
	}
	file, err := os.CreateTemp(o.Folder, partial)
	if err != nil {
		return Taken{}, fmt.Errorf("cannot make a file for the snapshot: %w", err)
	}
	_ = file.Close()
	defer os.Remove(file.Name()) // or there is none any more
	manager := etcdsnapshot.NewV3(zap.NewNop())
	if _, err := manager.Save(ctx, config, file.Name()); err != nil {
		_ = os.Remove(file.Name() + ".part") // as Save calls it
		return Taken{}, fmt.Errorf("cannot take a snapshot of %s: %w", o.Endpoint, err)
	}
	if err := whole(file.Name()); err != nil {
		return Taken{}, err
	}
	is, err := manager.Status(file.Name())
	if err != nil {
		return Taken{}, fmt.Errorf("cannot read the snapshot that was taken: %w", err)
	}
	info, err := os.Stat(file.Name())
	if err != nil {
		return Taken{}, fmt.Errorf("cannot read the snapshot that was taken: %w", err)
	}
	t := Taken{Time: o.Now().UTC().Truncate(time.Second), Size: info.Size(), Revision: is.Revision}
	t.Name = fmt.Sprintf("%s-%d.db", t.Time.Format("20060102T150405Z"), t.Revision)
	// For the group too: the members that are restored from it run as other users may.
	err = errors.Join(os.Chmod(file.Name(), 0o440), move(file.Name(), filepath.Join(o.Folder, t.Name))) //nolint:gosec // read only
	if err != nil {
		return Taken{}, fmt.Errorf("cannot keep the snapshot: %w", err)
	}
	return t, prune(o.Folder, o.Keep)
}

func (o Options) client() (clientv3.Config, error) {
	pair, err := tls.LoadX509KeyPair(o.Cert, o.Key)
	if err != nil {
		return clientv3.Config{}, fmt.Errorf("cannot read the client's certificate: %w", err)
	}
	pem, err := os.ReadFile(o.CA)
	if err != nil {
		return clientv3.Config{}, fmt.Errorf("cannot read the authority's certificate: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return clientv3.Config{}, fmt.Errorf("%s holds no certificate", o.CA)
	}
	return clientv3.Config{
		Endpoints: []string{o.Endpoint}, DialTimeout: 20 * time.Second, Logger: zap.NewNop(),
		TLS: &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, RootCAs: roots},
	}, nil
}

// whole checks the digest that etcd appends to a snapshot.
func whole(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("cannot read the snapshot: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("cannot read the snapshot: %w", err)
	}
	// Pages are of 512 bytes or more, so a digest shows in the size.
	if info.Size()%512 != sha256.Size {
		return fmt.Errorf("snapshot %s is cut off: it does not end with a digest", filepath.Base(path))
	}
	h := sha256.New()
	if _, err := io.CopyN(h, file, info.Size()-sha256.Size); err != nil {
		return fmt.Errorf("cannot read the snapshot: %w", err)
	}
	want, err := io.ReadAll(file)
	if err != nil {
		return fmt.Errorf("cannot read the snapshot: %w", err)
	}
	if got := h.Sum(nil); !slices.Equal(got, want) {
		return fmt.Errorf("snapshot %s is damaged: its digest is %s, want %s", filepath.Base(path), hex.EncodeToString(got), hex.EncodeToString(want))
	}
	return nil
}

// sweep removes what those left that were killed.
func sweep(folder string, now time.Time) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return fmt.Errorf("cannot read the folder of snapshots: %w", err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !strings.HasPrefix(e.Name(), partial) || now.Sub(info.ModTime()) < abandoned {
			continue
		}
		if err := os.Remove(filepath.Join(folder, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot remove what is left of a snapshot: %w", err)
		}
	}
	return nil
}

// prune removes the oldest snapshots. What is not named as one is not touched.
func prune(folder string, keep int) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return fmt.Errorf("cannot read the folder of snapshots: %w", err)
	}
	var names []string
	for _, e := range entries {
		if named.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	for _, name := range names[:max(0, len(names)-max(1, keep))] {
		if err := os.Remove(filepath.Join(folder, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot remove snapshot %s: %w", name, err)
		}
	}
	return nil
}

// move gives a file or a folder its name, for good.
func move(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	folder, err := os.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// Member is one of an etcd that begins with a snapshot.
type Member struct {
	// Folder of snapshots, and the name of the snapshot in it.
	Folder, Snapshot string
	// Data is the folder of the member's data.
	Data string
	// Name of the member, its URL for peers, and all members as name=URL.
	Name, PeerURL, Cluster string
	// Token of the cluster.
	Token string
}

// Restore makes the data of a member of a snapshot. It says that it did nothing when the
// member has data. Revisions go on far above those of the snapshot, and what is below is
// compacted, so that whoever watched the earlier store asks for everything anew.
func Restore(m Member) (done bool, err error) {
	switch _, err := os.Lstat(m.Data); {
	case err == nil:
		return false, nil
	case !errors.Is(err, fs.ErrNotExist):
		return false, fmt.Errorf("cannot tell whether the member has data: %w", err)
	}
	if m.Snapshot != filepath.Base(m.Snapshot) || strings.HasPrefix(m.Snapshot, ".") {
		return false, fmt.Errorf("%q is no name of a snapshot", m.Snapshot)
	}
	file := filepath.Join(m.Folder, m.Snapshot)
	if err := whole(file); err != nil {
		return false, err
	}
	// Half of it is what a kill leaves, and is begun anew.
	half := m.Data + ".restoring"
	if err := os.RemoveAll(half); err != nil {
		return false, fmt.Errorf("cannot remove what an earlier attempt left: %w", err)
	}
	err = etcdsnapshot.NewV3(zap.NewNop()).Restore(etcdsnapshot.RestoreConfig{
		SnapshotPath: file, OutputDataDir: half, Name: m.Name, PeerURLs: []string{m.PeerURL},
		InitialCluster: m.Cluster, InitialClusterToken: m.Token, RevisionBump: bump, MarkCompacted: true,
	})
	if err != nil {
		return false, fmt.Errorf("cannot restore snapshot %s: %w", m.Snapshot, err)
	}
	if err := errors.Join(os.Chmod(half, 0o700), move(half, m.Data)); err != nil { //nolint:gosec // a folder, of its owner alone
		return false, fmt.Errorf("cannot put the restored data in place: %w", err)
	}
	return true, nil
}
