package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// oldest is the Kubernetes that `helm template` is told of: what is made for it, every
// later one takes.
const oldest = "1.31.0"

// system is the namespace that Aether runs in; the chart refuses any other.
const system = "aether-system"

// packaged is the path of the chart.
func (r *release) packaged() string { return filepath.Join(r.next, "aether-"+r.number()+".tgz") }

// chart packages the chart, and gives its files the time of the commit, where Helm
// writes that of the hour.
func (r *release) chart(ctx context.Context) error {
	_, err := runHelm(ctx, "package", "charts/aether", "--version", r.number(), "--app-version", r.number(), "--destination", r.next)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(r.packaged())
	if err != nil {
		return err
	}
	entries, header, err := unpack(data)
	if err != nil {
		return fmt.Errorf("cannot read the chart that Helm made: %w", err)
	}
	var again bytes.Buffer
	if err := pack(&again, r.time, header, entries); err != nil {
		return err
	}
	return publish(r.packaged(), again.Bytes())
}

func (r *release) manifests(ctx context.Context) error {
	text, err := plain(ctx, r.packaged())
	if err != nil {
		return err
	}
	return publish(filepath.Join(r.next, "aether.yaml"), text)
}

// writeManifests writes what the checkout's own chart makes.
func writeManifests(ctx context.Context, file string) error {
	if err := needHelm(); err != nil {
		return err
	}
	text, err := plain(ctx, "charts/aether")
	if err != nil {
		return err
	}
	return publish(file, text)
}

// plain is what a chart makes with its defaults, for kubectl alone and for Flux: the
// namespace comes with it, nothing claims to be Helm's, and what Helm is told to keep
// Flux is told to keep.
func plain(ctx context.Context, chart string) ([]byte, error) {
	made, err := runHelm(ctx, "template", "aether", chart, "--namespace", system, "--kube-version", oldest)
	if err != nil {
		return nil, err
	}
	objects := []map[string]any{{
		"apiVersion": "v1", "kind": "Namespace",
		"metadata": map[string]any{
			"name": system,
			"labels": map[string]any{
				"app.kubernetes.io/part-of": "aether",
				// Aether's own Pods pass it.
				"pod-security.kubernetes.io/enforce": "restricted",
			},
			// With it would go the sources of the fleet, which are the platform team's.
			"annotations": map[string]any{fluxPrune: "disabled"},
		},
	}}
	for decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(made), 4096); ; {
		o := unstructured.Unstructured{}
		err := decoder.Decode(&o.Object)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read what the chart makes: %w", err)
		}
		if len(o.Object) == 0 {
			continue
		}
		if o.GetAnnotations()[helmPolicy] == "keep" {
			if err := unstructured.SetNestedField(o.Object, "disabled", "metadata", "annotations", fluxPrune); err != nil {
				return nil, err
			}
		}
		withoutHelm(o.Object)
		objects = append(objects, o.Object)
	}

	var text bytes.Buffer
	text.WriteString("# What Aether's chart makes with its defaults: kubectl apply --server-side -f aether.yaml\n")
	for i, o := range objects {
		data, err := yaml.Marshal(o)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			text.WriteString("---\n")
		}
		text.Write(data)
	}
	return text.Bytes(), nil
}

// What Helm, and what Flux, leaves in place that is asked for no longer.
const (
	helmPolicy = "helm.sh/resource-policy"
	fluxPrune  = "kustomize.toolkit.fluxcd.io/prune"
)

// helms are the labels and annotations by which Helm knows what is its own.
var helms = map[string][]string{
	"labels":      {"helm.sh/chart", "app.kubernetes.io/managed-by"},
	"annotations": {helmPolicy},
}

// withoutHelm takes Helm's marks from an object and from its Pods.
func withoutHelm(object map[string]any) {
	for _, at := range [][]string{{"metadata"}, {"spec", "template", "metadata"}} {
		for field, names := range helms {
			path := append(append([]string{}, at...), field)
			for _, name := range names {
				unstructured.RemoveNestedField(object, append(path, name)...)
			}
			if left, found, _ := unstructured.NestedMap(object, path...); found && len(left) == 0 {
				unstructured.RemoveNestedField(object, path...)
			}
		}
	}
}

// runHelm runs Helm as on a machine where no one has used it.
func runHelm(ctx context.Context, args ...string) ([]byte, error) {
	home, err := os.MkdirTemp("", "aether-helm-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(home) }()
	cmd := exec.CommandContext(ctx, helm, args...)
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("helm %s: %w\n%s", args[0], err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}
