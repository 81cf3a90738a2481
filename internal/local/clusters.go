package local

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aetherplatform/aether/internal/config"
	"github.com/aetherplatform/aether/internal/config/clustercontroller"
	"github.com/aetherplatform/aether/internal/local/machine"
)

// Clusters of a fleet are real: their control planes are Pods on the nodes, and their
// certificates are cert-manager's.

//go:embed clusters.yaml
var clusterFiles []byte

// Programs of a hosted control plane, in images of the same names.
var hostedPrograms = []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"}

// Programs and folders in bin/ that the platform needs where it has clusters.
var (
	clusterPrograms = append([]string{"cert-manager", "cluster-controller"}, hostedPrograms...)
	clusterFolders  = []string{"cert-manager-crds"}
)

// localRegistry is where the images of bin/images say they come from.
const localRegistry = "aetherplatform.cloud"

// storageClass is that of clusters.yaml, of volumes that are folders of the nodes.
const storageClass = "local"

// volumesPerNode is how many volumes a node has: what two clusters with etcd of three
// members need on one node.
const volumesPerNode = 6

// clusters runs what makes the fleet's clusters, where it is asked for: cert-manager, and
// the cluster controller.
func (p *Platform) clusters(ctx context.Context) error {
	if !p.Clusters {
		return nil
	}
	if err := p.step("images and volumes of control planes", func() error { return p.hostControlPlanes(ctx) }); err != nil {
		return err
	}
	processes := []*Process{p.certManager()}
	if !p.Chart { // which has it as a Pod
		controller, err := p.clusterController()
		if err != nil {
			return err
		}
		processes = append(processes, controller)
	}
	return p.launchAll(ctx, processes...)
}

// installClusters applies what an administrator installs for them.
func (p *Platform) installClusters(ctx context.Context) error {
	if err := p.applyFiles(ctx, os.DirFS(p.bin("cert-manager-crds"))); err != nil {
		return err
	}
	return p.apply(ctx, "clusters.yaml", clusterFiles)
}

// hostControlPlanes brings to the nodes what control planes run and keep their data on.
func (p *Platform) hostControlPlanes(ctx context.Context) error {
	version, err := p.KubernetesVersion(ctx)
	if err != nil {
		return err
	}
	return p.eachNode(func(_ int, node string) error {
		if err := p.Import(ctx, node, "aether-etcd"); err != nil {
			return err
		}
		for _, program := range hostedPrograms {
			if err := p.Import(ctx, node, program); err != nil {
				return err
			}
			// Control planes ask for Kubernetes' programs by their version.
			image := localRegistry + "/" + program + ":"
			if _, err := p.On(ctx, node, machine.Bin+"/ctr", "--namespace=k8s.io", "images", "tag", "--force", image+"local", image+version); err != nil {
				return err
			}
		}
		for i := range volumesPerNode {
			if err := p.volume(ctx, node, i+1); err != nil {
				return err
			}
		}
		return nil
	})
}

// KubernetesVersion is that of the programs in bin/.
func (p *Platform) KubernetesVersion(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, p.bin("kube-apiserver"), "--version").Output()
	if err != nil {
		return "", fmt.Errorf("cannot ask kube-apiserver for its version: %w", err)
	}
	return strings.TrimSpace(strings.TrimPrefix(string(out), "Kubernetes ")), nil
}

// volume makes one of a node's.
func (p *Platform) volume(ctx context.Context, node string, n int) error {
	name := fmt.Sprintf("%s-%d", node, n)
	folder := path.Join("/var/lib/volumes", name)
	if _, err := p.On(ctx, node, "/bin/mkdir", "-p", folder); err != nil {
		return err
	}
	volume := &corev1.PersistentVolume{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolume"},
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:         corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("8Gi")},
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			StorageClassName: storageClass, PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: folder}},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
			}}}},
		},
	}
	if err := p.Client.Create(ctx, volume); err != nil {
		return fmt.Errorf("cannot create PersistentVolume %s: %w", name, err)
	}
	return nil
}

func (p *Platform) certManager() *Process {
	process := p.newProcess("cert-manager", p.bin("cert-manager"), 0, "", "--kubeconfig="+p.KubeconfigOf("cert-manager"))
	process.What = "cert-manager: certificates of clusters' control planes"
	return process
}

// clusterControllerConfigFile is the cluster controller's.
const clusterControllerConfigFile = "cluster-controller.yaml"

func (p *Platform) clusterController() (*Process, error) {
	c := clustercontroller.Default()
	c.Health.BindAddress = loopback(p.Ports.ClusterHealth)
	c.Metrics = config.Metrics{BindAddress: loopback(p.Ports.ClusterMetrics), Pprof: true}
	// It is outside of the cluster, where names of Services mean nothing.
	c.Reach = clustercontroller.ReachPortForward
	c.Images = clustercontroller.Images{Repository: localRegistry, Etcd: localRegistry + "/etcd:local", Snapshot: localRegistry + "/aether-etcd:local"}
	file, err := p.writeConfig(clusterControllerConfigFile, c)
	if err != nil {
		return nil, err
	}
	process := p.newProcess("cluster-controller", p.bin("cluster-controller"), p.Ports.ClusterHealth, "http://"+c.Health.BindAddress+"/readyz",
		"--kubeconfig="+p.KubeconfigOf("cluster-controller"), "--config="+file)
	process.What = fmt.Sprintf("Aether: clusters; metrics at http://%s/metrics", c.Metrics.BindAddress)
	return process, nil
}
