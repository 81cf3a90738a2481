package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// TenantException lets a tenant do, until it ends, what the platform's policies
// refuse otherwise. It is written in the platform team's directory.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,categories={aether},shortName={tex}
// +kubebuilder:printcolumn:name="Tenant",type=string,JSONPath=`.spec.tenant`
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.spec.expires`
// +kubebuilder:printcolumn:name="Owner",type=string,JSONPath=`.spec.owner`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.spec.reason`
// +kubebuilder:printcolumn:name="Namespaces",type=string,JSONPath=`.spec.namespaces`,priority=1
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 63",message="metadata.name: an exception's name has at most 63 characters"
type TenantException struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what is granted, to whom, and until when.
	Spec ExceptionSpec `json:"spec"`
}

// ExceptionSpec is what is granted, to whom, and until when.
type ExceptionSpec struct {
	// Tenant that it is for.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=40
	Tenant string `json:"tenant"`

	// Namespaces of the tenant that it is for. Empty: all of them.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	Namespaces []string `json:"namespaces,omitempty"`

	// Allow is what may be done beside what the Tenant and the profile allow.
	Allow Allowance `json:"allow"`

	// Owner answers for it: a team or a mail address that can be asked.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Owner string `json:"owner"`

	// Reason why it is needed, for whoever asks in a year: a sentence or a ticket's
	// address.
	//
	// +kubebuilder:validation:MinLength=10
	// +kubebuilder:validation:MaxLength=512
	Reason string `json:"reason"`

	// Expires is when it ends by itself (RFC 3339, such as 2027-03-31T00:00:00Z).
	// What was admitted before then keeps running; it is not admitted anew.
	Expires metav1.Time `json:"expires"`
}

// Allowance is what an exception grants.
//
// +kubebuilder:validation:XValidation:rule="has(self.registries) || has(self.hostnames) || has(self.storageClasses) || has(self.priorityClasses) || has(self.exposure)",message="write what is allowed, such as registries: [quay.io/acme] or exposure: [LoadBalancer]"
type Allowance struct {
	// Registries that images may come from too, written as in a Tenant.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	Registries []string `json:"registries,omitempty"`

	// Hostnames that routes may use too, written as in a Tenant.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.all(h, h.matches('^([*][.])?[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)+$'))",message="write host names in lower case without a trailing dot, such as app.example.com or *.example.com (internationalised names in their xn-- form)"
	Hostnames []string `json:"hostnames,omitempty"`

	// StorageClasses that may be used too.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	StorageClasses []string `json:"storageClasses,omitempty"`

	// PriorityClasses that may be used too.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	PriorityClasses []string `json:"priorityClasses,omitempty"`

	// Exposure that is allowed too, beside that of the profile.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=5
	Exposure []Exposure `json:"exposure,omitempty"`
}

// Exposure is a way past the network policies or out of the cluster that a profile
// may allow.
//
// +kubebuilder:validation:Enum=LoadBalancer;NodePort;ExternalIPs;ExternalName;HostPort
type Exposure string

// Ways that a profile, or an exception, may allow.
const (
	// ExposeLoadBalancer allows Services of type LoadBalancer.
	ExposeLoadBalancer Exposure = "LoadBalancer"
	// ExposeNodePort allows Services of type NodePort, and node ports of load balancers.
	ExposeNodePort Exposure = "NodePort"
	// ExposeExternalIPs allows spec.externalIPs of Services, which takes traffic to
	// any address that it names.
	ExposeExternalIPs Exposure = "ExternalIPs"
	// ExposeExternalName allows Services of type ExternalName, by which a controller
	// that follows them reaches any name for the tenant.
	ExposeExternalName Exposure = "ExternalName"
	// ExposeHostPort allows hostPort of containers.
	ExposeHostPort Exposure = "HostPort"
)

// TenantExceptionList is a list of TenantExceptions.
//
// +kubebuilder:object:root=true
type TenantExceptionList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []TenantException `json:"items"`
}
