// Package crd holds the CustomResourceDefinitions of the group aetherplatform.cloud
// as controller-gen writes them, for what must know them without a cluster.
package crd

import "embed"

// FS holds one file a kind: aetherplatform.cloud_<plural>.yaml.
//
//go:embed aetherplatform.cloud_*.yaml
var FS embed.FS
