package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/fleet"
	"github.com/aetherplatform/aether/internal/render"
)

// plainConcurrency is how many requests the plain client has under way: more
// brought nothing on two cores.
const plainConcurrency = 32

// plain applies the children of a fleet's namespaces as a person with a script
// would: server-side apply, namespaces first, as fast as the server takes them.
// It returns how many objects that was and how long it took.
func plain(ctx context.Context, config *rest.Config, tree fleet.Tree) (int, time.Duration, error) {
	objects, err := children(tree)
	if err != nil {
		return 0, 0, err
	}
	config = rest.CopyConfig(config)
	config.QPS = -1
	c, err := dynamic.NewForConfig(config)
	if err != nil {
		return 0, 0, err
	}

	begin := time.Now()
	for _, namespaces := range []bool{true, false} {
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(plainConcurrency)
		for _, o := range objects {
			if (o.GetKind() == "Namespace") != namespaces {
				continue
			}
			group.Go(func() error {
				_, err := resource(c, o).Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: "plain", Force: true})
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return 0, 0, fmt.Errorf("cannot apply as a plain client: %w", err)
		}
	}
	return len(objects), time.Since(begin), nil
}

// children renders what the namespaces of a fleet consist of. The labels and
// annotations that admission keeps for Aether go by other names, so that the
// objects are as large as Aether's and a plain client may write them.
func children(tree fleet.Tree) ([]*unstructured.Unstructured, error) {
	result := render.New(render.Options{}).Render(tree, nil)
	var all []*unstructured.Unstructured
	for _, tenant := range result.Tenants {
		if len(tenant.Errors) > 0 {
			return nil, fmt.Errorf("the generated fleet is wrong: %w", tenant.Errors[0])
		}
		for _, o := range tenant.Children() {
			o = o.DeepCopy()
			o.SetLabels(renamed(o.GetLabels()))
			o.SetAnnotations(renamed(o.GetAnnotations()))
			all = append(all, o)
		}
	}
	return all, nil
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
