package secret

import (
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

func TestPasswordsAreAsLongAndOfWhatIsAskedFor(t *testing.T) {
	seen := map[string]bool{}
	for range 200 {
		data, err := Generate(map[string]v1alpha1.Generator{
			"plain": {Password: &v1alpha1.PasswordGenerator{}},
			"long":  {Password: &v1alpha1.PasswordGenerator{Length: 64, Symbols: true}},
		})
		if err != nil {
			t.Fatal(err)
		}
		plain, long := data["plain"].(string), data["long"].(string)
		if len(plain) != 32 || strings.Trim(plain, alphanumeric) != "" || len(long) != 64 || strings.Trim(long, alphanumeric+symbols) != "" {
			t.Fatal("a password is not as asked for")
		}
		if seen[plain] || seen[long] {
			t.Fatal("a password came twice")
		}
		seen[plain], seen[long] = true, true
	}
}

func TestPrivateKeysAreKeys(t *testing.T) {
	for _, algorithm := range []string{"", "ECDSA", "Ed25519", "RSA"} {
		data, err := Generate(map[string]v1alpha1.Generator{"key": {PrivateKey: &v1alpha1.PrivateKeyGenerator{Algorithm: algorithm}}})
		if err != nil {
			t.Fatal(err)
		}
		block, rest := pem.Decode([]byte(data["key"].(string)))
		if block == nil || len(rest) > 0 {
			t.Fatalf("%q: it is no PEM", algorithm)
		}
		if _, err := x509.ParsePKCS8PrivateKey(block.Bytes); err != nil {
			t.Errorf("%q: %v", algorithm, err)
		}
	}
}

func TestAGeneratorOfNothingIsAnError(t *testing.T) {
	if _, err := Generate(map[string]v1alpha1.Generator{"key": {}}); err == nil {
		t.Error("it makes something of nothing")
	}
}
