// Package ocikms stands in for the package of the same name, which has a cloud keep the
// key that a server is unsealed with. This one refuses to be configured.
package ocikms

import (
	"context"
	"errors"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
)

// Wrapper wraps nothing.
type Wrapper struct{ wrapping.Wrapper }

// NewWrapper returns a Wrapper that cannot be used.
func NewWrapper() *Wrapper { return &Wrapper{} }

// SetConfig refuses.
func (*Wrapper) SetConfig(context.Context, ...wrapping.Option) (*wrapping.WrapperConfig, error) {
	return nil, errors.New("this server has no ocikms")
}

// Names that the core reads a wrapper's description by.
const (
	KmsConfigKeyId              = "key_id"
	KmsConfigCryptoEndpoint     = "crypto_endpoint"
	KmsConfigManagementEndpoint = "management_endpoint"
)
