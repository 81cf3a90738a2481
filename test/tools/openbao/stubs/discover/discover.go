// Package discover stands in for the package of the same name, which finds servers in
// clouds. This one finds none: it exists so that the core compiles.
package discover

import (
	"errors"
	"log"
)

// Provider finds the servers of one cloud.
type Provider interface {
	Addrs(args map[string]string, l *log.Logger) ([]string, error)
	Help() string
}

// Providers are none.
var Providers = map[string]Provider{}

// Discover finds nothing.
type Discover struct{}

// Option of a Discover.
type Option func(*Discover) error

// New returns a Discover.
func New(...Option) (*Discover, error) { return &Discover{}, nil }

// WithProviders is accepted and has no effect.
func WithProviders(map[string]Provider) Option { return func(*Discover) error { return nil } }

// Addrs refuses.
func (*Discover) Addrs(string, *log.Logger) ([]string, error) {
	return nil, errors.New("this server finds no others")
}
