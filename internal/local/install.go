package local

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cpv1 "github.com/aetherplatform/aether/api/controlplane/v1alpha1"
	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/config/crd"
	"github.com/aetherplatform/aether/config/rbac"
	"github.com/aetherplatform/aether/internal/kyverno"
	"github.com/aetherplatform/aether/policies"
)

//go:embed roles.yaml
var roles []byte

// reviewerRole is the review server's, where it is no Pod of the chart's.
//
//go:embed reviewer.yaml
var reviewerRole []byte

// fieldOwner of what the platform applies.
const fieldOwner = "aether-local"

func newScheme() (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		scheme.AddToScheme, v1alpha1.AddToScheme, cpv1.AddToScheme, sourcev1.AddToScheme, kustomizev1.AddToScheme, apiextensionsv1.AddToScheme,
	} {
		if err := add(s); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// install applies what an administrator would install in a cluster.
func (p *Platform) install(ctx context.Context) error {
	return p.step("CRDs, policies and roles", func() error {
		if err := p.applyFiles(ctx, os.DirFS(p.bin("crds"))); err != nil {
			return err
		}
		if !p.Chart {
			if err := p.applyFiles(ctx, crd.FS); err != nil {
				return err
			}
		}
		if err := p.awaitCRDs(ctx); err != nil {
			return err
		}
		system := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name:   v1alpha1.SystemNamespace,
			Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}, // as our manifests have it
		}}
		if err := p.Client.Create(ctx, system); err != nil {
			return fmt.Errorf("cannot create Namespace %s: %w", system.Name, err)
		}
		if err := p.applyFluxRoles(ctx); err != nil {
			return err
		}
		if err := p.apply(ctx, "roles.yaml", roles); err != nil {
			return err
		}
		if !p.Chart {
			if err := p.apply(ctx, "reviewer.yaml", reviewerRole); err != nil {
				return err
			}
			if err := p.applyFiles(ctx, rbac.FS); err != nil {
				return err
			}
			if err := policies.Install(ctx, p.Client); err != nil {
				return err
			}
		}
		if p.Clusters {
			if err := p.installClusters(ctx); err != nil {
				return err
			}
		}
		if p.Kyverno {
			if err := kyverno.Install(ctx, p.Client, p.bin("")); err != nil {
				return err
			}
		}
		return p.tokens(ctx)
	})
}

func (p *Platform) applyFiles(ctx context.Context, files fs.FS) error {
	names, err := fs.Glob(files, "*.yaml")
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		data, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		if err := p.apply(ctx, path.Base(name), data); err != nil {
			return err
		}
	}
	return nil
}

// applyFluxRoles applies the role that each of Flux's controllers is published with,
// under a name of its own: in the files all have the same.
func (p *Platform) applyFluxRoles(ctx context.Context) error {
	for _, controller := range []string{"source-controller", "kustomize-controller"} {
		data, err := os.ReadFile(p.bin("flux-roles/" + controller + "/role.yaml"))
		if err != nil {
			return err
		}
		role := &unstructured.Unstructured{}
		if err := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), yamlBuffer).Decode(role); err != nil {
			return fmt.Errorf("cannot read the role of %s: %w", controller, err)
		}
		role.SetName("flux-" + controller)
		if err := p.applyObject(ctx, role); err != nil {
			return err
		}
	}
	return nil
}

// yamlBuffer is how much of a file is looked at to tell YAML from JSON, in bytes.
const yamlBuffer = 4096

// apply applies the objects of a YAML file, as `kubectl apply --server-side` would.
func (p *Platform) apply(ctx context.Context, name string, data []byte) error {
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), yamlBuffer)
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(object)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("cannot read %s: %w", name, err)
		}
		if len(object.Object) == 0 || object.GetAPIVersion() == "kustomize.config.k8s.io/v1beta1" {
			continue
		}
		if err := p.applyObject(ctx, object); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
}

func (p *Platform) applyObject(ctx context.Context, object *unstructured.Unstructured) error {
	err := p.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), client.FieldOwner(fieldOwner), client.ForceOwnership)
	if err != nil {
		return fmt.Errorf("cannot apply %s %s: %w", object.GetKind(), object.GetName(), err)
	}
	return nil
}

// awaitCRDs returns once every custom resource is served.
func (p *Platform) awaitCRDs(ctx context.Context) error {
	return poll(ctx, func() (bool, error) {
		var crds apiextensionsv1.CustomResourceDefinitionList
		if err := p.Client.List(ctx, &crds); err != nil {
			return false, err
		}
		return !slices.ContainsFunc(crds.Items, func(c apiextensionsv1.CustomResourceDefinition) bool { return !established(c) }), nil
	})
}

func established(c apiextensionsv1.CustomResourceDefinition) bool {
	return slices.ContainsFunc(c.Status.Conditions, func(c apiextensionsv1.CustomResourceDefinitionCondition) bool {
		return c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue
	})
}
