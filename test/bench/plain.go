package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

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

// children renders what the namespaces of a fleet consist of. The labels by which
// Aether knows its own are left out, or admission would refuse a plain client.
func children(tree fleet.Tree) ([]*unstructured.Unstructured, error) {
	result := render.New(render.Options{}).Render(tree, nil)
	var all []*unstructured.Unstructured
	for _, tenant := range result.Tenants {
		if len(tenant.Errors) > 0 {
			return nil, fmt.Errorf("the generated fleet is wrong: %w", tenant.Errors[0])
		}
		for _, o := range tenant.Children() {
			o = o.DeepCopy()
			o.SetLabels(map[string]string{"example.com/made-by": "plain", "example.com/tenant": tenant.Name})
			o.SetAnnotations(nil)
			all = append(all, o)
		}
	}
	return all, nil
}

func resource(c dynamic.Interface, o *unstructured.Unstructured) dynamic.ResourceInterface {
	r := c.Resource(plural(o.GroupVersionKind()))
	if o.GetNamespace() == "" {
		return r
	}
	return r.Namespace(o.GetNamespace())
}
