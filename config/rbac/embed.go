// Package rbac holds the identity of the namespace operator, the least it can run
// with, and roles for people.
package rbac

import "embed"

// FS holds the manifests, each with a reason beside every rule.
//
//go:embed namespace-operator.yaml people.yaml
var FS embed.FS
