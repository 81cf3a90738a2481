package fleet

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/config/crd"
	"github.com/aetherplatform/aether/internal/prose"
)

// kindSchema is what the API server knows of a kind, from the same CRD.
type kindSchema struct {
	structural *schema.Structural
	values     validation.SchemaValidator
	rules      *cel.Validator

	// written is structural without what nobody writes in Git.
	written *schema.Structural
}

// schemas by kind, each compiled when it is first needed.
var schemas = map[string]func() *kindSchema{
	v1alpha1.KindTenant:           sync.OnceValue(func() *kindSchema { return compile("tenants") }),
	v1alpha1.KindTenantNamespace:  sync.OnceValue(func() *kindSchema { return compile("tenantnamespaces") }),
	v1alpha1.KindWorkloadCluster:  sync.OnceValue(func() *kindSchema { return compile("workloadclusters") }),
	v1alpha1.KindTenantException:  sync.OnceValue(func() *kindSchema { return compile("tenantexceptions") }),
	v1alpha1.KindNamespaceProfile: sync.OnceValue(func() *kindSchema { return compile("namespaceprofiles") }),
}

// compile reads a CRD. It panics on what a test of this package would find.
func compile(plural string) *kindSchema {
	s, err := compileCRD(plural)
	if err != nil {
		panic(fmt.Sprintf("cannot compile the schema of %s: %v", plural, err))
	}
	return s
}

func compileCRD(plural string) (*kindSchema, error) {
	data, err := crd.FS.ReadFile("aetherplatform.cloud_" + plural + ".yaml")
	if err != nil {
		return nil, err
	}
	var definition apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(data, &definition); err != nil {
		return nil, err
	}
	var props apiextensions.JSONSchemaProps
	err = apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(
		definition.Spec.Versions[0].Schema.OpenAPIV3Schema, &props, nil)
	if err != nil {
		return nil, err
	}
	structural, err := schema.NewStructural(&props)
	if err != nil {
		return nil, err
	}
	values, _, err := validation.NewSchemaValidator(&props)
	if err != nil {
		return nil, err
	}
	return &kindSchema{
		structural: structural,
		values:     values,
		rules:      cel.NewValidator(structural, true, celconfig.PerCallLimit),
		written:    written(structural),
	}, nil
}

// written is a schema of what people write: name, labels and annotations of the
// metadata, and no status.
func written(s *schema.Structural) *schema.Structural {
	text := schema.Structural{Generic: schema.Generic{Type: "string"}}
	texts := schema.Structural{
		Generic:              schema.Generic{Type: "object"},
		AdditionalProperties: &schema.StructuralOrBool{Structural: &text},
	}
	out := *s
	out.Properties = map[string]schema.Structural{
		"apiVersion": text,
		"kind":       text,
		"metadata": {
			Generic:    schema.Generic{Type: "object"},
			Properties: map[string]schema.Structural{"name": text, "labels": texts, "annotations": texts},
		},
		"spec": s.Properties["spec"],
	}
	return &out
}

// unknownField says what to write instead of a field that a kind lacks.
func unknownField(path, name string, known []string) string {
	switch {
	case path == "" && name == "status":
		return "is Aether's to write; leave it out"
	case path == "metadata":
		return "is not for Git to say; metadata holds name, labels and annotations"
	}
	if meant := nearest(name, known); meant != "" {
		return "no such field; write " + meant
	}
	if len(known) == 0 {
		return "no such field; leave it out"
	}
	return "no such field; use " + prose.Either(known)
}

// setDefaults completes an object as the API server would.
func (k *kindSchema) setDefaults(object map[string]any) {
	defaulting.Default(object, k.structural)
	defaulting.PruneNonNullableNullsWithoutDefaults(object, k.structural)
}

// validate applies the rules of the schema, in the API server's words.
func (k *kindSchema) validate(object map[string]any) field.ErrorList {
	errs := validation.ValidateCustomResource(nil, object, k.values)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, k.structural, object)...)
	if slices.ContainsFunc(errs, blocksRules) {
		return errs
	}
	more, _ := k.rules.Validate(context.Background(), nil, k.structural, object, nil, celconfig.RuntimeCELCostBudget)
	return append(errs, more...)
}

// blocksRules says whether rules could not be run on an object with this error.
func blocksRules(err *field.Error) bool {
	switch err.Type {
	case field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid:
		return true
	}
	return false
}

// describe is the first sentence of what a field is for.
func (k *kindSchema) describe(path string) string {
	s := k.structural
	for name := range strings.FieldsFuncSeq(path, func(r rune) bool { return strings.ContainsRune(".[]", r) }) {
		next, ok := s.Properties[name]
		switch {
		case ok:
			s = &next
		case s.Items != nil:
			if s = s.Items; s.Properties != nil {
				if next, ok := s.Properties[name]; ok {
					s = &next
				}
			}
		case s.AdditionalProperties != nil && s.AdditionalProperties.Structural != nil:
			s = s.AdditionalProperties.Structural
		default:
			return ""
		}
	}
	text := strings.Join(strings.Fields(s.Description), " ")
	sentence, _, _ := strings.Cut(text, ". ")
	return strings.TrimSuffix(sentence, ".")
}
