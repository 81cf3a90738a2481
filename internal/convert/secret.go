package convert

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/secret"
)

// The API's own rules, for what is read here. A test holds the output against the CRD.
var (
	plainPath     = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$`)
	apiPath       = regexp.MustCompile(`^(data|metadata|subkeys|delete|undelete|destroy|config)(/|$)`)
	platformLabel = regexp.MustCompile(`(?i)^([^/]*[.])?(kubernetes[.]io|k8s[.]io|aetherplatform[.]cloud|cilium[.]io|fluxcd[.]io)/`)
)

// minRefresh is the shortest interval that the API takes.
const minRefresh = 10 * time.Second

// draft is an ExternalSecret on its way to a SecretSource.
type draft struct {
	c    *converter
	spec *field
	meta *field
	out  *Secret
	// store of the spec; entries may name another.
	store     *store
	namespace string
	// values are what templates may name: key of the ExternalSecret to CEL.
	values map[string]value
	// all: every key in OpenBao is there under its own name.
	all bool
}

// value is what a key holds: a key in OpenBao, or CEL over it.
type value struct {
	key  string
	cel  expression
	from *field
}

// external converts one ExternalSecret's spec for namespaces.
func (c *converter) external(o *object, spec, meta *field, name string, namespaces []string) {
	for i, namespace := range namespaces {
		s := &Secret{Namespace: namespace, SyncName: name, From: o.String(), File: o.file, Line: o.line}
		s.Name = name
		o.into(&s.Problems)
		d := &draft{c: c, spec: spec, meta: meta, out: s, namespace: namespace, values: map[string]value{}}
		if !d.convert() {
			c.result.Others = append(c.result.Others, s.Problems...)
			continue
		}
		if i > 0 {
			s.Problems = nil // said of the first
		}
		c.result.Secrets = append(c.result.Secrets, s)
	}
}

// convert reports whether something came of it.
func (d *draft) convert() bool {
	d.target()
	d.refresh()
	if ref := d.spec.at("secretStoreRef"); ref.there() {
		if d.store = d.c.storeOf(ref, d.namespace); d.store == nil {
			return false
		}
	}
	d.data()
	d.dataFrom()
	if d.out.Generate != nil && d.out.Version != nil {
		d.out.Version = nil
		d.spec.at("dataFrom").problem("what is drawn has no version yet; the version was taken out")
	}
	d.template()
	d.spec.rest()
	if d.out.Path == "" {
		if len(d.out.Problems) == 0 {
			d.spec.problem("it reads nothing; name a secret under data or dataFrom")
		}
		return false
	}
	if _, err := secret.Compile("spec", &d.out.SecretSource); err != nil {
		d.spec.at("target").at("template").problem("what it became is not valid, which should not be: %v", err)
		return false
	}
	return true
}

func (d *draft) target() {
	target := d.spec.at("target")
	if name := target.at("name").text(); name != "" {
		d.out.Name = name
	}
	switch p := target.at("creationPolicy"); p.text() {
	case "", "Owner":
	case "Orphan":
		d.out.OnDelete = v1alpha1.OnDeleteRetain
	case "Merge":
		p.problem("it adds keys to a Secret that something else makes; here a Secret is made of one secret in OpenBao alone: give it a name of its own, and mount both")
	default:
		p.problem("%q makes no Secret; leave the entry out where nothing reads it", p.text())
	}
	switch p := target.at("deletionPolicy"); p.text() {
	case "", "Retain":
	default:
		p.problem("a Secret keeps what it holds when its secret is deleted in OpenBao; take the entry out to delete it")
	}
	d.out.Immutable = target.at("immutable").text() == "true"
	d.labels(target.at("template"))
}

// labels are the template's where there is one, and else the ExternalSecret's own.
func (d *draft) labels(template *field) {
	from := template.at("metadata")
	d.meta.ignore("labels", "annotations")
	if !template.there() {
		from = d.meta
	}
	labels := from.at("labels")
	for _, key := range labels.keys() {
		value := labels.in(key)
		if platformLabel.MatchString(key) {
			value.problem("labels of kubernetes.io, fluxcd.io and the like are the platform's to set; use a prefix of your own, such as example.com/team, or do without")
			continue
		}
		if d.out.Labels == nil {
			d.out.Labels = map[string]string{}
		}
		d.out.Labels[key] = value.text()
	}
	annotations := from.at("annotations")
	for _, key := range annotations.keys() {
		if value := annotations.in(key); key != "kubectl.kubernetes.io/last-applied-configuration" && key != "force-sync" { // of no use on the Secret
			value.problem("a synced Secret has no annotations of your own; what reads it must do without")
		}
	}
}

func (d *draft) refresh() {
	switch p := d.spec.at("refreshPolicy"); p.text() {
	case "", "Periodic":
	default:
		p.problem("%q does not follow OpenBao; pin a version to hold a Secret still", p.text())
	}
	interval := d.spec.at("refreshInterval")
	text := interval.text()
	if text == "" {
		return
	}
	duration, err := time.ParseDuration(text)
	switch {
	case text == "0" || err == nil && duration == 0:
		interval.problem("it is fetched once and never again; pin a version to hold a Secret still")
	case err != nil:
		interval.problem("%q is no duration; write one such as 5m", text)
	case duration < minRefresh:
		interval.problem("%s is too short; it is %s now", text, minRefresh)
		d.out.RefreshInterval = &metav1.Duration{Duration: minRefresh}
	default:
		d.out.RefreshInterval = &metav1.Duration{Duration: duration}
	}
}

// source takes what all references to a remote secret have: path and version. It
// reports whether the reference can be used.
func (d *draft) source(ref *field, s *store) bool {
	if p := ref.at("metadataPolicy"); p.text() == "Fetch" {
		p.problem("metadata of a secret is not read; write what is needed into the secret")
		return false
	}
	ref.ignore("conversionStrategy") // keys that no Secret can have are reported when they are met
	if s == nil {
		ref.problem("no store is named for it; write secretStoreRef")
		return false
	}
	path := d.c.pathOf(ref.at("key"), s)
	switch {
	case path == "":
		return false
	case d.out.Path != "" && d.out.Path != path:
		ref.at("key").problem("it is another secret than %s; a Secret is made of one secret in OpenBao: copy the key there, or make a Secret of its own", d.out.Path)
		return false
	}
	first := d.out.Path == ""
	d.out.Path = path
	version := ref.at("version")
	number, err := strconv.ParseInt(strings.TrimPrefix(version.text(), "v"), 10, 64)
	switch {
	case version.text() == "" && (first || d.out.Version == nil):
	case version.text() != "" && (err != nil || number < 1):
		version.problem("%q is no version; write a number such as 3, or leave it out for the latest", version.text())
	case version.text() != "" && first:
		d.out.Version = &number
	case version.text() == "" || d.out.Version == nil || *d.out.Version != number:
		version.problem("not all keys are of one version; a Secret holds one: make a Secret of its own for the others")
		return false
	}
	return true
}

// sourceRef is the store that an entry names for itself, or the spec's.
func (d *draft) sourceRef(entry *field) *store {
	ref := entry.at("sourceRef")
	if s := ref.at("storeRef"); s.there() {
		return d.c.storeOf(s, d.namespace)
	}
	return d.store
}

func (d *draft) data() {
	for _, entry := range d.spec.at("data").items() {
		key, ref := entry.at("secretKey").text(), entry.at("remoteRef")
		s := d.sourceRef(entry)
		if g := entry.at("sourceRef").at("generatorRef"); g.there() {
			g.ignore("apiVersion", "kind", "name")
			g.problem("a generator for one key has no counterpart; write generate, and the key that it draws under keys")
			continue
		}
		if s == nil && entry.at("sourceRef").there() || !d.source(ref, s) {
			ref.ignore("property", "decodingStrategy", "version", "key")
			continue
		}
		property := ref.at("property")
		name := property.text()
		v := value{key: name, from: property}
		switch {
		case name == "":
			property.problem("without it, %s holds the whole secret as JSON; name the keys that are wanted", key)
			continue
		case name != key && strings.ContainsAny(name, ".#|@*?"):
			property.problem("%q is taken for the name of a key; what is inside a value cannot be named: make it a key of its own in OpenBao", name)
		}
		switch decoding := ref.at("decodingStrategy"); decoding.text() {
		case "", "None":
			v.cel = fieldOf(name)
		case "Base64":
			v.key, v.cel = "", fieldOf(name).decoded()
		default:
			decoding.problem("%q cannot be told in advance; keep text in OpenBao as it is, or write a template with base64.decode()", decoding.text())
			v.cel = fieldOf(name)
		}
		d.values[key] = v
	}
}

func (d *draft) dataFrom() {
	for _, entry := range d.spec.at("dataFrom").items() {
		generator := entry.at("sourceRef").at("generatorRef")
		switch extract, find := entry.at("extract"), entry.at("find"); {
		case generator.there():
			d.generator(generator)
		case find.there():
			find.problem("secrets are not searched for; name each with an entry of its own")
		case !extract.there():
			entry.problem("it names no secret; write extract")
		default:
			if p := extract.at("property"); p.text() != "" {
				p.problem("what is inside a value cannot be taken apart; make each a key of its own in OpenBao")
				extract.ignore("key", "version", "decodingStrategy")
				continue
			}
			if p := extract.at("decodingStrategy"); p.text() != "" && p.text() != "None" {
				p.problem("values are taken as they are; name the keys to decode in a template, with base64.decode()")
			}
			if d.source(extract, d.sourceRef(entry)) {
				d.all = true
			}
		}
		if r := entry.at("rewrite"); r.there() {
			r.problem("keys are not rewritten by a rule; name them under keys, new name and old")
		}
	}
}

// generator becomes generate, where it is a Password. It is drawn once and kept in
// OpenBao, and not anew at each refresh.
func (d *draft) generator(ref *field) {
	kind, name := ref.at("kind").text(), ref.at("name").text()
	ref.ignore("apiVersion")
	generate, keys := d.c.password(ref, kind, name, d.namespace)
	if generate == nil {
		return
	}
	if d.out.Path == "" {
		d.out.Path = d.out.Name
	}
	d.out.Generate = map[string]v1alpha1.Generator{}
	for _, key := range keys {
		d.out.Generate[key] = v1alpha1.Generator{Password: generate}
	}
	d.out.Notes = append(d.out.Notes, fmt.Sprintf("generate draws once, and keeps it in OpenBao at %s; the profile must permit it (spec.openBao.generate)", d.out.Path))
	d.all = true
}

func (d *draft) template() {
	t := d.spec.at("target").at("template")
	d.out.Type = t.at("type").text()
	if e := t.at("engineVersion"); e.text() == "v1" {
		e.problem("version 1 of templates has other functions; what became of them is to be looked at")
	}
	if from := t.at("templateFrom"); from.there() {
		from.problem("templates are not read from ConfigMaps and Secrets; write their text under template")
	}
	merge := t.at("mergePolicy").text() == "Merge"
	texts := t.at("data")
	for _, key := range texts.keys() {
		entry := texts.in(key)
		text, err := translate(entry.text(), d.name)
		if err != nil {
			entry.problem("%v", err)
			continue
		}
		d.write(key, text)
	}
	if len(texts.keys()) > 0 && !merge {
		return // what is not in a template is there for templates alone
	}
	if d.all {
		d.allKeys(merge && len(texts.keys()) > 0)
		return
	}
	for _, key := range slices.Sorted(maps.Keys(d.values)) {
		if _, taken := d.out.Template[key]; taken {
			continue
		}
		if v := d.values[key]; v.key != "" {
			if d.out.Keys == nil {
				d.out.Keys = map[string]string{}
			}
			d.out.Keys[key] = v.key
		} else {
			d.write(key, "${"+v.cel.text+"}")
		}
	}
}

func (d *draft) write(key, text string) {
	if d.out.Template == nil {
		d.out.Template = map[string]v1alpha1.SecretTemplate{}
	}
	d.out.Template[key] = v1alpha1.SecretTemplate(text)
}

// allKeys reports what cannot be beside all keys as they are.
func (d *draft) allKeys(templates bool) {
	if templates {
		d.spec.at("dataFrom").problem("all keys and templates cannot be told at once; name under keys what is wanted beside the templates")
	}
	for _, key := range slices.Sorted(maps.Keys(d.values)) {
		if v := d.values[key]; v.key != key {
			v.from.problem("all keys are taken as they are, so that %q is not there under another name; name under keys all that are wanted", key)
		}
	}
}

// name is what a template's variable is.
func (d *draft) name(variable string) (expression, bool) {
	if v, ok := d.values[variable]; ok {
		return v.cel, true
	}
	return fieldOf(variable), d.all
}
