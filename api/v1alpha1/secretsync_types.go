package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// SecretSync keeps one Secret of its namespace equal to a secret in OpenBao.
// What a TenantNamespace lists in spec.secrets becomes one each; a team may keep
// more in its own application repository.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced,categories={aether},shortName={ssync}
// +kubebuilder:printcolumn:name="Source",type=string,JSONPath=`.status.source`
// +kubebuilder:printcolumn:name="Version",type=integer,JSONPath=`.status.version`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Synced",type=date,JSONPath=`.status.syncedTime`
// +kubebuilder:printcolumn:name="Secret",type=string,JSONPath=`.status.secretName`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type SecretSync struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what is wanted.
	Spec SecretSyncSpec `json:"spec"`

	// Status is what has been observed.
	//
	// +optional
	Status SecretSyncStatus `json:"status,omitempty"`
}

// SecretSyncSpec is a Secret and where it comes from.
type SecretSyncSpec struct {
	// SecretName is the Secret that is made. Default: the name of the SecretSync.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="another Secret needs a SecretSync of its own; create one, and remove this"
	SecretName string `json:"secretName,omitempty"`

	SecretSource `json:",inline"`
}

// SecretSource is a secret in OpenBao, and what is made of it.
//
// +kubebuilder:validation:XValidation:rule="!has(self.keys) || !has(self.template) || self.keys.all(k, !(k in self.template))",message="a key of the Secret is in keys or in template, not in both"
// +kubebuilder:validation:XValidation:rule="!has(self.generate) || !has(self.version)",message="what is generated has no version yet; leave version out"
type SecretSource struct {
	// Path below the tenant's path in OpenBao, as `bao kv get` takes it.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$')",message="write a plain path below the tenant's, such as payments/db: letters, digits, '.', '_' and '-' between single '/', and no part that begins with '.'"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^(data|metadata|subkeys|delete|undelete|destroy|config)(/|$)')",message="write the path as `bao kv get` takes it, such as payments/db, without the data/ or metadata/ of OpenBao's API"
	Path string `json:"path"`

	// Version that is wanted. Left out: the latest.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	Version *int64 `json:"version,omitempty"`

	// Keys maps keys of the Secret to keys in OpenBao. Left out, and with no
	// template: all keys as they are.
	//
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Keys map[string]string `json:"keys,omitempty"`

	// Template maps further keys of the Secret to text with ${…}: CEL over data, the
	// keys and values in OpenBao, such as
	// "postgres://${data.username}:${data.password}@${data.host}/app".
	//
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	Template map[string]SecretTemplate `json:"template,omitempty"`

	// Type of the Secret. It cannot be changed. Default: Opaque.
	//
	// +optional
	// +kubebuilder:default=Opaque
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="the type of a Secret cannot be changed; give the new one another name"
	// +kubebuilder:validation:XValidation:rule="self != 'kubernetes.io/service-account-token' && self != 'bootstrap.kubernetes.io/token'",message="the cluster itself writes tokens of service accounts and nodes; use Opaque, kubernetes.io/dockerconfigjson, kubernetes.io/tls or a type of your own"
	Type string `json:"type,omitempty"`

	// Labels for the Secret. Those of Aether and Kubernetes cannot be set.
	//
	// +optional
	// +kubebuilder:validation:MaxProperties=16
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.matches('(?i)^([^/]*[.])?(kubernetes[.]io|k8s[.]io|aetherplatform[.]cloud|cilium[.]io|fluxcd[.]io)/'))",message="labels of kubernetes.io, k8s.io, cilium.io, fluxcd.io and aetherplatform.cloud are set by the platform; use a prefix of your own, such as example.com/team"
	Labels map[string]string `json:"labels,omitempty"`

	// RefreshInterval is how often OpenBao is asked whether there is something new. A
	// Go duration, at least 10s; default 5m.
	//
	// +optional
	// +kubebuilder:default="5m"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('10s')",message="write a duration of at least 10s"
	RefreshInterval *metav1.Duration `json:"refreshInterval,omitempty"`

	// OnDelete is what becomes of the Secret when this is taken out: delete, or
	// retain, which leaves it to the team as its own. Default: delete.
	//
	// +optional
	// +kubebuilder:default=delete
	OnDelete OnDelete `json:"onDelete,omitempty"`

	// Immutable makes a Secret that the cluster lets nobody change. It follows
	// nothing new in OpenBao: for that, it is made under another name.
	//
	// +optional
	Immutable bool `json:"immutable,omitempty"`

	// Rollout names workloads of the namespace that are to be restarted when the
	// Secret changes, by an annotation on their Pods. Default: none.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Rollout []Workload `json:"rollout,omitempty"`

	// Generate makes the secret in OpenBao where there is none yet: keys in OpenBao,
	// and what is drawn for each. What is there is never changed. The profile must
	// permit it.
	//
	// +optional
	// +kubebuilder:validation:MaxProperties=16
	Generate map[string]Generator `json:"generate,omitempty"`
}

