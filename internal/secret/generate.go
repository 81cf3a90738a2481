package secret

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// Characters of passwords. The symbols are those that shells, YAML and connection
// strings mind least.
const (
	alphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	symbols      = "!#%+-./:=@^_~"
)

// Sizes that are drawn where a spec does not say.
const (
	passwordLength = 32
	rsaBits        = 3072
)

// Generate draws what generators ask for: keys in OpenBao and their values.
func Generate(generators map[string]v1alpha1.Generator) (map[string]any, error) {
	data := make(map[string]any, len(generators))
	for key, g := range generators {
		var value string
		var err error
		switch {
		case g.Password != nil:
			value, err = password(g.Password)
		case g.PrivateKey != nil:
			value, err = privateKey(g.PrivateKey)
		default:
			err = fmt.Errorf("generate[%s]: write password: {} or privateKey: {}", shorten(key))
		}
		if err != nil {
			return nil, err
		}
		data[key] = value
	}
	return data, nil
}

func password(g *v1alpha1.PasswordGenerator) (string, error) {
	set := alphanumeric
	if g.Symbols {
		set += symbols
	}
	length := int(g.Length)
	if length == 0 {
		length = passwordLength
	}
	text := make([]byte, length)
	for i := range text {
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(set))))
		if err != nil {
			return "", err
		}
		text[i] = set[n.Int64()]
	}
	return string(text), nil
}

func privateKey(g *v1alpha1.PrivateKeyGenerator) (string, error) {
	var key crypto.PrivateKey
	var err error
	switch g.Algorithm {
	case "RSA":
		key, err = rsa.GenerateKey(rand.Reader, rsaBits)
	case "Ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), nil
}
