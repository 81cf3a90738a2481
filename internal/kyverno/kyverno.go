// Package kyverno runs Kyverno's admission controller as a process beside an API
// server: what must be in the cluster for it, and how it is started. It is the program
// that runs in a cluster, with the roles that Kyverno publishes for it and no others.
//
// It knows nothing of Aether's policies, which package policies installs.
package kyverno

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Names that Kyverno's own installation has.
const (
	namespace  = "kyverno"
	controller = "kyverno-admission-controller"
	service    = "kyverno-svc"
)

// Account is who Kyverno is.
var Account = types.NamespacedName{Namespace: namespace, Name: controller}

// Programs and Folders of bin/ that it takes.
var (
	Programs = []string{"kyverno"}
	Folders  = []string{"kyverno-install"}
)

// fieldOwner of what Install applies.
const fieldOwner = "aether-local"

// Install applies what Kyverno publishes to be installed, but for what would run it as
// Pods. bin is the folder of the programs.
func Install(ctx context.Context, c client.Client, bin string) error {
	data, err := os.ReadFile(filepath.Join(bin, "kyverno-install", "install-latest-testing.yaml"))
	if err != nil {
		return err
	}
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096)
	var crds []string
	for {
		o := &unstructured.Unstructured{}
		err := decoder.Decode(o)
		if errors.Is(err, io.EOF) {
			return served(ctx, c, crds)
		}
		if err != nil {
			return fmt.Errorf("cannot read what Kyverno is installed from: %w", err)
		}
		switch o.GetKind() {
		case "", "Deployment", "Service":
			continue
		case "CustomResourceDefinition":
			crds = append(crds, o.GetName())
		}
		if err := c.Apply(ctx, client.ApplyConfigurationFromUnstructured(o), client.FieldOwner(fieldOwner), client.ForceOwnership); err != nil {
			return fmt.Errorf("cannot apply %s %s: %w", o.GetKind(), o.GetName(), err)
		}
	}
}

// served returns once every one of these CRDs is.
func served(ctx context.Context, c client.Client, names []string) error {
	return wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		for _, name := range names {
			var crd apiextensionsv1.CustomResourceDefinition
			if err := c.Get(ctx, client.ObjectKey{Name: name}, &crd); err != nil {
				return false, err
			}
			if !slices.ContainsFunc(crd.Status.Conditions, func(c apiextensionsv1.CustomResourceDefinitionCondition) bool {
				return c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue
			}) {
				return false, nil
			}
		}
		return true, nil
	})
}

// AwaitServing returns once it has made itself a certificate: its webhooks are in the
// cluster, and fail, from a moment before.
func AwaitServing(ctx context.Context, port int) error {
	// Whose certificate it is does not matter: nothing is sent.
	dialer := &tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}} //nolint:gosec // as above
	var last error
	err := wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		connection, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			last = err
			return false, nil //nolint:nilerr // it is tried again
		}
		return true, connection.Close()
	})
	if err != nil && last != nil {
		return fmt.Errorf("the webhooks of Kyverno do not answer: %w", last)
	}
	return err
}

// host is the address that it serves at.
const host = "127.0.0.1"

// Args are what it is started with. The API server calls it at a port of the loopback
// address; metrics are at another.
func Args(kubeconfig string, port, metrics int) []string {
	return []string{
		"-kubeconfig=" + kubeconfig,
		"-serverIP=" + host + ":" + strconv.Itoa(port), "-webhookServerHost=" + host, "-webhookServerPort=" + strconv.Itoa(port),
		"-metricsHost=" + host, "-metricsPort=" + strconv.Itoa(metrics), "-controllerRuntimeMetricsAddress=0",
		"-caSecretName=" + service + "." + namespace + ".svc.kyverno-tls-ca",
		"-tlsSecretName=" + service + "." + namespace + ".svc.kyverno-tls-pair",
		"-backgroundServiceAccountName=system:serviceaccount:" + namespace + ":kyverno-background-controller",
		"-reportsServiceAccountName=system:serviceaccount:" + namespace + ":kyverno-reports-controller",
		// What would collect reports of admissions does not run, nor does anything fetch keys.
		"-admissionReports=false", "-enableTuf=false", "-omitEvents=PolicyApplied,PolicySkipped",
		"-disableLogColor",
	}
}

// Env is the environment that it reads its place in the cluster from.
func Env() []string {
	return []string{
		"KYVERNO_NAMESPACE=" + namespace, "KYVERNO_SERVICEACCOUNT_NAME=" + controller, "KYVERNO_DEPLOYMENT=" + controller,
		"KYVERNO_POD_NAME=" + controller + "-local", "KYVERNO_ROLE_NAME=kyverno:admission-controller", "KYVERNO_SVC=" + service,
		"INIT_CONFIG=kyverno", "METRICS_CONFIG=kyverno-metrics",
	}
}
