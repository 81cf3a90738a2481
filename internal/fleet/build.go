package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v4"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// build builds the units that no other unit names, and returns what they make.
// Every YAML file in a unit must have been named, so that none is left out unseen.
func (r *reader) build(all units) []*document {
	var built []*document
	used := map[string]bool{}
	whole := true
	for _, u := range all.sorted() {
		used[u.file] = true
		whole = whole && u.content != nil
		for _, to := range u.refs {
			if to.file != "" {
				used[to.file] = true
			}
		}
	}
	if !whole {
		return nil // what is used is not known; the errors are
	}
	reached := map[*unit]bool{}
	for _, u := range all.sorted() {
		if u.named || all.around(path.Dir(u.dir)) != nil {
			continue
		}
		p := &plan{reader: r, root: u, fs: filesys.MakeFsInMemory(), origins: map[string]*document{}, number: map[*unit]int{}}
		built = append(built, p.build(reached)...)
	}
	r.checkUnused(all, used, reached)
	return built
}

// checkUnused reports files of units that nothing names.
func (r *reader) checkUnused(all units, used map[string]bool, reached map[*unit]bool) {
	for _, u := range all.sorted() {
		switch {
		case reached[u]:
		case u.named:
			r.fail(u.file, 0, "is named only by kustomizations that name each other; list it in one that is built")
		default:
			outer := all.around(path.Dir(u.dir))
			r.fail(u.file, 0, fmt.Sprintf("is not built, since %s does not name it; list it under resources there, or move it out of %s", outer.file, outer.dir))
		}
	}
	for _, file := range slices.Sorted(maps.Keys(r.files)) {
		f := r.files[file]
		if used[file] || !isYAML(file) || hidden(file) || inHidden(file) || f.Link != "" || f.Refused != "" {
			continue
		}
		if u := all.around(path.Dir(file)); u != nil && !isKustomization(path.Base(file)) {
			r.fail(file, 0, fmt.Sprintf("is not used, since %s does not name it; list it under resources there, or remove it", u.file))
		}
	}
}

// plan is one build. Kustomize is given files under names of ours, with paths of
// ours and with aliases written out: no text of a tenant is ever a path, a URL or
// a plugin to it.
type plan struct {
	*reader
	root    *unit
	fs      filesys.FileSystem
	origins map[string]*document // by path in fs
	number  map[*unit]int        // of each unit that is in fs

	failed  bool
	visits  int
	objects int // each as often as it is built
	changes int // patches and labels, each as often as they are used
	work    int // their bytes, and those of their kustomizations
}

func (p *plan) build(reached map[*unit]bool) []*document {
	if p.root.component {
		reached[p.root] = true
		p.fail(p.root.file, p.root.doc.lineOf("kind"), "kind: a Component is built only where a kustomization lists it under components; add one")
		return nil
	}
	p.lay(p.root, nil, reached)
	switch {
	case p.failed:
		return nil
	case p.objects > MaxBuiltObjects:
		p.fail(p.root.file, 0, fmt.Sprintf("builds %d objects, more than %d; split it, or list plain files without it", p.objects, MaxBuiltObjects))
		return nil
	case p.objects*p.changes > MaxBuildChanges || p.objects*p.work > MaxBuildBytes:
		p.fail(p.root.file, 0, fmt.Sprintf("has %d patches and labels (%d KiB) for %d objects, which is too much; patch less, or split it", p.changes, p.work>>10, p.objects))
		return nil
	}
	out, err := run(p.fs, p.dir(p.root))
	if err != nil {
		p.fail(p.root.file, 0, "cannot be built: "+p.translate(err.Error()))
		return nil
	}
	var docs []*document
	for _, data := range out {
		for _, doc := range readDocuments(p.root.file, data, func(_ int, message string) {
			p.fail(p.root.file, 0, "builds what "+message)
		}) {
			docs = append(docs, p.trace(doc))
		}
	}
	return docs
}

