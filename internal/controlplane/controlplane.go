// Package controlplane says what a hosted control plane consists of: Certificates of
// cert-manager, etcd, API servers, controller manager and scheduler, and what closes
// them off. Each object follows from the AetherControlPlane and the options alone: this
// package reads and writes nothing, and package controllers/cluster decides when an
// object's time has come.
//
// Programs know each other by files: certificates are mounted, never put into an
// object's text, so that a renewed one reaches a running program. The keys of
// authorities stay with cert-manager, but for the one that signs the kubelets'
// certificates, which the controller manager holds.
package controlplane

import (
	"fmt"
	"maps"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	cpv1 "github.com/aetherplatform/aether/api/controlplane/v1alpha1"
	"github.com/aetherplatform/aether/internal/version"
)

// Labels of everything that belongs to a control plane.
const (
	// LabelCluster names the cluster, as Cluster API does.
	LabelCluster = "cluster.x-k8s.io/cluster-name"
	// LabelComponent is one of the components.
	LabelComponent = "app.kubernetes.io/component"
	// LabelManagedBy has the value ManagedBy on all that the cluster controller makes.
	LabelManagedBy = "app.kubernetes.io/managed-by"
	labelName      = "app.kubernetes.io/name"

	// ManagedBy is the value of LabelManagedBy.
	ManagedBy = "aether-cluster-controller"
)

// Components of a control plane.
const (
	Etcd              = "etcd"
	APIServer         = "apiserver"
	ControllerManager = "controller-manager"
	Scheduler         = "scheduler"
)

// Ports that Pods of a control plane listen on.
const (
	APIServerPort  = 6443
	etcdClientPort = 2379
	etcdPeerPort   = 2380
	// etcdHealthPort serves /livez, /readyz and metrics without TLS, so that probes
	// need no certificate.
	etcdHealthPort              = 2381
	controllerManagerPort       = 10257
	schedulerPort               = 10259
	nobody                int64 = 65532
)

// Options of the place where control planes run.
type Options struct {
	// Repository of the Kubernetes programs' images, which are tagged with the version.
	// Default registry.k8s.io.
	Repository string
	// EtcdImage is etcd's, of version 3.6.14 or later: earlier ones let readers of etcd
	// past its access rules (GHSA-xg4h-6gfc-h4m8). Default registry.k8s.io/etcd:3.6.16-0.
	EtcdImage string
	// SnapshotImage holds aether-etcd, which takes and restores snapshots. Default
	// ghcr.io/aetherplatform/aether-etcd of this program's version.
	SnapshotImage string
}

// Defaults of Options.
const (
	DefaultRepository = "registry.k8s.io"
	DefaultEtcdImage  = "registry.k8s.io/etcd:3.6.16-0"
	// DefaultSnapshotImage has this program's version for its tag.
	DefaultSnapshotImage = "ghcr.io/aetherplatform/aether-etcd"
)

// Plan makes the objects of one control plane.
type Plan struct {
	cp   *cpv1.AetherControlPlane
	opts Options
	// kubernetes is the address of the Service kubernetes in the cluster.
	kubernetes netip.Addr
	// version of the programs of Kubernetes.
	version string
	place   Place
	// marks are hashes of what programs read only when they start.
	marks map[string]string
}

// NewPlan checks what the API's schema cannot.
func NewPlan(cp *cpv1.AetherControlPlane, opts Options) (*Plan, error) {
	if opts.Repository == "" {
		opts.Repository = DefaultRepository
	}
	if opts.EtcdImage == "" {
		opts.EtcdImage = DefaultEtcdImage
	}
	if opts.SnapshotImage == "" {
		opts.SnapshotImage = DefaultSnapshotImage + ":" + strings.TrimPrefix(version.Version, "v") // as images are tagged
	}
	services, err := netip.ParsePrefix(cp.Spec.Network.ServiceCIDR)
	if err != nil {
		return nil, fmt.Errorf("spec.network.serviceCIDR: %q is no range of addresses; write a CIDR such as 10.101.0.0/16", cp.Spec.Network.ServiceCIDR)
	}
	pods, err := netip.ParsePrefix(cp.Spec.Network.PodCIDR)
	if err != nil {
		return nil, fmt.Errorf("spec.network.podCIDR: %q is no range of addresses; write a CIDR such as 10.100.0.0/16", cp.Spec.Network.PodCIDR)
	}
	if services.Overlaps(pods) {
		return nil, fmt.Errorf("spec.network: podCIDR %s and serviceCIDR %s overlap; write ranges that are apart", pods, services)
	}
	first := services.Masked().Addr().Next()
	if !services.Contains(first) {
		return nil, fmt.Errorf("spec.network.serviceCIDR: %s has no room for a Service; write a larger range, such as 10.101.0.0/16", services)
	}
	return &Plan{
		cp: cp, opts: opts, kubernetes: first, version: cp.Spec.Version, place: PlaceOf(cp.Spec.PKI.Generation, Seen{}),
	}, nil
}

