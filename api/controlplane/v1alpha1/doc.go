// Package v1alpha1 is the API group controlplane.aetherplatform.cloud: hosted
// control planes. It fulfils Cluster API's contract for control planes, v1beta2
// (https://cluster-api.sigs.k8s.io/developer/providers/contracts/control-plane), and
// is of use without Cluster API as well.
//
// +kubebuilder:object:generate=true
// +groupName=controlplane.aetherplatform.cloud
package v1alpha1
