// Command namespace-operator runs controllers/source, controllers/namespace and
// controllers/secret: it makes a cluster's tenants what the fleet repository says.
package main

import (
	"context"
	"fmt"
	"time"

	// Roots of TLS where the system has none: an image holds the program and nothing
	// beside it, and OpenBao's certificate may be of a public authority.
	_ "golang.org/x/crypto/x509roots/fallback"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/controllers/namespace"
	"github.com/aetherplatform/aether/controllers/secret"
	"github.com/aetherplatform/aether/controllers/source"
	"github.com/aetherplatform/aether/internal/program"
)

func main() { namespaceOperator().Main() }

func run(o options) error {
	c := o.Config
	keepWithin(int64(c.MemoryTarget))
	cfg, err := namespaceOperator().Begin(o)
	if err != nil {
		return err
	}
	mgr, err := ctrl.NewManager(cfg, managerOptions(o))
	if err != nil {
		return fmt.Errorf("cannot make the manager: %w", err)
	}
	if err := source.Setup(mgr, source.Options{Cluster: c.Cluster, Namespace: c.Namespace}); err != nil {
		return fmt.Errorf("cannot set up controllers/source: %w", err)
	}
	if err := namespace.Setup(mgr, namespace.Options{Cluster: c.Cluster, Namespace: c.Namespace, Concurrency: c.Concurrency}); err != nil {
		return fmt.Errorf("cannot set up controllers/namespace: %w", err)
	}
	if err := setupSecrets(mgr, o); err != nil {
		return err
	}
	return program.Start(mgr)
}

// setupSecrets adds what keeps Secrets equal to OpenBao's.
func setupSecrets(mgr ctrl.Manager, o options) error {
	opts, err := secrets(o)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := secret.Setup(ctx, mgr, opts); err != nil {
		return fmt.Errorf("cannot set up controllers/secret: %w", err)
	}
	return nil
}

func managerOptions(o options) ctrl.Options {
	opts := namespaceOperator().Manager(o)
	opts.Scheme = runtime.NewScheme()
	_ = v1alpha1.AddToScheme(opts.Scheme) // never fails
	_ = corev1.AddToScheme(opts.Scheme)
	// Only Aether's own kinds are cached; the rest of the cluster is held as hashes.
	opts.Cache = cache.Options{DefaultTransform: cache.TransformStripManagedFields()}
	opts.Client = client.Options{Cache: &client.CacheOptions{
		DisableFor: []client.Object{&corev1.Secret{}}, // never held in memory
	}}
	return opts
}
