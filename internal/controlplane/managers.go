package controlplane

import (
	"path"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// ControllerManagerDeployment is the controller manager: one leads, the others wait.
func (p *Plan) ControllerManagerDeployment() *appsv1.Deployment {
	network := p.cp.Spec.Network
	var f flags
	p.asClient(&f)
	f.set("allocate-node-cidrs", true)
	f.set("client-ca-file", trusted(CA))
	f.set("cluster-cidr", network.PodCIDR)
	f.set("cluster-name", ClusterName(p.cp))
	f.set("cluster-signing-cert-file", pkiFile(CA, certFile))
	f.set("cluster-signing-key-file", pkiFile(CA, keyFile))
	f.set("controllers", "*,bootstrapsigner,tokencleaner")
	f.set("requestheader-client-ca-file", trusted(FrontProxyCA))
	f.set("root-ca-file", trusted(CA))
	f.set("secure-port", controllerManagerPort)
	f.set("service-account-private-key-file", pkiFile(ServiceAccounts, keyFile))
	f.set("service-cluster-ip-range", network.ServiceCIDR)
	f.set("use-service-account-credentials", true)
	return p.manager(ControllerManager, "kube-controller-manager", controllerManagerPort, f, requests("100m", "128Mi"), CA, ServiceAccounts)
}

// SchedulerDeployment is the scheduler: one leads, the others wait.
func (p *Plan) SchedulerDeployment() *appsv1.Deployment {
	var f flags
	p.asClient(&f)
	f.set("client-ca-file", trusted(CA))
	f.set("requestheader-client-ca-file", trusted(FrontProxyCA))
	f.set("secure-port", schedulerPort)
	return p.manager(Scheduler, "kube-scheduler", schedulerPort, f, requests("50m", "64Mi"))
}

// asClient are the flags of a program that asks the API server for everything.
func (p *Plan) asClient(f *flags) {
	kubeconfig := path.Join(kubeconfigDir, "kubeconfig")
	f.set("authentication-kubeconfig", kubeconfig)
	f.set("authorization-kubeconfig", kubeconfig)
	f.set("bind-address", "0.0.0.0")
	f.set("kubeconfig", kubeconfig)
	f.set("leader-elect", true)
	f.set("profiling", false)
}

func (p *Plan) manager(component, program string, port int32, f flags, resources corev1.ResourceRequirements, certificates ...string) *appsv1.Deployment {
	var mounted files
	mounted.certificates(p, append(certificates, component)...)
	mounted.trust(p, CA, FrontProxyCA)
	mounted.kubeconfig(p, component)
	return p.deployment(component, p.pod(component, corev1.Container{
		Name: program, Image: p.image(program), Command: append([]string{program}, f...),
		Ports:          []corev1.ContainerPort{{Name: "https", ContainerPort: port, Protocol: corev1.ProtocolTCP}},
		Resources:      resources,
		StartupProbe:   probe("/healthz", port, corev1.URISchemeHTTPS, 24),
		LivenessProbe:  probe("/healthz", port, corev1.URISchemeHTTPS, 8),
		ReadinessProbe: probe("/healthz", port, corev1.URISchemeHTTPS, 3),
		VolumeMounts:   mounted.mounts,
	}, mounted.volumes))
}
