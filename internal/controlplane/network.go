package controlplane

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// SystemNamespace is where the cluster controller runs as Pods, which reach the API
// servers.
const SystemNamespace = "aether-system"

// NetworkPolicies close every Pod of the control plane off, and open what its parts need
// of each other: an API server reaches its own etcd, and nothing else of this cluster.
func (p *Plan) NetworkPolicies() []*networkingv1.NetworkPolicy {
	policies := []*networkingv1.NetworkPolicy{p.policy("closed", "", nil, nil)}
	etcdClients := []string{APIServer}
	if p.cp.Spec.Etcd.Snapshots != nil {
		etcdClients = append(etcdClients, Snapshot)
		policies = append(policies, p.policy(Snapshot, Snapshot, nil,
			[]networkingv1.NetworkPolicyEgressRule{{To: p.from(Etcd), Ports: tcp(etcdClientPort)}}))
	}
	policies = append(policies,
		p.policy("dns", "", nil, []networkingv1.NetworkPolicyEgressRule{{
			To: []networkingv1.NetworkPolicyPeer{{
				NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: metav1.NamespaceSystem}},
				PodSelector:       &metav1.LabelSelector{MatchLabels: map[string]string{"k8s-app": "kube-dns"}},
			}},
			Ports: []networkingv1.NetworkPolicyPort{port(corev1.ProtocolUDP, 53), port(corev1.ProtocolTCP, 53)},
		}}),
		p.policy(Etcd, Etcd,
			[]networkingv1.NetworkPolicyIngressRule{
				{From: p.from(etcdClients...), Ports: tcp(etcdClientPort)},
				{From: p.from(Etcd), Ports: tcp(etcdClientPort, etcdPeerPort)},
			},
			[]networkingv1.NetworkPolicyEgressRule{{To: p.from(Etcd), Ports: tcp(etcdClientPort, etcdPeerPort)}}),
		p.policy(APIServer, APIServer,
			[]networkingv1.NetworkPolicyIngressRule{{
				From: append(p.from(ControllerManager, Scheduler), networkingv1.NetworkPolicyPeer{
					NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: SystemNamespace}},
				}),
				Ports: tcp(APIServerPort),
			}},
			[]networkingv1.NetworkPolicyEgressRule{{To: p.from(Etcd), Ports: tcp(etcdClientPort)}}),
	)
	for _, component := range []string{ControllerManager, Scheduler} {
		policies = append(policies, p.policy(component, component, nil,
			[]networkingv1.NetworkPolicyEgressRule{{To: p.from(APIServer), Ports: tcp(APIServerPort)}}))
	}
	return policies
}

// policy for a component; for all Pods of the control plane when that is "". It is about
// both directions, so that what it does not open is closed.
func (p *Plan) policy(name, component string, in []networkingv1.NetworkPolicyIngressRule, out []networkingv1.NetworkPolicyEgressRule) *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{ObjectMeta: p.meta(p.name(name), component), Spec: networkingv1.NetworkPolicySpec{
		PodSelector: metav1.LabelSelector{MatchLabels: p.selector(component)},
		PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress},
		Ingress:     in, Egress: out,
	}}
}

func (p *Plan) from(components ...string) []networkingv1.NetworkPolicyPeer {
	var peers []networkingv1.NetworkPolicyPeer
	for _, component := range components {
		peers = append(peers, networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{MatchLabels: p.selector(component)}})
	}
	return peers
}

func tcp(ports ...int32) []networkingv1.NetworkPolicyPort {
	var all []networkingv1.NetworkPolicyPort
	for _, number := range ports {
		all = append(all, port(corev1.ProtocolTCP, number))
	}
	return all
}

func port(protocol corev1.Protocol, number int32) networkingv1.NetworkPolicyPort {
	return networkingv1.NetworkPolicyPort{Protocol: &protocol, Port: ptr.To(intstr.FromInt32(number))}
}

// PodDisruptionBudgets let a drain of nodes take one Pod of a component at a time.
func (p *Plan) PodDisruptionBudgets() []*policyv1.PodDisruptionBudget {
	var all []*policyv1.PodDisruptionBudget
	for _, component := range []string{Etcd, APIServer, ControllerManager, Scheduler} {
		all = append(all, &policyv1.PodDisruptionBudget{ObjectMeta: p.meta(p.name(component), component), Spec: policyv1.PodDisruptionBudgetSpec{
			MaxUnavailable: ptr.To(intstr.FromInt32(1)),
			Selector:       &metav1.LabelSelector{MatchLabels: p.selector(component)},
			// A Pod that is not ready holds up nobody's drain.
			UnhealthyPodEvictionPolicy: ptr.To(policyv1.AlwaysAllow),
		}})
	}
	return all
}
