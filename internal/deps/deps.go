// Package deps holds modules in go.mod whose first import is still to come.
package deps

import (
	_ "github.com/kyverno/kyverno/pkg/cel/policies/vpol/compiler"
	_ "github.com/kyverno/kyverno/pkg/engine"
)
