// Package base is Contain Base: the components that every namespace is built
// from, embedded so that a binary needs nothing beside itself.
package base

import "embed"

// FS holds the base as it is in the repository.
//
//go:embed all:namespace all:profiles
var FS embed.FS
