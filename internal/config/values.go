package config

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
)

// Duration is written as 15s or 5m.
type Duration struct{ time.Duration }

// String has no units that are zero at its end: 5m, not 5m0s.
func (d Duration) String() string {
	text := d.Duration.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is no duration; write one such as 15s or 5m", text)
	}
	d.Duration = parsed
	return nil
}

// Bytes are an amount of memory, written as Kubernetes does: 320Mi.
type Bytes int64

// String is the amount in the largest unit that it is whole in.
func (b Bytes) String() string { return resource.NewQuantity(int64(b), resource.BinarySI).String() }

// MarshalText implements encoding.TextMarshaler.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// amount is what a quantity may look like: without an exponent, since a large one takes
// the parser hours.
var amount = regexp.MustCompile(`^[0-9]{1,19}(\.[0-9]{1,19})?([KMGTPE]i|[kMGTPE])?$`)

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *Bytes) UnmarshalText(text []byte) error {
	if !amount.Match(text) {
		return fmt.Errorf("%q is no amount of memory; write one such as 320Mi", text)
	}
	parsed, err := resource.ParseQuantity(string(text))
	if err != nil {
		return err
	}
	*b = Bytes(parsed.Value())
	return nil
}
