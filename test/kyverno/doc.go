// Package kyverno tries the policies below policies/kyverno, each on the cases beside
// it: by Kyverno's own command, by a Kyverno that runs, and as the floor that the API
// server itself keeps while no Kyverno does.
//
// A case is an object of resources.yaml, in a Namespace of values.yaml, with what
// kyverno-test.yaml expects of it; nothing of it is written a second time for Go.
package kyverno
