// Package secret makes what a Secret holds of what OpenBao has.
//
// It is pure. None of its errors holds a value, or anything that was computed from
// one: they end up in statuses, events and logs. The same goes for keys that are
// not named in the spec.
package secret

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/google/cel-go/cel"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/render/expr"
)

// Error is why there is no Secret.
type Error struct {
	// Reason of the condition Ready.
	Reason string
	// Message says what is wrong and what to write instead.
	Message string
}

func (e *Error) Error() string { return e.Message }

func errorf(reason, format string, args ...any) *Error {
	return &Error{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// Recipe is how a Secret is made. It is immutable and safe for concurrent use.
type Recipe struct {
	kind corev1.SecretType
	// keys of the Secret to those in OpenBao; all as they are when there are neither
	// keys nor templates.
	keys      map[string]string
	templates map[string]template
}

// template is a text and the expressions in it.
type template []part

type part struct {
	text       string
	expression *expr.Expression
}

// environment is what a template may name: data, and nothing else. Compiling is not
// concurrent.
var environment = struct {
	sync.Mutex
	new func() (*expr.Env, error)
}{new: sync.OnceValues(func() (*expr.Env, error) {
	return expr.NewBoundedEnv(corev1.MaxSecretSize, []expr.Field{{Name: "data", Type: cel.MapType(cel.StringType, cel.StringType)}})
})}

// Compile checks a source as far as that can be done without OpenBao. Its error names
// the field, below prefix: "spec.template[DSN]: …".
func Compile(prefix string, source *v1alpha1.SecretSource) (*Recipe, error) {
	r := &Recipe{kind: corev1.SecretType(source.Type), keys: source.Keys, templates: map[string]template{}}
	if r.kind == "" {
		r.kind = corev1.SecretTypeOpaque
	}
	for _, key := range slices.Sorted(maps.Keys(source.Keys)) {
		if len(validation.IsConfigMapKey(key)) > 0 {
			return nil, errorf(v1alpha1.ReasonInvalidSpec, "%s.keys[%s]: it is no key of a Secret; use letters, digits, '-', '_' and '.'", prefix, shorten(key))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(source.Template)) {
		at := fmt.Sprintf("%s.template[%s]", prefix, shorten(key))
		if len(validation.IsConfigMapKey(key)) > 0 {
			return nil, errorf(v1alpha1.ReasonInvalidSpec, "%s: it is no key of a Secret; use letters, digits, '-', '_' and '.'", at)
		}
		t, err := compile(string(source.Template[key]))
		if err != nil {
			return nil, errorf(v1alpha1.ReasonInvalidSpec, "%s: %v", at, err)
		}
		r.templates[key] = t
	}
	return r, nil
}

// maxBrackets bounds an expression: what it takes to check one rises with the fourth
// power of how deep its calls and lists are, and whoever writes them need not be
// well-meaning. 16 deep takes 3 ms, 240 a quarter of a minute.
const maxBrackets = 16

func compile(text string) (template, error) {
	parts, err := expr.Split(text)
	if err != nil {
		return nil, err
	}
	environment.Lock()
	defer environment.Unlock()
	env, err := environment.new()
	if err != nil {
		return nil, err
	}
	t := make(template, len(parts))
	for i, p := range parts {
		if !p.IsExpression {
			t[i].text = p.Text
			continue
		}
		if n := strings.Count(p.Text, "(") + strings.Count(p.Text, "[") + strings.Count(p.Text, "{"); n > maxBrackets {
			return nil, fmt.Errorf("an expression has %d brackets; use at most %d, and split it", n, maxBrackets)
		}
		x, err := env.Compile(p.Text)
		if err != nil {
			return nil, fmt.Errorf("${%s}: %w", p.Text, err)
		}
		if !expr.IsText(x.Type) {
			return nil, fmt.Errorf("${%s}: a %s is no text; turn it into a string", p.Text, x.Type)
		}
		t[i].expression = x
	}
	return t, nil
}

// Make is the data of the Secret. A value in OpenBao that is no string is written as
// JSON.
func (r *Recipe) Make(data map[string]any) (map[string][]byte, error) {
	texts := make(map[string]any, len(data))
	for key, value := range data {
		text, err := textOf(value)
		if err != nil {
			return nil, errorf(v1alpha1.ReasonInvalidSecret, "a value in OpenBao is no JSON")
		}
		texts[key] = text
	}
	made := map[string][]byte{}
	for key, from := range r.keys {
		text, ok := texts[from]
		if !ok {
			return nil, errorf(v1alpha1.ReasonKeyNotFound, "keys[%s]: the secret in OpenBao has no key %q", key, from)
		}
		made[key] = []byte(text.(string))
	}
	room := corev1.MaxSecretSize
	for _, key := range slices.Sorted(maps.Keys(r.templates)) {
		filled, err := r.templates[key].fill(key, texts, room)
		if err != nil {
			return nil, err
		}
		made[key] = filled
		room -= len(filled)
	}
	if len(r.keys) == 0 && len(r.templates) == 0 {
		for key, text := range texts {
			if len(validation.IsConfigMapKey(key)) > 0 {
				return nil, errorf(v1alpha1.ReasonInvalidSecret, "the secret in OpenBao has a key that no Secret can have (letters, digits, '-', '_' and '.'); name under keys what is wanted, each with a name of its own")
			}
			made[key] = []byte(text.(string))
		}
	}
	return made, r.check(made)
}

func textOf(value any) (string, error) {
	if s, ok := value.(string); ok {
		return s, nil
	}
	text, err := json.Marshal(value)
	return string(text), err
}

// fill ends at the first byte that no Secret has room for: eight kilobytes of a template
// can ask for a gigabyte.
func (t template) fill(key string, data map[string]any, room int) ([]byte, error) {
	values, err := cel.NewActivation(map[string]any{"data": data})
	if err != nil {
		return nil, errorf(v1alpha1.ReasonInvalidSecret, "template[%s]: it cannot be filled in", key)
	}
	var filled []byte
	for _, p := range t {
		if len(filled) > room {
			return nil, errorf(v1alpha1.ReasonInvalidSecret, "template[%s]: the Secret would hold more than the %d bytes that one can; take less of what OpenBao has", key, corev1.MaxSecretSize)
		}
		if p.expression == nil {
			filled = append(filled, p.text...)
			continue
		}
		text, err := p.expression.EvalText(values)
		if err != nil {
			return nil, p.why(key, data) // CEL's own words may hold a value
		}
		filled = append(filled, text...)
	}
	return filled, nil
}

// why an expression failed, told by the spec alone.
func (p part) why(key string, data map[string]any) error {
	for _, field := range p.expression.Fields("data") {
		if _, ok := data[field]; !ok {
			return errorf(v1alpha1.ReasonKeyNotFound, "template[%s]: the secret in OpenBao has no key %q", key, field)
		}
	}
	return errorf(v1alpha1.ReasonInvalidSecret, "template[%s]: ${%s} fails on what OpenBao has; what CEL says of it is not shown, since it may hold a value", key, p.expression.Source)
}

// wanted are keys that the API server wants in Secrets of a type.
var wanted = map[corev1.SecretType][]string{
	corev1.SecretTypeDockerConfigJson: {corev1.DockerConfigJsonKey},
	corev1.SecretTypeDockercfg:        {corev1.DockerConfigKey},
	corev1.SecretTypeSSHAuth:          {corev1.SSHAuthPrivateKey},
	corev1.SecretTypeTLS:              {corev1.TLSCertKey, corev1.TLSPrivateKeyKey},
}

// check asks what the API server would, whose own message may hold a part of a value.
func (r *Recipe) check(data map[string][]byte) error {
	size := 0
	for key, value := range data {
		size += len(key) + len(value)
	}
	if size > corev1.MaxSecretSize {
		return errorf(v1alpha1.ReasonInvalidSecret, "it would hold %d bytes, and a Secret holds at most %d; name under keys what is wanted of it", size, corev1.MaxSecretSize)
	}
	for _, key := range wanted[r.kind] {
		if _, ok := data[key]; !ok {
			return errorf(v1alpha1.ReasonInvalidSecret, "a Secret of type %s has a key %s; make it under keys or template", r.kind, key)
		}
	}
	for _, key := range []string{corev1.DockerConfigJsonKey, corev1.DockerConfigKey} {
		if slices.Contains(wanted[r.kind], key) && !json.Valid(data[key]) {
			return errorf(v1alpha1.ReasonInvalidSecret, "a Secret of type %s holds JSON in %s, and this is none", r.kind, key)
		}
	}
	if r.kind == corev1.SecretTypeBasicAuth && data[corev1.BasicAuthUsernameKey] == nil && data[corev1.BasicAuthPasswordKey] == nil {
		return errorf(v1alpha1.ReasonInvalidSecret, "a Secret of type %s has a key username or password; make one under keys or template", r.kind)
	}
	return nil
}

func shorten(key string) string {
	const most = 64
	if len(key) > most {
		key = key[:most] + "…"
	}
	return strings.ToValidUTF8(key, "?")
}
