package cli

import (
	"encoding/json"
	"io"
	"slices"

	"sigs.k8s.io/yaml"

	"github.com/aetherplatform/aether/internal/prose"
)

// CheckOutput wants --output to be one of a command's formats.
func CheckOutput(format string, formats ...string) error {
	if slices.Contains(formats, format) {
		return nil
	}
	return Usage("--output "+prose.Either(formats), "--output: %q is not a format", format)
}

// Encode writes a value for machines: as yaml where that is the format, and else as json.
// Both have the fields that the value's json tags name.
func Encode(w io.Writer, format string, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	data = append(data, '\n')
	if format == "yaml" {
		if data, err = yaml.JSONToYAML(data); err != nil {
			return err
		}
	}
	_, err = w.Write(data)
	return err
}
