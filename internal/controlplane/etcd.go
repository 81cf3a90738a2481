package controlplane

import (
	"fmt"
	"net/netip"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

const (
	etcdData   = "data"
	etcdFolder = "/var/lib/etcd"
	etcdMember = etcdFolder + "/member" // a folder of its own, which etcd makes for itself alone
	// largestStore is how much etcd is meant to hold
	// (https://etcd.io/docs/v3.6/dev-guide/limit/).
	largestStore = 8 << 30
)

// etcdPeers names the headless Service that gives each member a name.
func (p *Plan) etcdPeers() string { return p.name("etcd-peers") }

// members are the names of the members, as peers and clients call them.
func (p *Plan) members() []string {
	var names []string
	for i := range p.cp.Spec.Etcd.Replicas {
		names = append(names, fmt.Sprintf("%s-%d.%s", p.name(Etcd), i, p.host(p.etcdPeers())))
	}
	return names
}

// EtcdServices are the members' names, and the address that clients use. It is one that
// the network balances: a second headless Service would give the members a second name
// each, and a peer's certificate is of one.
func (p *Plan) EtcdServices() []*corev1.Service {
	peers := &corev1.Service{ObjectMeta: p.meta(p.etcdPeers(), Etcd), Spec: corev1.ServiceSpec{
		ClusterIP: corev1.ClusterIPNone, Selector: p.selector(Etcd),
		PublishNotReadyAddresses: true, // members find each other before they are ready
		Ports: []corev1.ServicePort{
			{Name: "peer", Port: etcdPeerPort, TargetPort: intstr.FromInt32(etcdPeerPort), Protocol: corev1.ProtocolTCP},
			{Name: "client", Port: etcdClientPort, TargetPort: intstr.FromInt32(etcdClientPort), Protocol: corev1.ProtocolTCP},
		},
	}}
	clients := &corev1.Service{ObjectMeta: p.meta(p.name(Etcd), Etcd), Spec: corev1.ServiceSpec{
		Selector: p.selector(Etcd),
		Ports:    []corev1.ServicePort{{Name: "client", Port: etcdClientPort, TargetPort: intstr.FromInt32(etcdClientPort), Protocol: corev1.ProtocolTCP}},
	}}
	return []*corev1.Service{peers, clients}
}

// EtcdStatefulSet is the members.
func (p *Plan) EtcdStatefulSet() *appsv1.StatefulSet {
	storage := *p.cp.Spec.Etcd.Storage
	var cluster []string
	for i, name := range p.members() {
		cluster = append(cluster, fmt.Sprintf("%s-%d=https://%s:%d", p.name(Etcd), i, name, etcdPeerPort))
	}
	self := "$(POD_NAME)." + p.host(p.etcdPeers())

	var f flags
	f.set("name", "$(POD_NAME)")
	f.set("data-dir", etcdMember)
	f.set("listen-client-urls", fmt.Sprintf("https://0.0.0.0:%d", etcdClientPort))
	f.set("advertise-client-urls", fmt.Sprintf("https://%s:%d", self, etcdClientPort))
	f.set("listen-peer-urls", fmt.Sprintf("https://0.0.0.0:%d", etcdPeerPort))
	f.set("initial-advertise-peer-urls", fmt.Sprintf("https://%s:%d", self, etcdPeerPort))
	f.set("initial-cluster", strings.Join(cluster, ","))
	f.set("initial-cluster-token", p.cp.UID) // members of another life are refused
	f.set("initial-cluster-state", "new")
	f.set("cert-file", pkiFile(etcdServer, certFile))
	f.set("key-file", pkiFile(etcdServer, keyFile))
	f.set("trusted-ca-file", trusted(EtcdCA))
	f.set("client-cert-auth", true)
	f.set("peer-cert-file", pkiFile(etcdPeer, certFile))
	f.set("peer-key-file", pkiFile(etcdPeer, keyFile))
	f.set("peer-trusted-ca-file", trusted(EtcdCA))
	f.set("peer-client-cert-auth", true)
	f.set("listen-metrics-urls", fmt.Sprintf("http://0.0.0.0:%d", etcdHealthPort))
	f.set("quota-backend-bytes", quota(storage))
	f.set("auto-compaction-mode", "periodic")
	f.set("auto-compaction-retention", "5m")
	f.set("snapshot-count", 10000)
	f.set("feature-gates", "InitialCorruptCheck=true")
	f.set("watch-progress-notify-interval", "5s")

	var mounted files
	mounted.certificates(p, etcdServer, etcdPeer)
	mounted.trust(p, EtcdCA)
	pod := p.pod(Etcd, corev1.Container{
		Name: Etcd, Image: p.opts.EtcdImage, Command: append([]string{"etcd"}, f...),
		Env: []corev1.EnvVar{{Name: "POD_NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.name"}}}},
		Ports: []corev1.ContainerPort{
			{Name: "client", ContainerPort: etcdClientPort, Protocol: corev1.ProtocolTCP},
			{Name: "peer", ContainerPort: etcdPeerPort, Protocol: corev1.ProtocolTCP},
			{Name: "health", ContainerPort: etcdHealthPort, Protocol: corev1.ProtocolTCP},
		},
		Resources:      requests("100m", "256Mi"),
		StartupProbe:   probe("/readyz", etcdHealthPort, corev1.URISchemeHTTP, 120),
		LivenessProbe:  probe("/livez", etcdHealthPort, corev1.URISchemeHTTP, 8),
		ReadinessProbe: probe("/readyz", etcdHealthPort, corev1.URISchemeHTTP, 3),
		VolumeMounts:   append(mounted.mounts, corev1.VolumeMount{Name: etcdData, MountPath: etcdFolder}),
	}, mounted.volumes)
	p.restores(&pod, cluster, self)

	return &appsv1.StatefulSet{ObjectMeta: p.meta(p.name(Etcd), Etcd), Spec: appsv1.StatefulSetSpec{
		Replicas: ptr.To(p.cp.Spec.Etcd.Replicas), ServiceName: p.etcdPeers(),
		// The members wait for each other, so they begin together.
		PodManagementPolicy: appsv1.ParallelPodManagement,
		Selector:            &metav1.LabelSelector{MatchLabels: p.selector(Etcd)},
		Template:            pod,
		VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{
			ObjectMeta: metav1.ObjectMeta{Name: etcdData, Labels: p.selector(Etcd)},
			Spec: corev1.PersistentVolumeClaimSpec{
				AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: p.cp.Spec.Etcd.StorageClassName,
				Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: storage}},
			},
		}},
		// A cluster's data goes with the cluster's namespace, and by no other way.
		PersistentVolumeClaimRetentionPolicy: &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{
			WhenDeleted: appsv1.RetainPersistentVolumeClaimRetentionPolicyType, WhenScaled: appsv1.RetainPersistentVolumeClaimRetentionPolicyType,
		},
	}}
}

// quota is how much a store may hold before it takes no more: three quarters of its
// volume, since a snapshot and the log need room as well, and no more than etcd is good
// for.
func quota(storage resource.Quantity) int64 { return min(storage.Value()/4*3, largestStore) }

func requests(cpu, memory string) corev1.ResourceRequirements {
	return corev1.ResourceRequirements{Requests: corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory),
	}}
}

// probe of a health endpoint, every five seconds.
func probe(at string, port int32, scheme corev1.URIScheme, failures int32) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: at, Port: intstr.FromInt32(port), Scheme: scheme}},
		PeriodSeconds: 5, TimeoutSeconds: 10, FailureThreshold: failures, SuccessThreshold: 1,
	}
}

func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}
