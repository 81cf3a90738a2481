package main

import (
	"testing"

	"github.com/aetherplatform/aether/internal/rootstest"
)

// The operator runs in an image that has no certificates.
func TestTheProgramTrustsPublicRootsWhereTheSystemHasNone(t *testing.T) { rootstest.Trusts(t) }