// lay puts a unit and what it names into the build.
func (p *plan) lay(u *unit, stack []*unit, reached map[*unit]bool) {
	reached[u] = true
	if slices.Contains(stack, u) {
		return // reported where it is named
	}
	if p.visits++; p.visits > MaxUnits {
		if !p.failed {
			p.fail(p.root.file, 0, fmt.Sprintf("reads more than %d kustomizations, each counted as often as it is named; name fewer", MaxUnits))
		}
		p.failed = true
		return
	}
	_, laid := p.number[u]
	if !laid {
		p.number[u] = len(p.number)
	}
	stack = append(stack, u)

	out := maps.Clone(u.content)
	var resources, components []any
	files := 0
	write := func(text string) string {
		name := fmt.Sprintf("f%d.yaml", files)
		files++
		_ = p.fs.WriteFile(p.dir(u)+"/"+name, []byte(text)) // memory does not fail
		return name
	}
	patchFiles := map[string]string{}
	for _, to := range u.refs {
		switch {
		case to.unit != nil:
			if slices.Contains(stack, to.unit) {
				p.failed = true
				p.fail(u.file, u.doc.lineOf(to.field), fmt.Sprintf("%s: %q names a kustomization that names this one; break the cycle", to.field, shorten(to.text)))
				continue
			}
			p.lay(to.unit, stack, reached)
			if p.failed {
				continue
			}
			if strings.HasPrefix(to.field, "components") {
				components = append(components, ".."+p.dir(to.unit))
			} else {
				resources = append(resources, ".."+p.dir(to.unit))
			}
		case strings.HasPrefix(to.field, "patches"):
			text, ok := p.patch(to.file, p.files[to.file].Data, func(line int, message string) { p.fail(to.file, line, message) })
			p.failed = p.failed || !ok
			p.work += len(text)
			patchFiles[to.field] = write(text)
		default:
			for _, doc := range p.resource(to.file) {
				p.objects++
				at := fmt.Sprintf("%s/f%d.yaml", p.dir(u), files)
				p.origins[at] = doc.document
				resources = append(resources, write(doc.from(at)))
			}
		}
	}
	p.changes += len(sliceOf(out["patches"])) + len(sliceOf(out["labels"]))
	out["resources"], out["components"] = resources, components
	out["patches"] = p.patches(u, patchFiles)
	rewritten, err := json.Marshal(out)
	if err != nil {
		p.failed = true
		p.fail(u.file, 0, "cannot be built: "+err.Error())
	}
	p.work += len(rewritten)
	_ = p.fs.WriteFile(p.dir(u)+"/kustomization.yaml", rewritten)
}

// dir is where a unit is in the build.
func (p *plan) dir(u *unit) string { return fmt.Sprintf("/u%d", p.number[u]) }

// patches are a unit's patches, with the paths of their files in the build.
func (p *plan) patches(u *unit, files map[string]string) []any {
	var out []any
	for i, entry := range sliceOf(u.content["patches"]) {
		at := fmt.Sprintf("patches[%d]", i)
		patch := maps.Clone(entry.(map[string]any))
		if file := files[at+".path"]; file != "" {
			patch["path"] = file
		} else {
			line := u.doc.lineOf(at + ".patch")
			text, ok := p.patch(u.file, []byte(stringOf(patch["patch"])), func(_ int, message string) {
				p.fail(u.file, line, at+".patch: "+message)
			})
			p.failed = p.failed || !ok
			patch["patch"] = text
		}
		out = append(out, patch)
	}
	return out
}

// patch reads a patch, and writes it without aliases.
func (p *plan) patch(file string, data []byte, report fault) (text string, ok bool) {
	ok = true
	fail := func(line int, message string) { ok = false; report(line, message) }
	var parts []string
	for _, doc := range readDocuments(file, data, fail) {
		w := &walker{doc: doc, report: func(field string, line int, message string) {
			if field != "" {
				message = field + ": " + message
			}
			fail(line, message)
		}}
		content := w.walk(doc.root, nil, nil)
		for i, entry := range sliceOf(content) {
			operation, _ := entry.(map[string]any)
			if op := stringOf(operation["op"]); op == "copy" || op == "move" {
				at := fmt.Sprintf("[%d].op", i)
				fail(doc.lineOf(at), fmt.Sprintf("%s: %q is not honoured in a tenant's directory, since copies of copies grow without bound; use add, replace or remove", at, op))
			}
		}
		encoded, err := json.Marshal(content)
		if err != nil {
			fail(doc.line(), "cannot be read: "+err.Error())
		}
		parts = append(parts, string(encoded))
	}
	return strings.Join(parts, "\n---\n"), ok
}

