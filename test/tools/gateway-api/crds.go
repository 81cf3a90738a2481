// Package crds is why this module requires the Gateway API: its CRDs are copied from there.
package crds

import _ "sigs.k8s.io/gateway-api/pkg/consts"
