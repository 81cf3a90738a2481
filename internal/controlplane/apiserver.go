package controlplane

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// APIServerService is what clients in this cluster find the API servers by.
func (p *Plan) APIServerService() *corev1.Service {
	return &corev1.Service{ObjectMeta: p.meta(p.name(APIServer), APIServer), Spec: corev1.ServiceSpec{
		Selector: p.selector(APIServer),
		Ports:    []corev1.ServicePort{{Name: "https", Port: APIServerPort, TargetPort: intstr.FromInt32(APIServerPort), Protocol: corev1.ProtocolTCP}},
	}}
}

// APIServerDeployment is the API servers.
func (p *Plan) APIServerDeployment() *appsv1.Deployment {
	network := p.cp.Spec.Network
	var f flags
	f.set("secure-port", APIServerPort)
	f.set("advertise-address", "$(POD_IP)")
	f.set("allow-privileged", true)
	f.set("anonymous-auth", true) // for probes; RBAC lets it see health and version alone
	f.set("authorization-mode", "Node,RBAC")
	f.set("client-ca-file", trusted(CA))
	f.set("enable-admission-plugins", "NodeRestriction")
	f.set("enable-bootstrap-token-auth", true)
	// The addresses of API servers in this cluster mean nothing to the Pods of theirs.
	f.set("endpoint-reconciler-type", "none")
	f.set("etcd-servers", fmt.Sprintf("https://%s:%d", p.host(p.name(Etcd)), etcdClientPort))
	f.set("etcd-cafile", trusted(EtcdCA))
	f.set("etcd-certfile", pkiFile(etcdClient, certFile))
	f.set("etcd-keyfile", pkiFile(etcdClient, keyFile))
	f.set("goaway-chance", "0.001")
	f.set("kubelet-certificate-authority", trusted(CA))
	f.set("kubelet-client-certificate", pkiFile(kubeletClient, certFile))
	f.set("kubelet-client-key", pkiFile(kubeletClient, keyFile))
	f.set("kubelet-preferred-address-types", "InternalIP,ExternalIP,Hostname")
	f.set("profiling", false)
	f.set("proxy-client-cert-file", pkiFile(frontProxyClient, certFile))
	f.set("proxy-client-key-file", pkiFile(frontProxyClient, keyFile))
	f.set("requestheader-allowed-names", "front-proxy-client")
	f.set("requestheader-client-ca-file", trusted(FrontProxyCA))
	f.set("requestheader-extra-headers-prefix", "X-Remote-Extra-")
	f.set("requestheader-group-headers", "X-Remote-Group")
	f.set("requestheader-username-headers", "X-Remote-User")
	f.set("service-account-issuer", "https://kubernetes.default.svc."+network.Domain)
	f.set("service-account-key-file", pkiFile(ServiceAccounts, certFile))
	f.set("service-account-signing-key-file", pkiFile(ServiceAccounts, keyFile))
	f.set("service-cluster-ip-range", network.ServiceCIDR)
	// Endpoints elsewhere hear of its end before it ends.
	f.set("shutdown-delay-duration", "10s")
	f.set("shutdown-send-retry-after", true)
	f.set("tls-cert-file", pkiFile(apiServer, certFile))
	f.set("tls-private-key-file", pkiFile(apiServer, keyFile))

	resources := p.cp.Spec.Resources
	if len(resources.Requests) == 0 && len(resources.Limits) == 0 {
		resources = requests("250m", "512Mi")
	}
	var mounted files
	mounted.certificates(p, apiServer, kubeletClient, etcdClient, frontProxyClient, ServiceAccounts)
	mounted.trust(p, CA, EtcdCA, FrontProxyCA)
	pod := p.pod(APIServer, corev1.Container{
		Name: "kube-apiserver", Image: p.image("kube-apiserver"), Command: append([]string{"kube-apiserver"}, f...),
		Env:            []corev1.EnvVar{{Name: "POD_IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "status.podIP"}}}},
		Ports:          []corev1.ContainerPort{{Name: "https", ContainerPort: APIServerPort, Protocol: corev1.ProtocolTCP}},
		Resources:      resources,
		StartupProbe:   probe("/livez", APIServerPort, corev1.URISchemeHTTPS, 48),
		LivenessProbe:  probe("/livez", APIServerPort, corev1.URISchemeHTTPS, 8),
		ReadinessProbe: probe("/readyz", APIServerPort, corev1.URISchemeHTTPS, 3),
		VolumeMounts:   mounted.mounts,
	}, mounted.volumes)
	pod.Spec.TerminationGracePeriodSeconds = ptr.To[int64](60)
	return p.deployment(APIServer, pod)
}

// Deployments are those of the programs of Kubernetes, in the order in which they start.
func (p *Plan) Deployments() []*appsv1.Deployment {
	return []*appsv1.Deployment{p.APIServerDeployment(), p.ControllerManagerDeployment(), p.SchedulerDeployment()}
}

// deployment of a component, of which none goes before another has come.
func (p *Plan) deployment(component string, pod corev1.PodTemplateSpec) *appsv1.Deployment {
	return &appsv1.Deployment{ObjectMeta: p.meta(p.name(component), component), Spec: appsv1.DeploymentSpec{
		Replicas: ptr.To(p.replicas()),
		Selector: &metav1.LabelSelector{MatchLabels: p.selector(component)},
		Template: pod,
		Strategy: appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType, RollingUpdate: &appsv1.RollingUpdateDeployment{
			MaxUnavailable: ptr.To(intstr.FromInt32(0)), MaxSurge: ptr.To(intstr.FromInt32(1)),
		}},
		RevisionHistoryLimit: ptr.To[int32](2),
	}}
}

// image of a program of Kubernetes.
func (p *Plan) image(program string) string {
	return p.opts.Repository + "/" + program + ":" + p.version
}

// APIServerSelector finds the Pods of the API servers, as a string.
func (p *Plan) APIServerSelector() string {
	return labels.SelectorFromSet(p.selector(APIServer)).String()
}
