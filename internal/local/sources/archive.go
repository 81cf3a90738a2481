package sources

import (
	"archive/tar"
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/gitignore"
)

// blob is a regular file of a commit.
type blob struct {
	path       string
	hash       string
	executable bool
}

// pack writes the artifact of a commit to a file: a tar.gz of its regular files,
// in the order and with the headers that make equal trees equal bytes. Flux
// leaves symbolic links and submodules out, and so does this.
//
// What the last commit had in common with this one is taken over: a push of one
// file costs that, and is the same archive as one that is made from nothing.
func (r *Reconciler) pack(ctx context.Context, m mirror, commit string, ignore *string, file string) (size int64, digest string, err error) {
	last := r.lastOf(m)
	last.mu.Lock()
	defer last.mu.Unlock()
	if err := last.read(ctx, m, commit); err != nil {
		return 0, "", err
	}
	blobs, err := last.unignored(ctx, m, ignore)
	if err != nil {
		return 0, "", err
	}

	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return 0, "", err
	}
	next, err := os.CreateTemp(filepath.Dir(file), ".next-*")
	if err != nil {
		return 0, "", err
	}
	defer func() {
		_ = next.Close()
		_ = os.Remove(next.Name()) // not there any more when all went well
	}()
	sum := sha256.New()
	buffered := bufio.NewWriterSize(io.MultiWriter(next, sum), 1<<18)
	if err := last.tarGz(ctx, m, blobs, buffered); err != nil {
		return 0, "", err
	}
	if err := buffered.Flush(); err != nil {
		return 0, "", err
	}
	info, err := next.Stat()
	if err != nil {
		return 0, "", err
	}
	if err := os.Rename(next.Name(), file); err != nil {
		return 0, "", err
	}
	return info.Size(), hex.EncodeToString(sum.Sum(nil)), nil
}

// blobs are the commit's regular files, each folder's after the folder before it.
func (m mirror) blobs(ctx context.Context, commit string) ([]blob, error) {
	out, err := m.git(ctx, nil, "ls-tree", "-r", "-z", "--full-tree", commit)
	if err != nil {
		return nil, err
	}
	var blobs []blob
	for record := range strings.SplitSeq(string(out), "\x00") {
		entry, name, _ := strings.Cut(record, "\t")
		fields := strings.Fields(entry)
		if len(fields) == 3 && isRegular(fields[0]) {
			blobs = append(blobs, blob{path: name, hash: fields[2], executable: fields[0] == "100755"})
		}
	}
	slices.SortFunc(blobs, byPath)
	return blobs, nil
}

func byPath(a, b blob) int { return cmp.Compare(a.path, b.path) }

func isRegular(mode string) bool { return strings.HasPrefix(mode, "100") }

// Files that Flux leaves out unless a pattern takes them back in.
var ignoredByDefault = []string{
	".git/", ".gitignore", ".gitmodules", ".gitattributes",
	"*.jpg", "*.jpeg", "*.gif", "*.png", "*.wmv", "*.flv", "*.tar.gz", "*.zip",
	".github/", ".circleci/", ".travis.yml", ".gitlab-ci.yml", "appveyor.yml", ".drone.yml", "cloudbuild.yaml",
	"codeship-services.yml", "codeship-steps.yml", "**/.goreleaser.yml", "**/.sops.yaml", "**/.flux.yaml",
}

// ignored matches what is left out: the defaults, the .sourceignore files, and
// spec.ignore, the later ones having the last word.
// The text stands for all of them.
func (m mirror) ignored(ctx context.Context, blobs []blob, spec *string) (matcher gitignore.Matcher, all string, err error) {
	var patterns []gitignore.Pattern
	read := func(text string, domain []string) {
		all += fmt.Sprintf("%q %q\n", domain, text)
		for line := range strings.Lines(text) {
			line = strings.TrimRight(line, "\r\n")
			if strings.TrimSpace(line) != "" && !strings.HasPrefix(line, "#") {
				patterns = append(patterns, gitignore.ParsePattern(line, domain))
			}
		}
	}
	read(strings.Join(ignoredByDefault, "\n"), nil)
	for _, b := range blobs {
		if path.Base(b.path) != ".sourceignore" {
			continue
		}
		text, err := m.git(ctx, nil, "cat-file", "blob", b.hash)
		if err != nil {
			return nil, "", err
		}
		var domain []string
		if dir := path.Dir(b.path); dir != "." {
			domain = strings.Split(dir, "/")
		}
		read(string(text), domain)
	}
	if spec != nil {
		read(*spec, nil)
	}
	return gitignore.NewMatcher(patterns), all, nil
}

// files writes regular files into an archive, with the folders that the one
// before the first was not in. The contents come from one `git cat-file`.
func (m mirror) files(ctx context.Context, before string, blobs []blob, archive *tar.Writer) error {
	folder := before
	return m.contents(ctx, blobs, func(b blob, size int64, content io.Reader) error {
		for _, dir := range newFolders(folder, path.Dir(b.path)) {
			if err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755}); err != nil {
				return err
			}
		}
		folder = path.Dir(b.path)
		mode := int64(0o644)
		if b.executable {
			mode = 0o755
		}
		if err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: b.path, Size: size, Mode: mode}); err != nil {
			return err
		}
		_, err := io.Copy(archive, content)
		return err
	})
}

// newFolders are the folders of a path that the path before it was not in.
func newFolders(before, now string) []string {
	var folders []string
	for dir := now; dir != "." && dir != before && !strings.HasPrefix(before, dir+"/"); dir = path.Dir(dir) {
		folders = append(folders, dir)
	}
	slices.Reverse(folders)
	return folders
}

// contents calls use for each blob in turn with its content.
func (m mirror) contents(ctx context.Context, blobs []blob, use func(blob, int64, io.Reader) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends git where use fails
	cmd := m.command(ctx, "cat-file", "--batch", "--buffer")
	var ask bytes.Buffer
	for _, b := range blobs {
		ask.WriteString(b.hash + "\n")
	}
	var said bytes.Buffer
	cmd.Stdin, cmd.Stderr = &ask, &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	err = eachContent(bufio.NewReaderSize(out, 1<<18), blobs, use)
	if err != nil {
		cancel()
		_ = cmd.Wait() // killed: what use said is what matters
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("cannot read objects: %w: %s", err, said.String())
	}
	return nil
}

func eachContent(from *bufio.Reader, blobs []blob, use func(blob, int64, io.Reader) error) error {
	for _, b := range blobs {
		header, err := from.ReadString('\n')
		if err != nil {
			return fmt.Errorf("cannot read %s: %w", b.path, err)
		}
		fields := strings.Fields(header)
		if len(fields) != 3 || fields[1] != "blob" {
			return fmt.Errorf("cannot read %s: git says %q", b.path, strings.TrimSpace(header))
		}
		size, err := strconv.ParseInt(fields[2], 10, 64)
		if err != nil {
			return fmt.Errorf("cannot read %s: %w", b.path, err)
		}
		if err := use(b, size, io.LimitReader(from, size)); err != nil {
			return err
		}
		if _, err := from.Discard(1); err != nil { // the newline after the content
			return fmt.Errorf("cannot read %s: %w", b.path, err)
		}
	}
	return nil
}
