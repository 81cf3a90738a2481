// Package tenancy holds the rules between a Tenant and its namespaces: which
// names are its own, who its peers are, and what fits into its limits.
//
// It is pure. Package fleet asks it when a spec is read, and the namespace
// operator asks it again before it acts, so that neither has to trust the other.
package tenancy

import "fmt"

// Error is a rule that a field breaks.
type Error struct {
	// Field is the path of the field: "spec.size".
	Field string
	// Message says what is wrong and what to write instead.
	Message string
}

// Error is "field: message".
func (e *Error) Error() string { return e.Field + ": " + e.Message }

func errorf(field, format string, args ...any) *Error {
	return &Error{Field: field, Message: fmt.Sprintf(format, args...)}
}