// source is a document that Kustomize is given, and its content.
type source struct {
	*document
	content map[string]any
}

// from is the text of the document, with a note of where it is in the build.
func (s source) from(at string) string {
	metadata, _ := s.content["metadata"].(map[string]any)
	if metadata != nil {
		annotations, _ := metadata["annotations"].(map[string]any)
		if annotations == nil {
			annotations = map[string]any{}
			metadata["annotations"] = annotations
		}
		annotations[originAnnotation] = at
	}
	text, err := json.Marshal(s.content)
	if err != nil {
		panic(err) // it holds what YAML can hold, and no more
	}
	return string(text)
}

// resource reads a file's documents, and writes each without aliases. Their kinds
// are checked already here, so that Kustomize is not given what it would treat
// specially.
func (p *plan) resource(file string) []source {
	var out []source
	for _, doc := range readDocuments(file, p.files[file].Data, func(line int, message string) {
		p.failed = true
		p.fail(file, line, message)
	}) {
		f := &findings{reader: p.reader, doc: doc, seen: map[string]bool{}}
		if f.kind() == "" {
			p.failed = true
			continue
		}
		w := &walker{doc: doc, report: f.atLine}
		content, _ := w.walk(doc.root, nil, nil).(map[string]any)
		p.failed = p.failed || f.count > 0
		out = append(out, source{doc, content})
	}
	return out
}

// trace finds what a built document was made from.
func (p *plan) trace(doc *document) *document {
	doc.builtBy = p.root.file
	doc.origin = p.root.doc
	if origin := p.origins[noted(doc.root)]; origin != nil {
		doc.origin = origin
	}
	doc.file, doc.index = doc.origin.file, doc.origin.index
	return doc
}

// noted is what a built document notes of where it is in the build.
func noted(root *yaml.Node) string {
	node := root
	for _, key := range []string{"metadata", "annotations", originAnnotation} {
		var value *yaml.Node
		for i := 0; i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value == key {
				value = node.Content[i+1]
			}
		}
		if value == nil {
			return ""
		}
		node = value
	}
	return node.Value
}

var laidFile = regexp.MustCompile(`(?:\.\.)?/?u(\d+)(/f\d+\.yaml)?`)

// translate writes the tenant's paths into what Kustomize says.
func (p *plan) translate(message string) string {
	byDir := map[string]*unit{}
	for u := range p.number {
		byDir[p.dir(u)] = u
	}
	return laidFile.ReplaceAllStringFunc(message, func(text string) string {
		text = "/" + strings.TrimLeft(text, "./")
		if origin := p.origins[text]; origin != nil {
			return origin.file
		}
		dir, _, _ := strings.Cut(text[1:], "/")
		if u := byDir["/"+dir]; u != nil {
			return u.dir
		}
		return text
	})
}

// building is held during a build: Kustomize's schemas are global.
var building sync.Mutex

// run runs Kustomize, and returns each object as YAML. A panic is an error.
func run(fs filesys.FileSystem, dir string) ([][]byte, error) {
	type outcome struct {
		objects [][]byte
		err     error
	}
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	done := make(chan outcome, 1)
	go func() {
		var o outcome
		defer func() {
			if p := recover(); p != nil {
				o = outcome{err: fmt.Errorf("kustomize failed: %v", p)}
			}
			done <- o
		}()
		building.Lock()
		defer building.Unlock()
		o.objects, o.err = runKustomize(fs, dir)
	}()
	select {
	case o := <-done:
		return o.objects, o.err
	case <-ctx.Done():
		return nil, fmt.Errorf("not done after %s", buildTimeout)
	}
}

func runKustomize(fs filesys.FileSystem, dir string) ([][]byte, error) {
	built, err := krusty.MakeKustomizer(&krusty.Options{
		LoadRestrictions: types.LoadRestrictionsRootOnly,
		PluginConfig:     types.DisabledPluginConfig(),
	}).Run(fs, dir)
	if err != nil {
		return nil, err
	}
	var out [][]byte
	for _, object := range built.Resources() {
		data, err := object.AsYAML()
		if err != nil {
			return nil, err
		}
		out = append(out, data)
	}
	return out, nil
}
