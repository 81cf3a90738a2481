// Flux's custom resource definitions, for API servers without Flux. Nothing is
// built from here: test/tools/build copies the files of these modules, which
// go.sum verifies.
module github.com/aetherplatform/aether/test/tools/flux

go 1.26.0

require (
	github.com/fluxcd/kustomize-controller v1.9.5
	github.com/fluxcd/source-controller v1.9.5
)
