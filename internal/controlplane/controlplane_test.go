package controlplane

import (
	"encoding/json"
	"fmt"
	"maps"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	psa "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"k8s.io/utils/ptr"

	cpv1 "github.com/aetherplatform/aether/api/controlplane/v1alpha1"
	"github.com/aetherplatform/aether/internal/testenv"
)

// longest is the longest name that a control plane may have.
var longest = strings.Repeat("a", 48)

func controlPlane(name string, change ...func(*cpv1.AetherControlPlaneSpec)) *cpv1.AetherControlPlane {
	cp := &cpv1.AetherControlPlane{
		ObjectMeta: metav1.ObjectMeta{Namespace: "aether-cluster-" + name, Name: name, UID: "8c1d2f3a-0000-4000-8000-000000000001"},
		Spec: cpv1.AetherControlPlaneSpec{
			Version: "v1.36.3", Replicas: ptr.To[int32](2),
			Etcd:    cpv1.EtcdSpec{Replicas: 3, Storage: ptr.To(resource.MustParse("8Gi"))},
			Network: cpv1.Network{PodCIDR: "10.100.0.0/16", ServiceCIDR: "10.101.0.0/16", Domain: "cluster.local"},
		},
	}
	for _, do := range change {
		do(&cp.Spec)
	}
	return cp
}

