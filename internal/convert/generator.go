package convert

import (
	"fmt"
	"strconv"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// Bounds of passwords that the API takes, and what External Secrets Operator draws
// where nothing is said.
const (
	minPassword, maxPassword = 16, 256
	theirPassword            = 24
)

// password is what a Password generator asks for, and the keys that it fills; nil with
// a problem where there is none.
func (c *converter) password(ref *field, kind, name, namespace string) (*v1alpha1.PasswordGenerator, []string) {
	if kind != "Password" {
		ref.problem("%s cannot be drawn; write such secrets into OpenBao by the means that you have", kind)
		return nil, nil
	}
	o := c.passwords[key(kind, namespace, name)]
	if o == nil {
		o = c.passwords[key(kind, "", name)]
	}
	if o == nil {
		ref.problem("%s %q is not among the files; add its file", kind, name)
		return nil, nil
	}
	spec := o.at("spec")
	spec.ignore("digits", "allowRepeat", "encoding") // a longer alphabet and any repetition are no less random
	length := theirPassword
	if text := spec.at("length"); text.there() {
		n, err := strconv.Atoi(text.text())
		switch {
		case err != nil:
			text.problem("%q is no number; it is %d now", text.text(), length)
		case n < minPassword || n > maxPassword:
			length = min(max(n, minPassword), maxPassword)
			text.problem("a password has %d to %d characters; it has %d now", minPassword, maxPassword, length)
		default:
			length = n
		}
	}
	for _, f := range []string{"symbolCharacters", "noUpper"} {
		if v := spec.at(f); v.there() && v.text() != "false" {
			v.problem("which characters are drawn cannot be chosen: letters and digits, and with symbols !#%%+-./:=@^_~")
		}
	}
	keys := []string{}
	for _, k := range spec.at("secretKeys").items() {
		keys = append(keys, k.text())
	}
	if len(keys) == 0 {
		keys = []string{"password"}
	}
	symbols := spec.at("symbols").text() != "0" // a quarter of it, where nothing is said
	spec.rest()
	return &v1alpha1.PasswordGenerator{Length: int32(length), Symbols: symbols}, keys
}

// push makes generate of a PushSecret that pushes a password, for the Secret that is
// read from there.
func (c *converter) push(o *object) {
	spec := o.at("spec")
	selector := spec.at("selector")
	generator := selector.at("generatorRef")
	if !generator.there() {
		selector.ignore("secret")
		o.at("kind").problem("nothing of a cluster is written to OpenBao; write it there with `bao kv put`, or let generate make it")
		return
	}
	spec.ignore("refreshInterval", "updatePolicy", "deletionPolicy") // it is drawn once, and stays
	generate, _ := c.password(generator, generator.at("kind").text(), generator.at("name").text(), o.namespace)
	generator.ignore("apiVersion")
	if generate == nil {
		return
	}
	var s *store
	for _, ref := range spec.at("secretStoreRefs").items() {
		if s == nil {
			s = c.storeOf(ref, o.namespace)
		} else {
			ref.ignore("kind", "name")
			ref.problem("a secret is made in one place; take the others out")
		}
	}
	for _, entry := range spec.at("data").items() {
		entry.ignore("conversionStrategy")
		match := entry.at("match")
		match.ignore("secretKey")
		ref := match.at("remoteRef")
		if s == nil {
			continue
		}
		path := c.pathOf(ref.at("remoteKey"), s)
		if path == "" {
			continue
		}
		name := ref.at("property").text()
		if name == "" {
			name = "password"
		}
		if !c.generated(o.namespace, path, name, generate) {
			ref.at("remoteKey").problem("no ExternalSecret among the files reads %s; add an entry that does, with generate: {%s: {password: {}}}", path, name)
		}
	}
	spec.rest()
}

// generated adds a generator to the Secrets that are read from a path.
func (c *converter) generated(namespace, path, name string, g *v1alpha1.PasswordGenerator) bool {
	found := false
	for _, s := range c.result.Secrets {
		if s.Path != path || s.Namespace != namespace && namespace != "" && s.Namespace != "" || found {
			continue
		}
		found = true
		if s.Version != nil {
			s.Notes = append(s.Notes, fmt.Sprintf("the version %d was taken out: what is drawn has none yet", *s.Version))
			s.Version = nil
		}
		if s.Generate == nil {
			s.Generate = map[string]v1alpha1.Generator{}
		}
		s.Generate[name] = v1alpha1.Generator{Password: g}
		s.Notes = append(s.Notes, "generate stands for the PushSecret of a password: it is drawn once; the profile must permit it (spec.openBao.generate)")
	}
	return found
}
