package openbao

import (
	"fmt"
	"io"
	"log/slog"
	"time"
)

// redacted stands wherever a secret would be printed.
const redacted = "[redacted]"

// Token is a token of OpenBao. It cannot be printed, encoded or compared; the zero
// Token is none.
type Token struct {
	// reveal and not the text itself: package fmt and debuggers' dumps reach into the
	// unexported fields of what they print, and stop at a function.
	reveal func() string
}

// NewToken is the token of that text.
func NewToken(text string) Token {
	if text == "" {
		return Token{}
	}
	return Token{reveal: func() string { return text }}
}

// IsZero is whether it is no token.
func (t Token) IsZero() bool { return t.reveal == nil }

// String implements fmt.Stringer without the token.
func (Token) String() string { return redacted }

// GoString implements fmt.GoStringer without the token.
func (Token) GoString() string { return redacted }

// Format implements fmt.Formatter without the token, for every verb.
func (Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalJSON implements json.Marshaler without the token.
func (Token) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalText implements encoding.TextMarshaler without the token.
func (Token) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue implements slog.LogValuer without the token.
func (Token) LogValue() slog.Value { return slog.StringValue(redacted) }

// Lease is a token and how long it is good for.
type Lease struct {
	Token Token
	// TTL from when it was given. Zero: it is not known, or there is no end.
	TTL time.Duration
}
