// Command floor writes policies/admission/<name>/policy.yaml for each policy in
// policies/kyverno/<name>/policy.yaml that has the label aetherplatform.cloud/floor:
// the same rule as a ValidatingAdmissionPolicy, which holds while Kyverno is down.
//
// It changes no expression: the text between the two files differs in the header, and
// in what only Kyverno knows. What it cannot carry over as it is, it refuses.
//
//	go run ./policies/floor
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

// floorLabel marks what must hold without Kyverno.
const floorLabel = "aetherplatform.cloud/floor"

// kyvernoOnly are the fields of a spec that a ValidatingAdmissionPolicy has not, or
// that its binding has.
var kyvernoOnly = []string{"validationActions", "autogen", "evaluation", "webhookConfiguration"}

func main() {
	if err := run("policies"); err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
}

func run(root string) error {
	paths, err := filepath.Glob(filepath.Join(root, "kyverno", "*", "policy.yaml"))
	if err != nil {
		return err
	}
	if len(paths) == 0 {
		return errors.New("no policies below policies/kyverno: run it in the root of the checkout")
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		floor, err := generate(data)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if floor == nil {
			continue
		}
		to := filepath.Join(root, "admission", filepath.Base(filepath.Dir(path)), "policy.yaml")
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil { //nolint:gosec // sources, for everyone to read
			return err
		}
		if err := os.WriteFile(to, floor, 0o644); err != nil { //nolint:gosec // as above
			return err
		}
	}
	return nil
}

type policy struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name   string            `json:"name"`
		Labels map[string]string `json:"labels"`
	} `json:"metadata"`
	Spec map[string]any `json:"spec"`
}

// generate returns the floor of the policies of a file; nil where none is essential.
func generate(data []byte) ([]byte, error) {
	var out bytes.Buffer
	for document := range strings.SplitSeq(string(data), "\n---\n") {
		var p policy
		if err := yaml.Unmarshal([]byte(document), &p); err != nil {
			return nil, err
		}
		if p.Metadata.Labels[floorLabel] != "true" {
			continue
		}
		if p.APIVersion != "policies.kyverno.io/v1" || p.Kind != "ValidatingPolicy" {
			return nil, fmt.Errorf("%s %s cannot be a ValidatingAdmissionPolicy", p.Kind, p.Metadata.Name)
		}
		text, err := admission(document, p)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.Metadata.Name, err)
		}
		if out.Len() == 0 {
			out.WriteString("# Generated from policies/kyverno by `make generate`; change it there.\n")
		} else {
			out.WriteString("---\n")
		}
		out.WriteString(text)
	}
	return out.Bytes(), nil
}

// admission is the policy as a ValidatingAdmissionPolicy, with its binding.
func admission(document string, p policy) (string, error) {
	before, spec, found := strings.Cut(document, "\nspec:\n")
	if !found {
		return "", errors.New("has no spec")
	}
	var comment strings.Builder
	for line := range strings.Lines(before) {
		if !strings.HasPrefix(line, "#") {
			break
		}
		comment.WriteString(line)
	}
	text := fmt.Sprintf("%sapiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\nmetadata:\n  name: %s\nspec:\n%s",
		comment.String(), p.Metadata.Name, without(spec, kyvernoOnly))

	var made policy
	if err := yaml.Unmarshal([]byte(text), &made); err != nil {
		return "", err
	}
	for _, field := range kyvernoOnly {
		delete(p.Spec, field)
	}
	if want, got := fmt.Sprint(p.Spec), fmt.Sprint(made.Spec); want != got {
		return "", fmt.Errorf("would mean something else as a ValidatingAdmissionPolicy:\n%s\nis not\n%s", got, want)
	}
	return text + fmt.Sprintf("---\napiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicyBinding\nmetadata:\n  name: %[1]s\nspec:\n"+
		"  policyName: %[1]s\n  validationActions: [Deny]\n", p.Metadata.Name), nil
}

// without is a spec's text without some of its fields.
func without(spec string, fields []string) string {
	var out strings.Builder
	dropping := false
	for line := range strings.Lines(spec + "\n") {
		if field, _, ok := strings.Cut(line, ":"); ok && strings.HasPrefix(line, "  ") && !strings.HasPrefix(line, "   ") && !strings.HasPrefix(line, "  -") {
			dropping = false
			for _, f := range fields {
				dropping = dropping || field == "  "+f
			}
		}
		if !dropping {
			out.WriteString(line)
		}
	}
	return strings.TrimRight(out.String(), "\n") + "\n"
}
