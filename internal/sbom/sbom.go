// Package sbom writes the bill of materials of a Go program, in CycloneDX, out of what
// the linker wrote into the program: no list that someone keeps, and no source tree,
// can differ from what runs. The same program makes the same bill, bit by bit.
//
// It knows no licences: a program does not hold them.
package sbom

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"path"
	"runtime/debug"
	"slices"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/uuid"
)

// Of returns the bill of a program. The version is the program's own, which a binary
// that was built in a checkout need not know; empty for what it knows.
func Of(program, version string) ([]byte, error) {
	data, err := os.ReadFile(program) //nolint:gosec // one that the caller has built
	if err != nil {
		return nil, err
	}
	info, err := buildinfo.Read(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", program, err)
	}
	sum := sha256.Sum256(data)

	bom := cdx.NewBOM()
	bom.SerialNumber = uuid.NewSHA1(uuid.NameSpaceOID, sum[:]).URN()
	main := subject(info, version)
	main.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(sum[:])}}
	bom.Metadata = &cdx.Metadata{Component: &main}
	components, err := parts(info)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", program, err)
	}
	bom.Components = &components
	// Who needs whom among them, a program does not say.
	refs := []string{}
	for _, c := range components {
		refs = append(refs, c.BOMRef)
	}
	bom.Dependencies = &[]cdx.Dependency{{Ref: main.BOMRef, Dependencies: &refs}}

	var out bytes.Buffer
	if err := cdx.NewBOMEncoder(&out, cdx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(bom, cdx.SpecVersion1_6); err != nil {
		return nil, fmt.Errorf("cannot write the bill of %s: %w", program, err)
	}
	return out.Bytes(), nil
}

// subject is the program itself.
func subject(info *debug.BuildInfo, version string) cdx.Component {
	version = cmp.Or(version, info.Main.Version)
	at := purl(info.Main.Path, version) + "?type=module"
	for _, s := range info.Settings {
		switch s.Key {
		case "GOARCH", "GOOS":
			at += "&" + strings.ToLower(s.Key) + "=" + s.Value
		}
	}
	at += "#" + strings.TrimPrefix(strings.TrimPrefix(info.Path, info.Main.Path), "/")
	return cdx.Component{
		BOMRef: at, Type: cdx.ComponentTypeApplication,
		Name: path.Base(info.Path), Version: version, PackageURL: at,
	}
}

// parts are the modules that are linked into the program, with Go's own library.
func parts(info *debug.BuildInfo) ([]cdx.Component, error) {
	goVersion, _, _ := strings.Cut(strings.TrimPrefix(info.GoVersion, "go"), " ")
	at := purl("std", goVersion)
	components := []cdx.Component{{BOMRef: at, Type: cdx.ComponentTypeLibrary, Name: "std", Version: goVersion, PackageURL: at}}
	for _, module := range info.Deps {
		if module.Replace != nil {
			module = module.Replace
		}
		at := purl(module.Path, module.Version)
		c := cdx.Component{BOMRef: at, Type: cdx.ComponentTypeLibrary, Name: module.Path, Version: module.Version, PackageURL: at}
		if module.Sum != "" {
			sum, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(module.Sum, "h1:"))
			if err != nil {
				return nil, fmt.Errorf("the sum of %s is %q, not one of go.sum: %w", module.Path, module.Sum, err)
			}
			// A SHA-256 of the module's list of files, as cyclonedx-gomod gives it; go.sum's
			// own spelling is beside it for whoever compares the two.
			c.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(sum)}}
			c.Properties = &[]cdx.Property{{Name: "go:sum", Value: module.Sum}}
		}
		components = append(components, c)
	}
	slices.SortFunc(components, func(a, b cdx.Component) int { return cmp.Compare(a.BOMRef, b.BOMRef) })
	return components, nil
}

// purl is a module's package URL, in the case of its path: lists of vulnerabilities
// tell modules apart by it.
func purl(module, version string) string {
	at := "pkg:golang/" + module
	if version != "" {
		at += "@" + url.QueryEscape(version)
	}
	return at
}
