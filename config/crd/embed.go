// Package crd holds the CustomResourceDefinitions of Aether's groups as controller-gen
// writes them, for what must know them without a cluster.
package crd

import "embed"

// FS holds one file a kind: <group>_<plural>.yaml.
//
//go:embed *aetherplatform.cloud_*.yaml
var FS embed.FS
