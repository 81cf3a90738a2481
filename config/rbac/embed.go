// Package rbac holds the identities of the namespace operator and of the cluster
// controller, the least that each can run with, and roles for people.
package rbac

import "embed"

// FS holds the manifests, each with a reason beside every rule.
//
//go:embed namespace-operator.yaml cluster-controller.yaml people.yaml
var FS embed.FS