// SecretTemplate is text with ${…}.
//
// +kubebuilder:validation:MaxLength=8192
type SecretTemplate string

// OnDelete is delete or retain.
//
// +kubebuilder:validation:Enum=delete;retain
type OnDelete string

// What becomes of a Secret that is not wanted any more.
const (
	OnDeleteDelete OnDelete = "delete"
	OnDeleteRetain OnDelete = "retain"
)

// Workload is something that runs Pods.
type Workload struct {
	// Kind is Deployment, StatefulSet or DaemonSet.
	//
	// +kubebuilder:validation:Enum=Deployment;StatefulSet;DaemonSet
	Kind string `json:"kind"`

	// Name of it.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// Generator is a password or a private key. One of them must be set.
//
// +kubebuilder:validation:XValidation:rule="has(self.password) != has(self.privateKey)",message="write password: {} or privateKey: {}, one of them"
type Generator struct {
	// Password of random characters.
	//
	// +optional
	Password *PasswordGenerator `json:"password,omitempty"`

	// PrivateKey in PEM (PKCS #8), such as a server's for TLS.
	//
	// +optional
	PrivateKey *PrivateKeyGenerator `json:"privateKey,omitempty"`
}

// PasswordGenerator draws a password.
type PasswordGenerator struct {
	// Length in characters. Default: 32.
	//
	// +optional
	// +kubebuilder:default=32
	// +kubebuilder:validation:Minimum=16
	// +kubebuilder:validation:Maximum=256
	Length int32 `json:"length,omitempty"`

	// Symbols puts !#%+-./:=@^_~ beside letters and digits. Default: false.
	//
	// +optional
	Symbols bool `json:"symbols,omitempty"`
}

// PrivateKeyGenerator draws a private key.
type PrivateKeyGenerator struct {
	// Algorithm is ECDSA (P-256), Ed25519 or RSA (3072 bits). Default: ECDSA.
	//
	// +optional
	// +kubebuilder:default=ECDSA
	// +kubebuilder:validation:Enum=ECDSA;Ed25519;RSA
	Algorithm string `json:"algorithm,omitempty"`
}

// SecretSyncStatus is what has been observed. It holds no value of a secret, and
// nothing computed from one.
type SecretSyncStatus struct {
	// ObservedGeneration is the generation that the status speaks of.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions: Ready, Reconciling, Stalled.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Source is the whole path in OpenBao: "secret/acme/payments/db".
	//
	// +optional
	Source string `json:"source,omitempty"`

	// SecretName is the Secret that holds it.
	//
	// +optional
	SecretName string `json:"secretName,omitempty"`

	// Version in OpenBao that the Secret holds.
	//
	// +optional
	Version int64 `json:"version,omitempty"`

	// VersionTime is when that version was written in OpenBao.
	//
	// +optional
	VersionTime *metav1.Time `json:"versionTime,omitempty"`

	// SyncedTime is when the Secret was written last. Since then it has been found
	// to be current at each refresh, unless Ready says otherwise.
	//
	// +optional
	SyncedTime *metav1.Time `json:"syncedTime,omitempty"`

	// LastHandledReconcileAt is the value of the annotation
	// reconcile.fluxcd.io/requestedAt that was acted on last: it asks OpenBao at once.
	//
	// +optional
	LastHandledReconcileAt string `json:"lastHandledReconcileAt,omitempty"`
}

// GetConditions implements fluxcd/pkg/runtime/conditions.Getter.
func (s *SecretSync) GetConditions() []metav1.Condition { return s.Status.Conditions }

// SetConditions implements fluxcd/pkg/runtime/conditions.Setter.
func (s *SecretSync) SetConditions(c []metav1.Condition) { s.Status.Conditions = c }

// SecretName is the Secret that is made.
func (s *SecretSync) SecretName() string {
	if s.Spec.SecretName != "" {
		return s.Spec.SecretName
	}
	return s.Name
}

// SecretSyncList is a list of SecretSyncs.
//
// +kubebuilder:object:root=true
type SecretSyncList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []SecretSync `json:"items"`
}
