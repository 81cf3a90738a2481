// Package incluster proves that Aether, installed by its Helm chart, does as Pods what
// it does as processes, and that it can be upgraded and removed while people push.
//
// The proof is one. Where the cluster comes from differs: with the build tag node it
// is the local platform on a real node, with the tag kind it is kind.
package incluster
