package fleet

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/tenancy"
)

// Parser reads fleets. It remembers the directories of the last one by their
// content, so that only what changed is read again.
type Parser struct {
	// Store, where it is set, remembers across processes what directories without
	// errors hold. It must be one that only this very program writes to.
	Store Store

	mu      sync.Mutex
	read    map[string]*directory
	checked map[string]*checked
}

// NewParser returns a Parser that remembers nothing yet.
func NewParser() *Parser {
	return &Parser{}
}

// Parse reads and checks a tree: each directory by itself, each tenant against
// the platform's profiles, then the tenants against each other. incumbents are
// what the tenants that are applied already have to themselves, nil where there is
// no cluster: a newcomer that collides with an incumbent has the error, never the
// incumbent; of two newcomers the later name has it.
//
// What one tenant is held to never depends on whether another's directory has
// errors: a directory with errors takes nothing from others, and a peer whose
// Tenant cannot be read is taken to agree as before, since nothing of it changes
// in the cluster either.
func (p *Parser) Parse(tree Tree, incumbents map[string]tenancy.Holding) *Fleet {
	p.mu.Lock()
	defer p.mu.Unlock()

	groups, astray := p.groups(tree)
	directories := p.directories(tree, groups)

	platform := directories[v1alpha1.PlatformDirectory]
	if platform == nil {
		platform = &directory{name: v1alpha1.PlatformDirectory}
	}
	delete(directories, v1alpha1.PlatformDirectory)
	f := &Fleet{
		Profiles:       map[string]*Object[*v1alpha1.NamespaceProfile]{},
		Exceptions:     map[string]*Object[*v1alpha1.TenantException]{},
		PlatformHash:   platform.hash,
		PlatformErrors: append(astray, platform.errs...),
	}
	sortErrors(f.PlatformErrors)
	for _, profile := range platform.profiles {
		f.Profiles[profile.Value.Name] = profile
	}
	for _, exception := range platform.exceptions {
		f.Exceptions[exception.Value.Name] = exception
	}

	checks := make(map[string]*checked, len(directories))
	for _, name := range sortedKeys(directories) {
		dir := directories[name]
		known := p.checked[name]
		if known == nil || known.dir != dir || known.platform != platform {
			known = check(tree, dir, platform, f.Profiles)
		}
		checks[name] = known
		f.Tenants = append(f.Tenants, known.tenant())
	}
	checkFleet(tree, f.Tenants, checks, incumbents)
	f.PlatformWarnings = checkExceptions(tree, f, directories)

	directories[v1alpha1.PlatformDirectory] = platform
	p.read, p.checked = directories, checks
	return f
}

// Errors are all that is wrong with the fleet, by position.
func (f *Fleet) Errors() []*Error {
	all := slices.Clone(f.PlatformErrors)
	for _, t := range f.Tenants {
		all = append(all, t.Errors...)
	}
	sortErrors(all)
	return all
}

// Warnings are all that is likely not meant, by position.
func (f *Fleet) Warnings() []*Error {
	all := slices.Clone(f.PlatformWarnings)
	for _, t := range f.Tenants {
		all = append(all, t.Warnings...)
	}
	sortErrors(all)
	return all
}

func sortErrors(errs []*Error) {
	slices.SortFunc(errs, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Message, b.Message))
	})
}

// group is one top directory of a tree that is being parsed.
type group struct {
	known *directory // as it was read last, or nil
	files int
	same  int // of files, how many are as in known
}

// unchanged says whether the directory is as it was read.
func (g *group) unchanged() bool {
	return g.known != nil && g.files == g.same && g.files == len(g.known.files)
}

// groups are the directories of a tree, and what of them is known. YAML that is
// in none of them is astray: no tenant can own it.
func (p *Parser) groups(tree Tree) (groups map[string]*group, astray []*Error) {
	groups = make(map[string]*group, len(p.read))
	for name, file := range tree {
		dir, belongs := directoryOf(name, file)
		if !belongs {
			if isYAML(name) && !hidden(dir) {
				astray = append(astray, &Error{
					Position: Position{File: name},
					Tenant:   v1alpha1.PlatformDirectory,
					Message:  fmt.Sprintf("is in no tenant's directory; move it to <tenant>/%s, or to %s/%s", name, v1alpha1.PlatformDirectory, name),
				})
			}
			continue
		}
		g := groups[dir]
		if g == nil {
			g = &group{known: p.read[dir]}
			groups[dir] = g
		}
		g.files++
		if g.known == nil {
			continue
		}
		if old, there := g.known.files[name]; there && old.equal(file) {
			g.same++
		}
	}
	return groups, astray
}

// directoryOf is the top directory that a file is read with, if there is one. A
// link or a refusal may stand for a whole directory.
func directoryOf(name string, file File) (dir string, belongs bool) {
	dir, _, nested := strings.Cut(name, "/")
	return dir, !hidden(dir) && (nested || path.Ext(name) == "" && (file.Link != "" || file.Refused != ""))
}

// equal compares files. Those of a tree that was read after another share their
// content with it, and are not looked into.
func (f File) equal(other File) bool {
	return f.Link == other.Link && f.Refused == other.Refused && bytes.Equal(f.Data, other.Data)
}

// directories reads each directory that is not remembered as it is.
func (p *Parser) directories(tree Tree, groups map[string]*group) map[string]*directory {
	out := make(map[string]*directory, len(groups)+1)
	changed := map[string]Tree{}
	for name, g := range groups {
		if g.unchanged() {
			out[name] = g.known
		} else {
			changed[name] = make(Tree, g.files)
		}
	}
	if len(changed) == 0 {
		return out
	}
	for name, file := range tree {
		if dir, belongs := directoryOf(name, file); belongs && changed[dir] != nil {
			changed[dir][name] = file
		}
	}
	var mu sync.Mutex
	var work errgroup.Group
	work.SetLimit(runtime.GOMAXPROCS(0))
	for name, files := range changed {
		work.Go(func() error {
			dir := p.readDirectory(name, files, hashOf(files))
			mu.Lock()
			defer mu.Unlock()
			out[name] = dir
			return nil
		})
	}
	_ = work.Wait() // none fails
	return out
}

// hashOf is a hash of files. Tenants choose the content, so it must be one that
// they cannot collide.
func hashOf(files Tree) string {
	h := sha256.New()
	var buffer []byte
	for _, name := range slices.Sorted(maps.Keys(files)) {
		file := files[name]
		buffer = buffer[:0]
		for _, text := range []string{name, file.Link, file.Refused} {
			buffer = binary.AppendUvarint(buffer, uint64(len(text)))
			buffer = append(buffer, text...)
		}
		buffer = binary.AppendUvarint(buffer, uint64(len(file.Data)))
		h.Write(buffer)
		h.Write(file.Data)
	}
	return hex.EncodeToString(h.Sum(nil))
}
