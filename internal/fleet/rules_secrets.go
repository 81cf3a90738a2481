package fleet

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/prose"
	"github.com/aetherplatform/aether/internal/secret"
	"github.com/aetherplatform/aether/internal/tenancy"
)

// This file holds what spec.secrets can be checked for before OpenBao is asked.

// secret checks one entry. Package secret says what a template may be; it is asked of
// each by itself, since it stops at the first fault.
func (f *findings) secret(at string, s *v1alpha1.NamespaceSecret) {
	f.objectName(at+".name", s.Name)
	f.labels(at+".labels", s.Labels)
	for _, key := range sortedKeys(s.Keys) {
		f.secretKey(at+".keys", key)
	}
	for i, w := range s.Rollout {
		f.objectName(fmt.Sprintf("%s.rollout[%d].name", at, i), w.Name)
	}
	for _, key := range sortedKeys(s.Template) {
		text := s.Template[key]
		before := f.expressions
		f.expressions += strings.Count(string(text), "${")
		if f.expressions > MaxExpressions {
			if before <= MaxExpressions { // once
				f.at(at+".template", fmt.Sprintf("brings the templates of one tenant's secrets above %d ${…}; take keys as they are under keys", MaxExpressions))
			}
			return
		}
		if !f.secretKey(at+".template", key) {
			continue
		}
		alone := v1alpha1.SecretSource{Template: map[string]v1alpha1.SecretTemplate{key: text}}
		if _, err := secret.Compile(at, &alone); err != nil {
			_, message, _ := strings.Cut(err.Error(), "]: ") // it begins with the field; the key holds no bracket
			f.at(fmt.Sprintf("%s.template[%s]", at, key), message)
		}
	}
}

// secretKey wants a key that a Secret can have.
func (f *findings) secretKey(at, key string) bool {
	if len(validation.IsConfigMapKey(key)) == 0 {
		return true
	}
	f.at(fmt.Sprintf("%s[%s]", at, key), fmt.Sprintf("%q is no key of a Secret; use letters, digits, '-', '_' and '.'", shorten(key)))
	return false
}

// checkGenerate wants a profile that lets the namespace make secrets in OpenBao.
func checkGenerate(fail failFunc, n *v1alpha1.TenantNamespace, p *v1alpha1.NamespaceProfile) {
	if p.Spec.OpenBao != nil && p.Spec.OpenBao.Generate {
		return
	}
	for i, s := range n.Spec.Secrets {
		if len(s.Generate) > 0 {
			fail(fmt.Sprintf("spec.secrets[%d].generate", i), "profile %q lets nothing be made in OpenBao; write the secret there and remove this, or set spec.openBao.generate of the profile", p.Name)
		}
	}
}

// checkMount wants the tenant's mount in OpenBao to be open in each profile of its
// namespaces with secrets.
func (c *checker) checkMount(namespaces []*Object[*v1alpha1.TenantNamespace]) {
	used := map[string]bool{}
	for _, ns := range namespaces {
		if len(ns.Value.Spec.Secrets) > 0 && !ns.mistyped.covers("spec.profile") {
			used[ns.Value.Spec.Profile] = true
		}
	}
	mount := tenancy.PlaceOf(c.owner.Value).Mount
	for _, name := range sortedKeys(used) {
		p := c.profiles[name]
		if p == nil {
			continue // the namespace has that error
		}
		if open := tenancy.MountsOf(p.Value); !slices.Contains(open, mount) {
			failing(c, c.owner)("spec.secrets.mount", "%q is not open in profile %q, which the tenant has secrets in; use %s", mount, name, prose.Either(open))
		}
	}
}
