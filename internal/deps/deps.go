// Package deps holds modules in go.mod whose first import is still to come.
package deps

import (
	_ "github.com/cilium/cilium/pkg/k8s/apis/cilium.io/v2"
	_ "github.com/cilium/cilium/pkg/policy/api"
)
