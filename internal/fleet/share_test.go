package fleet

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestUnchangedFilesShareTheirContent(t *testing.T) {
	before := Tree{"acme/tenant.yaml": {Data: []byte("a: 1")}, "acme/web.yaml": {Data: []byte("b: 1")}, "acme/x": {Link: "y"}}
	last, err := ReadTarGz(bytes.NewReader(archiveOf(t, before)), "tenants", nil)
	if err != nil {
		t.Fatal(err)
	}
	after := Tree{"acme/tenant.yaml": {Data: []byte("a: 1")}, "acme/web.yaml": {Data: []byte("b: 2")}, "acme/x": {Data: []byte("")}}
	tree, err := ReadTarGz(bytes.NewReader(archiveOf(t, after)), "tenants", last)
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := ReadTarGz(bytes.NewReader(archiveOf(t, after)), "tenants", nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fresh, tree); diff != "" {
		t.Errorf("what was read before shows (-fresh +after)\n%s", diff)
	}
	if &tree["acme/tenant.yaml"].Data[0] != &last["acme/tenant.yaml"].Data[0] {
		t.Error("an unchanged file is held twice")
	}
	if got := string(last["acme/web.yaml"].Data); got != "b: 1" {
		t.Errorf("the tree that was read before has changed: %q", got)
	}
}
