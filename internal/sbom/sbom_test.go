package sbom

import (
	"bytes"
	"debug/buildinfo"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// The test's own binary is a Go program like any other.
func bill(t *testing.T) *cdx.BOM {
	t.Helper()
	first, err := Of(os.Args[0], "v1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	second, err := Of(os.Args[0], "v1.2.3")
	if err != nil || !bytes.Equal(first, second) {
		t.Fatalf("a second bill of the same program differs (%v)", err)
	}
	bom := new(cdx.BOM)
	if err := cdx.NewBOMDecoder(bytes.NewReader(first), cdx.BOMFileFormatJSON).Decode(bom); err != nil {
		t.Fatal(err)
	}
	return bom
}

func TestABillListsTheModulesThatAreLinked(t *testing.T) {
	info, err := buildinfo.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	bom := bill(t)
	if bom.SpecVersion != cdx.SpecVersion1_6 || !strings.HasPrefix(bom.SerialNumber, "urn:uuid:") {
		t.Errorf("it is of CycloneDX %s, number %q", bom.SpecVersion, bom.SerialNumber)
	}
	if c := bom.Metadata.Component; c.Name != "sbom.test" || c.Version != "v1.2.3" || c.Hashes == nil ||
		!strings.HasPrefix(c.PackageURL, "pkg:golang/github.com/aetherplatform/aether@v1.2.3?type=module&") {
		t.Errorf("its subject is %+v", c)
	}
	listed := map[string]cdx.Component{}
	for _, c := range *bom.Components {
		listed[c.Name] = c
	}
	if len(listed) != len(info.Deps)+1 {
		t.Errorf("it lists %d modules, want the %d that are linked and Go's library", len(listed), len(info.Deps))
	}
	for _, m := range info.Deps {
		c := listed[m.Path]
		if c.Version != m.Version || c.PackageURL != "pkg:golang/"+m.Path+"@"+m.Version || (*c.Properties)[0].Value != m.Sum {
			t.Errorf("%s %s is listed as %+v", m.Path, m.Version, c)
		}
	}
	if c := listed["std"]; c.PackageURL != "pkg:golang/std@"+strings.TrimPrefix(runtime.Version(), "go") {
		t.Errorf("Go's library is listed as %+v", c)
	}
	if deps := *bom.Dependencies; len(deps) != 1 || len(*deps[0].Dependencies) != len(listed) {
		t.Errorf("its dependencies are %+v", deps)
	}
}

func TestAVersionWithAPlusIsEscaped(t *testing.T) {
	if got, want := purl("example.com/BurntSushi", "v2.0.0+incompatible"), "pkg:golang/example.com/BurntSushi@v2.0.0%2Bincompatible"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestWhatIsNoGoProgramHasNoBill(t *testing.T) {
	file := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Of(file, ""); err == nil || !strings.HasPrefix(err.Error(), file+": ") {
		t.Errorf("got %v", err)
	}
}
