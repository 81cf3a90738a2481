//go:build !linux

package testenv

import "os/exec"

// dieWithParent has no counterpart here; Env stops its processes itself.
func dieWithParent(*exec.Cmd) {}

// guard has no counterpart here: a killed test leaves its API server running.
func guard() (release func(), err error) { return func() {}, nil }