// ClusterName is the cluster's name: that of Cluster API's Cluster, or the control
// plane's own.
func ClusterName(cp *cpv1.AetherControlPlane) string {
	if name := cp.Labels[LabelCluster]; name != "" {
		return name
	}
	return cp.Name
}

// Endpoint is where clients find the API servers: as the spec has it, or the Service.
func (p *Plan) Endpoint() cpv1.APIEndpoint {
	if p.cp.Spec.ControlPlaneEndpoint != nil {
		return *p.cp.Spec.ControlPlaneEndpoint
	}
	return cpv1.APIEndpoint{Host: p.host(p.name(APIServer)), Port: APIServerPort}
}

// name of an object of the control plane.
func (p *Plan) name(part string) string { return p.cp.Name + "-" + part }

// host of a Service in the cluster where control planes run.
func (p *Plan) host(service string) string { return service + "." + p.cp.Namespace + ".svc" }

func (p *Plan) meta(name, component string) metav1.ObjectMeta {
	labels := p.selector(component)
	labels[LabelManagedBy] = ManagedBy
	return metav1.ObjectMeta{
		Namespace: p.cp.Namespace, Name: name, Labels: labels,
		OwnerReferences: []metav1.OwnerReference{{
			APIVersion: cpv1.GroupVersion.String(), Kind: cpv1.KindAetherControlPlane, Name: p.cp.Name, UID: p.cp.UID,
			Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(true),
		}},
	}
}

// Meta is that of an object which no component has for its own.
func (p *Plan) Meta(name string) metav1.ObjectMeta { return p.meta(name, "") }

// Selector finds the Pods of a component.
func (p *Plan) Selector(component string) map[string]string { return p.selector(component) }

// selector of a component's Pods; of all of the control plane's when that is "".
func (p *Plan) selector(component string) map[string]string {
	labels := map[string]string{LabelCluster: ClusterName(p.cp), labelName: "aether-control-plane"}
	if component != "" {
		labels[LabelComponent] = component
	}
	return labels
}

func (p *Plan) replicas() int32 {
	if p.cp.Spec.Hibernated {
		return 0
	}
	return ptr.Deref(p.cp.Spec.Replicas, 2)
}

// pod is what all Pods of a control plane have in common: they meet the Pod Security
// Standard restricted, hold no token of this cluster, and prefer to be apart.
func (p *Plan) pod(component string, container corev1.Container, volumes []corev1.Volume) corev1.PodTemplateSpec {
	container.SecurityContext = &corev1.SecurityContext{
		AllowPrivilegeEscalation: ptr.To(false),
		ReadOnlyRootFilesystem:   ptr.To(true),
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
	container.ImagePullPolicy = corev1.PullIfNotPresent
	labels := p.selector(component)
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: maps.Clone(labels), Annotations: p.starts(component)},
		Spec: corev1.PodSpec{
			Containers:                   []corev1.Container{container},
			Volumes:                      volumes,
			AutomountServiceAccountToken: ptr.To(false),
			EnableServiceLinks:           ptr.To(false),
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: ptr.To(true), RunAsUser: ptr.To(nobody), RunAsGroup: ptr.To(nobody), FSGroup: ptr.To(nobody),
				FSGroupChangePolicy: ptr.To(corev1.FSGroupChangeOnRootMismatch),
				SeccompProfile:      &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Affinity: &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
				PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{
					{Weight: 100, PodAffinityTerm: apart(labels, corev1.LabelHostname)},
					{Weight: 50, PodAffinityTerm: apart(labels, corev1.LabelTopologyZone)},
				},
			}},
		},
	}
}

func apart(labels map[string]string, topology string) corev1.PodAffinityTerm {
	return corev1.PodAffinityTerm{TopologyKey: topology, LabelSelector: &metav1.LabelSelector{MatchLabels: maps.Clone(labels)}}
}
