package config

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/aetherplatform/aether/internal/prose"
)

// Problem is what is wrong with the value of one field.
type Problem struct {
	// Field by its path, such as openBao.address or repositories[0].
	Field string
	// Message says what is wrong, and what to write instead.
	Message string
}

// Problems are all that is wrong with the values of a configuration.
type Problems []Problem

// Add says what is wrong with a field.
func (p *Problems) Add(field, format string, args ...any) {
	*p = append(*p, Problem{Field: field, Message: fmt.Sprintf(format, args...)})
}

// OneOf wants one of the values that are allowed.
func (p *Problems) OneOf(field, value, is string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		p.Add(field, "%q %s; use %s", value, is, prose.Either(allowed))
	}
}

// AtLeastOne wants a number that something can be done with.
func (p *Problems) AtLeastOne(field string, value int) {
	if value < 1 {
		p.Add(field, "%d is too small; use at least 1", value)
	}
}

// Listen wants an address that a server can listen at.
func (p *Problems) Listen(field, address string) { p.listen(field, address, "") }

// MayListen wants an address that a server can listen at, or "0" for none.
func (p *Problems) MayListen(field, address string) {
	if address != "0" {
		p.listen(field, address, `, or "0" for none`)
	}
}

func (p *Problems) listen(field, address, or string) {
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		p.Add(field, "%q is no address to listen at; write one such as :8080 or 127.0.0.1:8080%s", address, or)
	}
}

// WithoutUser leaves out of an address what may be a password.
func WithoutUser(address string) string {
	if at := strings.LastIndexByte(address, '@'); at >= 0 {
		return "…" + address[at:]
	}
	return address
}
