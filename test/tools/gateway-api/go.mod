// The CRDs of the Gateway API, for the local platform and the tests.
module github.com/aetherplatform/aether/test/tools/gateway-api

go 1.26.0

require sigs.k8s.io/gateway-api v1.6.0
