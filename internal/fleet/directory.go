package fleet

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// directory is what one top directory of a fleet holds, as far as that can be
// known from the directory alone. It is immutable once read.
type directory struct {
	name       string
	hash       string
	files      Tree // that it was read from, by full path
	tenants    []*Object[*v1alpha1.Tenant]
	namespaces []*Object[*v1alpha1.TenantNamespace]
	clusters   []*Object[*v1alpha1.WorkloadCluster]
	profiles   []*Object[*v1alpha1.NamespaceProfile]
	exceptions []*Object[*v1alpha1.TenantException]
	errs       []*Error
	// faulty have unknown fields and no other fault of their own. They are held
	// against the others, so that all that is wrong is said at once, and are in no
	// Tenant.
	faulty struct {
		tenants    []*Object[*v1alpha1.Tenant]
		namespaces []*Object[*v1alpha1.TenantNamespace]
		clusters   []*Object[*v1alpha1.WorkloadCluster]
		profiles   []*Object[*v1alpha1.NamespaceProfile] // not used: tenants are told where the errors are
		exceptions []*Object[*v1alpha1.TenantException]  // not used
	}

	// written are the names of each kind and where they are, those of objects with
	// errors included: a rule that names one of them has no fault of its own.
	written map[string]map[string]Position
}

// reader reads one directory.
type reader struct {
	*directory
	dirs map[string]bool // that any of the files is below; see hasDirectory
	more int             // errors beyond MaxErrors

	expressions int // in templates of secrets, so far
}

// readDirectory reads one directory. It does not fail: what is wrong is in errs.
func readDirectory(name string, files Tree) *directory {
	r := &reader{
		directory: &directory{name: name, files: files, written: map[string]map[string]Position{}},
	}
	defer func() {
		// Tenants' files reach many lines of other people's code. A panic in it is
		// this tenant's error, and nobody else's.
		if p := recover(); p != nil {
			r.errs = []*Error{{Position: Position{File: name}, Tenant: name, Message: oneLine(fmt.Sprintf("cannot be read: %v; report this as a bug", p))}}
			r.more = 0
		}
		r.close()
	}()
	r.read()
	return r.directory
}

func (r *reader) read() {
	if strings.HasPrefix(r.name, "_") && r.name != v1alpha1.PlatformDirectory {
		r.fail(r.name, 0, fmt.Sprintf("is no tenant's directory; use %s for what is the platform's, and a tenant's name for a tenant", v1alpha1.PlatformDirectory))
		return
	}
	units := r.findUnits()
	for _, file := range slices.Sorted(maps.Keys(r.files)) {
		if hidden(file) || inHidden(file) {
			continue
		}
		switch f := r.files[file]; {
		case f.Refused != "":
			r.fail(file, 0, f.Refused)
		case f.Link != "":
			r.fail(file, 0, fmt.Sprintf("is a symbolic link to %q; commit the file itself", shorten(f.Link)))
		case isYAML(file) && !units.contain(file):
			for _, doc := range r.documents(file, f.Data) {
				r.object(doc)
			}
		}
	}
	for _, doc := range r.build(units) {
		r.object(doc)
	}
	r.checkTenantIsThere()
}

// documents reads the documents of a file.
func (r *reader) documents(file string, data []byte) []*document {
	return readDocuments(file, data, func(line int, message string) { r.fail(file, line, message) })
}

// checkTenantIsThere wants a Tenant in a tenant's directory. There is not more
// than one, since it is named like the directory.
func (r *reader) checkTenantIsThere() {
	if r.name == v1alpha1.PlatformDirectory {
		return
	}
	// A file that could not be read may be the one that holds it.
	if len(r.written[v1alpha1.KindTenant]) == 0 && len(r.errs) == 0 {
		r.fail(r.name, 0, fmt.Sprintf("holds no Tenant; add %s with kind: Tenant and metadata.name: %s", path.Join(r.name, "tenant.yaml"), r.name))
	}
}

// fail records an error.
func (r *reader) fail(file string, line int, message string) {
	if len(r.errs) >= MaxErrors {
		r.more++
		return
	}
	message = credentials.ReplaceAllString(oneLine(message), "$1…@") // it reaches statuses and logs
	r.errs = append(r.errs, &Error{Position: Position{File: file, Line: line}, Tenant: r.name, Message: message})
}

// credentials are what a URL holds before the host, but for the user of an SSH URL.
var credentials = regexp.MustCompile(`(https?://|://[^/@\s"]*:)[^/@\s"]*@`)

// close sorts what was found.
func (r *reader) close() {
	byName(r.tenants)
	byName(r.namespaces)
	byName(r.clusters)
	byName(r.profiles)
	byName(r.exceptions)
	r.errs = once(r.errs)
	if r.more > 0 {
		r.errs = append(r.errs, &Error{Position: Position{File: r.name}, Tenant: r.name, Message: fmt.Sprintf("has %d more errors; mend these first", r.more)})
	}
}