func planOf(t *testing.T, cp *cpv1.AetherControlPlane) *Plan {
	t.Helper()
	p, err := NewPlan(cp, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// pods are those of a control plane by component.
func pods(p *Plan) map[string]corev1.PodTemplateSpec {
	all := map[string]corev1.PodTemplateSpec{
		Etcd:              p.EtcdStatefulSet().Spec.Template,
		APIServer:         p.APIServerDeployment().Spec.Template,
		ControllerManager: p.ControllerManagerDeployment().Spec.Template,
		Scheduler:         p.SchedulerDeployment().Spec.Template,
	}
	if _, schedule := p.SnapshotObjects(); schedule != nil {
		all[Snapshot] = schedule.Spec.JobTemplate.Spec.Template
	}
	if first := all[Etcd].Spec.InitContainers; len(first) > 0 {
		restore := all[Etcd]
		restore.Spec.Containers = first
		all["restore"] = restore
	}
	return all
}

// everything is a control plane with all that one can have.
func everything(s *cpv1.AetherControlPlaneSpec) {
	s.Etcd.Snapshots = &cpv1.Snapshots{Schedule: "17 */6 * * *", Keep: 28, Volume: cpv1.SnapshotVolume{Size: resource.MustParse("20Gi")}}
	s.Etcd.RestoreFrom = &cpv1.RestoreFrom{ClaimName: "acme-old-snapshots", Snapshot: "20261127T120000Z-42.db"}
}

func TestPodsMeetThePodSecurityStandardRestricted(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for component, pod := range pods(planOf(t, controlPlane("acme-prod", everything))) {
		for _, result := range evaluator.EvaluatePod(psa.LevelVersion{Level: psa.LevelRestricted, Version: psa.LatestVersion()}, &pod.ObjectMeta, &pod.Spec) {
			if !result.Allowed {
				t.Errorf("%s: %s: %s", component, result.ForbiddenReason, result.ForbiddenDetail)
			}
		}
		if ptr.Deref(pod.Spec.AutomountServiceAccountToken, true) {
			t.Errorf("%s holds a token of the management cluster", component)
		}
	}
}

func TestTheKeyOfNoAuthorityIsInAPodButThatWhichSignsForKubelets(t *testing.T) {
	p := planOf(t, controlPlane("acme-prod", everything))
	for component, pod := range pods(p) {
		for _, v := range pod.Spec.Volumes {
			for _, authority := range Authorities {
				if v.Secret != nil && v.Secret.SecretName == p.PKI(authority) && (component != ControllerManager || authority != CA) {
					t.Errorf("%s mounts the key of %s", component, authority)
				}
			}
		}
	}
}

// A program that is told of a file that is not mounted does not start.
func TestEveryFileThatAFlagNamesIsMounted(t *testing.T) {
	p := planOf(t, controlPlane("acme-prod", everything))
	named := regexp.MustCompile(`/etc/kubernetes/\S+`)
	for component, pod := range pods(p) {
		there := map[string]bool{}
		for _, m := range pod.Spec.Containers[0].VolumeMounts {
			for _, v := range pod.Spec.Volumes {
				if v.Name != m.Name {
					continue
				}
				var items []corev1.KeyToPath
				switch {
				case v.Secret != nil:
					items = v.Secret.Items
				case v.ConfigMap != nil && v.Name == "restore": // all of it
					items = []corev1.KeyToPath{{Path: restoreKey}}
				case v.ConfigMap != nil:
					items = v.ConfigMap.Items
				}
				for _, item := range items {
					there[path.Join(m.MountPath, item.Path)] = true
				}
			}
		}
		text := strings.Join(pod.Spec.Containers[0].Command, "\n")
		if component == ControllerManager || component == Scheduler {
			text += p.Kubeconfigs().Data[component]
		}
		files := named.FindAllString(text, -1)
		if len(files) == 0 {
			t.Errorf("%s names no files at all", component)
		}
		for _, file := range files {
			if !there[file] {
				t.Errorf("%s is told of %s, which is not mounted; there are %v", component, file, slices.Sorted(maps.Keys(there)))
			}
		}
	}
}

// Asked of the programs as they are built for the local platform.
func TestEveryFlagIsOneOfItsProgram(t *testing.T) {
	for component, pod := range pods(planOf(t, controlPlane("acme-prod", everything))) {
		command := pod.Spec.Containers[0].Command
		verbs := 1
		for !strings.HasPrefix(command[verbs], "--") {
			verbs++
		}
		program := filepath.Join(testenv.Root(), "bin", filepath.Base(command[0]))
		help, err := exec.CommandContext(t.Context(), program, append(slices.Clone(command[1:verbs]), "--help")...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s --help: %v\n%s", command[0], err, help)
		}
		for _, flag := range command[verbs:] {
			name, _, _ := strings.Cut(strings.TrimPrefix(flag, "--"), "=")
			if !regexp.MustCompile(`--?` + regexp.QuoteMeta(name) + `\b`).Match(help) {
				t.Errorf("%s: %s has no flag --%s", component, command[0], name)
			}
		}
	}
}

func TestAnAPIServerReachesItsEtcdAndNothingElse(t *testing.T) {
	p := planOf(t, controlPlane("acme-prod"))
	var reached []string
	closed := false
	for _, policy := range p.NetworkPolicies() {
		selected := policy.Spec.PodSelector.MatchLabels
		if c, ok := selected[LabelComponent]; ok && c != APIServer {
			continue
		}
		if selected[LabelCluster] != "acme-prod" {
			t.Errorf("%s is about %v, not about this control plane alone", policy.Name, selected)
		}
		if !slices.Contains(policy.Spec.PolicyTypes, networkingv1.PolicyTypeEgress) || !slices.Contains(policy.Spec.PolicyTypes, networkingv1.PolicyTypeIngress) {
			t.Errorf("%s leaves a direction open", policy.Name)
		}
		closed = closed || len(policy.Spec.Ingress)+len(policy.Spec.Egress) == 0 && selected[LabelComponent] == ""
		for _, rule := range policy.Spec.Egress {
			if len(rule.To) == 0 || len(rule.Ports) == 0 {
				t.Errorf("%s opens egress to everywhere, or on every port", policy.Name)
			}
			for _, peer := range rule.To {
				to := peer.PodSelector.MatchLabels[LabelComponent]
				if peer.NamespaceSelector != nil {
					to = peer.NamespaceSelector.MatchLabels[corev1.LabelMetadataName] + "/" + peer.PodSelector.MatchLabels["k8s-app"]
				} else if peer.PodSelector.MatchLabels[LabelCluster] != "acme-prod" {
					t.Errorf("%s opens egress to %v", policy.Name, peer.PodSelector.MatchLabels)
				}
				for _, port := range rule.Ports {
					reached = append(reached, fmt.Sprintf("%s:%s", to, port.Port))
				}
			}
		}
	}
	slices.Sort(reached)
	if want := []string{"etcd:2379", "kube-system/kube-dns:53", "kube-system/kube-dns:53"}; !slices.Equal(reached, want) {
		t.Errorf("an API server reaches %v, want %v", reached, want)
	}
	if !closed {
		t.Error("no policy closes all Pods of the control plane")
	}
}

func TestTheLongestNameFits(t *testing.T) {
	p := planOf(t, controlPlane(longest))
	for _, s := range append(p.EtcdServices(), p.APIServerService()) {
		if problems := validation.IsDNS1035Label(s.Name); len(problems) > 0 {
			t.Errorf("Service %s: %v", s.Name, problems)
		}
	}
	for _, c := range p.Certificates() {
		if len(c.Spec.CommonName) > 64 {
			t.Errorf("the common name %q is longer than the 64 characters that X.509 allows", c.Spec.CommonName)
		}
		for _, name := range c.Spec.DNSNames {
			if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 {
				t.Errorf("%s: DNS name %s: %v", c.Name, name, problems)
			}
		}
	}
	if member := fmt.Sprintf("%s-0", p.EtcdStatefulSet().Name); len(validation.IsValidLabelValue(member)) > 0 {
		t.Errorf("the name of a member, %s, is no value of a label", member)
	}
}

func TestEachServerIsCertifiedUnderTheNamesThatItIsCalledBy(t *testing.T) {
	p := planOf(t, controlPlane("acme-prod", func(s *cpv1.AetherControlPlaneSpec) {
		s.ControlPlaneEndpoint = &cpv1.APIEndpoint{Host: "203.0.113.7", Port: 6443}
	}))
	for _, c := range p.Certificates() {
		switch c.Name {
		case "acme-prod-pki-apiserver":
			for _, want := range []string{"acme-prod-apiserver.aether-cluster-acme-prod.svc", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"} {
				if !slices.Contains(c.Spec.DNSNames, want) {
					t.Errorf("the API server is not certified as %s: %v", want, c.Spec.DNSNames)
				}
			}
			for _, want := range []string{"10.101.0.1", "203.0.113.7"} {
				if !slices.Contains(c.Spec.IPAddresses, want) {
					t.Errorf("the API server is not certified as %s: %v", want, c.Spec.IPAddresses)
				}
			}
		case "acme-prod-pki-etcd-peer":
			text := strings.Join(p.EtcdStatefulSet().Spec.Template.Spec.Containers[0].Command, " ")
			for i := range 3 {
				name := fmt.Sprintf("acme-prod-etcd-%d.acme-prod-etcd-peers.aether-cluster-acme-prod.svc", i)
				if !slices.Contains(c.Spec.DNSNames, name) || !strings.Contains(text, fmt.Sprintf("acme-prod-etcd-%d=https://%s:2380", i, name)) {
					t.Errorf("member %d is not called and certified as %s", i, name)
				}
			}
		}
	}
}

func TestNetworksThatCannotBeAreRefused(t *testing.T) {
	for name, test := range map[string]struct {
		network cpv1.Network
		want    string
	}{
		"ranges that overlap": {cpv1.Network{PodCIDR: "10.100.0.0/15", ServiceCIDR: "10.101.0.0/16"},
			"spec.network: podCIDR 10.100.0.0/15 and serviceCIDR 10.101.0.0/16 overlap; write ranges that are apart"},
		"a range of one address": {cpv1.Network{PodCIDR: "10.100.0.0/16", ServiceCIDR: "10.101.0.0/32"},
			"spec.network.serviceCIDR: 10.101.0.0/32 has no room for a Service; write a larger range, such as 10.101.0.0/16"},
		"no range": {cpv1.Network{PodCIDR: "ten", ServiceCIDR: "10.101.0.0/16"},
			`spec.network.podCIDR: "ten" is no range of addresses; write a CIDR such as 10.100.0.0/16`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewPlan(controlPlane("acme-prod", func(s *cpv1.AetherControlPlaneSpec) { s.Network = test.network }), Options{})
			if err == nil || err.Error() != test.want {
				t.Errorf("error is %v, want %s", err, test.want)
			}
		})
	}
}

// Two plans of one control plane are one: an object that differs is written.
func TestAPlanIsTheSameEachTime(t *testing.T) {
	var texts []string
	for range 10 {
		p := planOf(t, controlPlane("acme-prod", everything))
		text, err := json.Marshal([]any{pods(p), p.Certificates(), p.Issuers(), p.NetworkPolicies(), p.PodDisruptionBudgets(), p.Kubeconfigs(), p.EtcdServices()})
		if err != nil {
			t.Fatal(err)
		}
		if texts = append(texts, string(text)); texts[0] != string(text) {
			t.Fatal("two plans of one control plane differ")
		}
	}
}

func TestEtcdStopsToTakeDataBeforeItsVolumeIsFull(t *testing.T) {
	for storage, want := range map[string]int64{"1Gi": 768 << 20, "8Gi": 6 << 30, "100Gi": 8 << 30} {
		if got := quota(resource.MustParse(storage)); got != want {
			t.Errorf("quota of a volume of %s is %d, want %d", storage, got, want)
		}
	}
}
