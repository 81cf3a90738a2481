// Package v1alpha1 holds the kinds of the group aetherplatform.cloud: what teams
// commit to Git (Tenant, TenantNamespace, WorkloadCluster), what the platform
// team offers them (NamespaceProfile, TenantException), and where both are read from (TenantSource).
//
// It imports no client and decides nothing: rules that need one object only are
// CEL in the schema; rules between objects live in internal/fleet.
//
// +kubebuilder:object:generate=true
// +groupName=aetherplatform.cloud
package v1alpha1
