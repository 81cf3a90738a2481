package local

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// The forge's program and files in bin/.
const (
	gitea       = "gitea"
	giteaStatic = "gitea-static"
)

// Programs and folders in bin/ that the platform cannot be without.
var (
	programs = []string{
		"etcd", "kube-apiserver", "kube-controller-manager", gitea, "source-controller", "kustomize-controller", "aether", "namespace-operator",
	}
	folders = []string{"crds", "flux-roles", giteaStatic}
)

// MissingError is something that must be there before the platform can start.
type MissingError struct {
	What string
	Try  string
}

// Error says what is missing.
func (e *MissingError) Error() string { return e.What }

// prerequisites finds all that is missing before anything is started.
func (p *Platform) prerequisites(programs, folders []string) error {
	if _, err := exec.LookPath("git"); err != nil {
		return &MissingError{"git is not on the PATH", "install git 2.31 or later: the fleet is a Git repository"}
	}
	if p.Chart {
		programs = append(slices.Clone(programs), "helm")
	}
	var missing []string
	for _, name := range slices.Concat(programs, folders) {
		if _, err := os.Stat(p.bin(name)); err != nil {
			missing = append(missing, filepath.Join("bin", name))
		}
	}
	if len(missing) > 0 {
		return &MissingError{
			fmt.Sprintf("%s is missing in %s", strings.Join(missing, ", "), p.Root),
			"make tools build: it makes them from their Go modules, once",
		}
	}
	switch {
	case p.Chart && p.Nodes == 0:
		return &MissingError{"the chart installs Pods, and there is no node to run them on", "add a node: --nodes 1 (make up NODES=1 CHART=1)"}
	case p.Clusters && p.Nodes == 0:
		return &MissingError{"control planes of clusters are Pods, and there is no node to run them on", "add a node: --nodes 1 (make up NODES=1 CLUSTERS=1)"}
	case p.Chart && p.OpenBao:
		return &MissingError{"Pods do not reach the local OpenBao, which listens on this machine's loopback address", "leave out one of --chart and --openbao"}
	}
	if p.Nodes > 0 {
		if err := p.nodePrerequisites(); err != nil {
			return err
		}
	}
	if p.Fleet != "" {
		if info, err := os.Stat(p.Fleet); err != nil || !info.IsDir() {
			return &MissingError{fmt.Sprintf("there is no fleet at %s", p.Fleet), "name the folder that holds one folder a tenant"}
		}
	}
	return nil
}

func (p *Platform) bin(name string) string { return filepath.Join(p.Root, "bin", name) }

// FindRoot finds the checkout of Aether that a folder is in.
func FindRoot(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for at := dir; ; at = filepath.Dir(at) {
		mod, err := os.ReadFile(filepath.Join(at, "go.mod"))
		if err == nil && strings.HasPrefix(string(mod), "module github.com/aetherplatform/aether\n") {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "", &MissingError{fmt.Sprintf("%s is not in a checkout of Aether", dir), "run it in the checkout, or name that with --root"}
		}
	}
}
