//go:build !linux

package machine

import (
	"context"
	"errors"
	"net"
)

// Sweep has nothing to do where there are no machines.
func Sweep() error { return nil }

// Dial leads nowhere where there are no machines.
func (d Dir) Dial(context.Context, string) (net.Conn, error) { return nil, errors.ErrUnsupported }
