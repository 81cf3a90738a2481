//go:build !linux

package testenv

import "os/exec"

// dieWithParent has no counterpart here; Env stops its processes itself.
func dieWithParent(*exec.Cmd) {}
