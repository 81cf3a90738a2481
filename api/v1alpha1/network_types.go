package v1alpha1

import "k8s.io/apimachinery/pkg/util/intstr"

// NamespaceNetwork is what a namespace opens in its default-deny. Traffic inside
// the namespace is allowed, DNS to the cluster's DNS service is allowed; all
// else is refused unless it is named here.
type NamespaceNetwork struct {
	// Ingress that is allowed into the namespace.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Ingress []IngressRule `json:"ingress,omitempty"`

	// Egress that is allowed out of the namespace.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Egress []EgressRule `json:"egress,omitempty"`
}

// IngressRule allows traffic from any of its sources to any of its ports.
type IngressRule struct {
	// From lists the sources.
	//
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	From []IngressSource `json:"from"`

	// Ports lists the ports of this namespace's Pods. Empty: every port.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Ports []Port `json:"ports,omitempty"`
}

// EgressRule allows traffic to any of its destinations on any of its ports.
type EgressRule struct {
	// To lists the destinations.
	//
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	To []EgressDestination `json:"to"`

	// Ports lists the ports of the destination. Empty: every port.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Ports []Port `json:"ports,omitempty"`
}

// IngressSource is one source: exactly one of ingressController, namespace and cidr.
//
// +kubebuilder:validation:XValidation:rule="[has(self.ingressController) && self.ingressController, has(self.namespace), has(self.cidr)].filter(x, x).size() == 1",message="name exactly one of ingressController: true, namespace, cidr"
// +kubebuilder:validation:XValidation:rule="!has(self.tenant) || has(self.namespace)",message="tenant goes with namespace: name the namespace of that tenant"
type IngressSource struct {
	// IngressController is the cluster's ingress controller, as the profile says
	// where it runs.
	//
	// +optional
	IngressController bool `json:"ingressController,omitempty"`

	// Tenant that owns the namespace, when it is a peer's. Default: this tenant.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=40
	Tenant string `json:"tenant,omitempty"`

	// Namespace of this tenant, or of the peer that tenant names.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`

	// CIDR outside the cluster, such as 203.0.113.0/24 or 2001:db8::/32.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="isCIDR(self)",message="write a CIDR such as 203.0.113.0/24 or 2001:db8::/32"
	CIDR string `json:"cidr,omitempty"`
}

// EgressDestination is one destination: exactly one of namespace, cidr and fqdn.
//
// +kubebuilder:validation:XValidation:rule="[has(self.namespace), has(self.cidr), has(self.fqdn)].filter(x, x).size() == 1",message="name exactly one of namespace, cidr, fqdn"
// +kubebuilder:validation:XValidation:rule="!has(self.tenant) || has(self.namespace)",message="tenant goes with namespace: name the namespace of that tenant"
type EgressDestination struct {
	// Tenant that owns the namespace, when it is a peer's. Default: this tenant.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=40
	Tenant string `json:"tenant,omitempty"`

	// Namespace of this tenant, or of the peer that tenant names.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`

	// CIDR outside the cluster, such as 203.0.113.0/24. Link-local addresses, where
	// clouds keep their metadata services, are never opened.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="isCIDR(self)",message="write a CIDR such as 203.0.113.0/24 or 2001:db8::/32"
	CIDR string `json:"cidr,omitempty"`

	// FQDN outside the cluster: api.stripe.com, or *.example.com for one label.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^([*][.])?([a-z0-9_]([-a-z0-9_]*[a-z0-9])?[.])+[a-z]([-a-z0-9]*[a-z0-9])?$')",message="write a full host name in lower case such as api.stripe.com or *.example.com: no scheme, port, path or trailing dot"
	// +kubebuilder:validation:XValidation:rule="!self.endsWith('.cluster.local') && !self.endsWith('.svc')",message="names inside the cluster are not opened by FQDN; name the namespace instead"
	FQDN string `json:"fqdn,omitempty"`
}

// Port is a port or a range of ports.
//
// +kubebuilder:validation:XValidation:rule="!has(self.endPort) || self.endPort >= self.port",message="endPort must not be below port"
type Port struct {
	// Port number, 1 to 65535.
	//
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port"`

	// EndPort ends a range that begins at port, both included.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	EndPort int32 `json:"endPort,omitempty"`

	// Protocol is TCP (the default), UDP or SCTP.
	//
	// +optional
	// +kubebuilder:default=TCP
	// +kubebuilder:validation:Enum=TCP;UDP;SCTP
	Protocol string `json:"protocol,omitempty"`
}

// Budget is a count, or a percentage of what there is: 5 or "10%".
type Budget = intstr.IntOrString
