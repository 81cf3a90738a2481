// Package openbao holds what an administrator of OpenBao installs there for Aether.
package openbao

import "embed"

// FS holds the policies, each with a reason beside every rule.
//
//go:embed namespace-operator.hcl
var FS embed.FS
