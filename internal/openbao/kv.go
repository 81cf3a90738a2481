package openbao

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"time"

	"github.com/openbao/openbao/api/v2"
)

// Metadata is what KV knows of a secret beside its values.
type Metadata struct {
	// CurrentVersion is the newest one, deleted or not. Zero: there is none yet.
	CurrentVersion int64
	// Versions that KV still knows, by number.
	Versions map[int64]Version
	// Custom is the custom_metadata.
	Custom map[string]string
}

// Version is what KV knows of one version.
type Version struct {
	Created time.Time
	// Deleted is when it was deleted, or is going to be (delete_version_after). Zero:
	// it is not.
	Deleted time.Time
	// Destroyed for good.
	Destroyed bool
}

// Gone is whether the version cannot be read any more.
func (v Version) Gone(now time.Time) bool {
	return v.Destroyed || !v.Deleted.IsZero() && !v.Deleted.After(now)
}

// Secret is a version of a secret. Printed or encoded it shows no value.
type Secret struct {
	Version int64
	Created time.Time
	// Data by key; numbers are json.Number.
	Data map[string]any
}

// Format implements fmt.Formatter without the values.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalJSON implements json.Marshaler without the values.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// LogValue implements slog.LogValuer without the values.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// Metadata reads what KV knows of a secret: the cheapest way to see whether there
// is something new.
func (c *Client) Metadata(ctx context.Context, token Token, mount, path string) (Metadata, error) {
	full, err := kvPath("read", mount, "metadata", path)
	if err != nil {
		return Metadata{}, err
	}
	answer, err := c.get(ctx, full, token, nil)
	if err != nil {
		return Metadata{}, err
	}
	current, ok := number(answer.Data["current_version"])
	if !ok {
		return Metadata{}, unexpected("read", full)
	}
	m := Metadata{CurrentVersion: current, Versions: map[int64]Version{}, Custom: map[string]string{}}
	versions, _ := answer.Data["versions"].(map[string]any)
	for key, value := range versions {
		n, err := strconv.ParseInt(key, 10, 64)
		fields, ok := value.(map[string]any)
		if err != nil || !ok {
			return Metadata{}, unexpected("read", full)
		}
		if m.Versions[n], err = versionOf(fields); err != nil {
			return Metadata{}, unexpected("read", full)
		}
	}
	custom, _ := answer.Data["custom_metadata"].(map[string]any)
	for key, value := range custom {
		m.Custom[key], _ = value.(string)
	}
	return m, nil
}

// Read reads a version of a secret; zero is the latest. The error is Gone for one
// that was deleted or destroyed.
func (c *Client) Read(ctx context.Context, token Token, mount, path string, version int64) (Secret, error) {
	full, err := kvPath("read", mount, "data", path)
	if err != nil {
		return Secret{}, err
	}
	query := map[string][]string{}
	if version > 0 {
		query["version"] = []string{strconv.FormatInt(version, 10)}
	}
	answer, err := c.get(ctx, full, token, query)
	if err != nil {
		return Secret{}, err
	}
	fields, ok := answer.Data["metadata"].(map[string]any)
	if !ok {
		return Secret{}, unexpected("read", full)
	}
	number, ok := number(fields["version"])
	if !ok {
		return Secret{}, unexpected("read", full)
	}
	about, err := versionOf(fields)
	if err != nil {
		return Secret{}, unexpected("read", full)
	}
	data, ok := answer.Data["data"].(map[string]any)
	if !ok {
		what := "deleted"
		if about.Destroyed {
			what = "destroyed"
		}
		return Secret{}, &Error{Kind: Gone, Op: "read", Path: full, reason: fmt.Sprintf("version %d is %s", number, what)}
	}
	return Secret{Version: number, Created: about.Created, Data: data}, nil
}

// Create makes a secret where there is none, and says whether it did. What is
// there, a deleted version too, is never changed: check-and-set 0 is KV's own word
// for "no version yet", so that of many who try at once one succeeds.
func (c *Client) Create(ctx context.Context, token Token, mount, path string, data map[string]any) (created bool, err error) {
	full, err := kvPath("create", mount, "data", path)
	if err != nil {
		return false, err
	}
	_, err = c.put(ctx, "create", full, token, map[string]any{"data": data, "options": map[string]any{"cas": 0}})
	if err == nil {
		return true, nil
	}
	// To who may create and not update, OpenBao denies what exists before KV looks at
	// the check-and-set.
	if errors.Is(err, Invalid) || errors.Is(err, Denied) {
		there, lookErr := c.Metadata(ctx, token, mount, path)
		if lookErr == nil && there.CurrentVersion > 0 {
			return false, nil
		}
	}
	return false, err
}

// SetCustom sets one key of a secret's custom metadata and leaves the others.
// Where there is no metadata yet, it is made.
func (c *Client) SetCustom(ctx context.Context, token Token, mount, path, key, value string) error {
	full, err := kvPath("write", mount, "metadata", path)
	if err != nil {
		return err
	}
	body := map[string]any{"custom_metadata": map[string]any{key: value}}
	_, err = c.call(ctx, "write", full, token, func(ctx context.Context, l *api.Logical) (*api.Secret, error) {
		return l.JSONMergePatch(ctx, full, body)
	})
	if errors.Is(err, NotFound) {
		_, err = c.put(ctx, "write", full, token, body)
	}
	return err
}

// kvPath is a path of KV's API.
func kvPath(op, mount, area, path string) (string, error) {
	full := mount + "/" + area + "/" + path
	for _, part := range []string{mount, path} {
		if CheckPath(part) != nil {
			return "", &Error{Kind: Invalid, Op: op, Path: strconv.Quote(full), reason: "it is no plain path; write letters, digits, '.', '_' and '-' between single '/'"}
		}
	}
	return full, nil
}

func versionOf(fields map[string]any) (Version, error) {
	var v Version
	for key, at := range map[string]*time.Time{"created_time": &v.Created, "deletion_time": &v.Deleted} {
		text, _ := fields[key].(string)
		if text == "" {
			continue
		}
		t, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return Version{}, errors.New("no time")
		}
		*at = t
	}
	v.Destroyed, _ = fields["destroyed"].(bool)
	return v, nil
}

func number(v any) (int64, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	i, err := n.Int64()
	return i, err == nil
}
