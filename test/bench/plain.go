package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/config/crd"
	"github.com/aetherplatform/aether/internal/fleet"
	"github.com/aetherplatform/aether/internal/render"
)

// plainConcurrency is how many requests the plain client has under way: more
// brought nothing on two cores.
const plainConcurrency = 32

// what a plain client applies.
type what string

const (
	// rendered is what `aether render` prints: Tenants, TenantNamespaces and children.
	rendered what = "what aether render prints"
	// childrenAlone are the objects in the namespaces, and these.
	childrenAlone what = "the namespaces and what is in them"
)

// pass is what a plain client did.
type pass struct {
	objects int
	took    time.Duration
}

// plain applies the objects of a fleet as a person with a script would: server-side
// apply, namespaces before what is in them, as fast as the server takes them.
func plain(ctx context.Context, config *rest.Config, tree fleet.Tree, what what) (pass, error) {
	objects, err := objectsOf(tree, what)
	if err != nil {
		return pass{}, err
	}
	config = rest.CopyConfig(config)
	config.QPS = -1
	c, err := dynamic.NewForConfig(config)
	if err != nil {
		return pass{}, err
	}

	begin := time.Now()
	for _, first := range []bool{true, false} {
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(plainConcurrency)
		for _, o := range objects {
			if (o.GetNamespace() == "") != first {
				continue
			}
			group.Go(func() error {
				_, err := resource(c, o).Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: "plain", Force: true})
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return pass{}, fmt.Errorf("cannot apply as a plain client: %w", err)
		}
	}
	return pass{len(objects), time.Since(begin)}, nil
}

// objectsOf renders a fleet. The labels and annotations that admission keeps for
// Aether go by other names, so that the objects are as large as Aether's and a
// plain client may write them; and so do Aether's kinds, so that it leaves them be.
func objectsOf(tree fleet.Tree, what what) ([]*unstructured.Unstructured, error) {
	result := render.New(render.Options{}).Render(tree, nil)
	var all []*unstructured.Unstructured
	for _, tenant := range result.Tenants {
		if len(tenant.Errors) > 0 {
			return nil, fmt.Errorf("the generated fleet is wrong: %w", tenant.Errors[0])
		}
		for _, o := range append(tenant.Objects(), tenant.Children()...) {
			ours := o.GroupVersionKind().Group == v1alpha1.GroupVersion.Group
			if ours && what == childrenAlone {
				continue
			}
			o = o.DeepCopy()
			if ours {
				o.SetAPIVersion(plainGroup + "/" + v1alpha1.GroupVersion.Version)
			}
			o.SetLabels(renamed(o.GetLabels()))
			o.SetAnnotations(renamed(o.GetAnnotations()))
			all = append(all, o)
		}
	}
	return all, nil
}

// plainGroup has kinds like Aether's that nobody acts on.
const plainGroup = "plain.example.com"

// installPlainKinds makes them.
func installPlainKinds(ctx context.Context, s *stage) error {
	for _, plural := range []string{"tenants", "tenantnamespaces"} {
		data, err := crd.FS.ReadFile(v1alpha1.GroupVersion.Group + "_" + plural + ".yaml")
		if err != nil {
			return err
		}
		definition := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.Unmarshal(data, definition); err != nil {
			return err
		}
		definition.Name = plural + "." + plainGroup
		definition.Spec.Group = plainGroup
		definition.Spec.Names.ShortNames, definition.Spec.Names.Categories = nil, nil
		if err := s.Client.Create(ctx, definition); err != nil {
			return fmt.Errorf("cannot create CustomResourceDefinition %s: %w", definition.Name, err)
		}
		if err := s.poll(ctx, 100*time.Millisecond, func() (bool, error) {
			err := s.Client.Get(ctx, client.ObjectKeyFromObject(definition), definition)
			return slices.ContainsFunc(definition.Status.Conditions, func(c apiextensionsv1.CustomResourceDefinitionCondition) bool {
				return c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue
			}), err
		}); err != nil {
			return err
		}
	}
	return nil
}

// protected are the prefixes of names that a plain client may not use.
var protected = strings.NewReplacer(
	v1alpha1.LabelPrefix, "plain.example.com/",
	"pod-security.kubernetes.io/", "pod-security.example.com/",
)

func renamed(from map[string]string) map[string]string {
	to := make(map[string]string, len(from))
	for key, value := range from {
		to[protected.Replace(key)] = value
	}
	return to
}

func resource(c dynamic.Interface, o *unstructured.Unstructured) dynamic.ResourceInterface {
	r := c.Resource(plural(o.GroupVersionKind()))
	if o.GetNamespace() == "" {
		return r
	}
	return r.Namespace(o.GetNamespace())
}
