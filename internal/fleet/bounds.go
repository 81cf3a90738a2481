package fleet

import "time"

// Bounds of what is read. They are far above what people write and far below
// what would slow the reading of other tenants.
const (
	// MaxArchiveBytes bounds an unpacked archive, all it holds included.
	MaxArchiveBytes = 1 << 30
	// MaxArchiveEntries bounds the entries of an archive.
	MaxArchiveEntries = 1_000_000
	// MaxTreeBytes bounds what is kept of a fleet.
	MaxTreeBytes = 256 << 20
	// MaxTenantFiles bounds the files of one tenant.
	MaxTenantFiles = 20_000
	// MaxTenantBytes bounds the YAML of one tenant.
	MaxTenantBytes = 8 << 20
	// MaxFileBytes bounds one YAML file.
	MaxFileBytes = 1 << 20
	// MaxPathBytes bounds a path in the tree.
	MaxPathBytes = 512
	// MaxDocuments bounds the YAML documents of one file.
	MaxDocuments = 1_000
	// MaxDepth bounds how deep a document is nested.
	MaxDepth = 48
	// MaxAliasNodes bounds the values that the YAML aliases of a document stand for.
	MaxAliasNodes = 1_000
	// MaxExpressions bounds the ${…} in the templates of one tenant's secrets: each is
	// compiled, which takes some 60 µs, and 3 ms where somebody tries hard.
	MaxExpressions = 4_000
	// MaxErrors bounds the errors that are reported of one tenant.
	MaxErrors = 100

	// MaxUnits bounds how many kustomizations one build reads, each counted as
	// often as it is named.
	MaxUnits = 100
	// MaxBuiltObjects bounds the objects of one build.
	MaxBuiltObjects = 500
	// MaxBuildChanges bounds the patches and labels of one build times its objects:
	// each may have to be tried on every object. It is about a second of work.
	MaxBuildChanges = 1_000
	// MaxBuildBytes bounds the bytes of patches and labels times the objects.
	MaxBuildBytes = 16 << 20
	// buildTimeout is how long a build is waited for. The bounds above end a build
	// long before; this is for the case that they do not.
	buildTimeout = 20 * time.Second
)
