// Package machine makes a machine out of namespaces, for a node of the local
// platform: processes, mounts, network, host name and cgroups of its own, on the
// kernel and the files of the machine that it runs on.
//
// Its first process holds it together. When that ends, however it ends, the
// kernel ends everything else in it, and with that go its mounts, its interfaces,
// its BPF programs and its firewall rules; what is left are empty cgroup folders,
// which are removed.
//
// It changes nothing outside: the files of the host are read-only in it, except
// the machine's own folder; kernel settings that are not a network namespace's are
// read-only too; and no interface of the host's network is touched, since machines
// meet in a network namespace of their own. See Switch.
package machine

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
)

// Where things are, seen from inside a machine.
const (
	// Bin is bin/ of the checkout.
	Bin = "/run/node/bin"
	// Etc is what the platform wrote for the machine.
	Etc = "/run/node/etc"
	// Cgroups is where cgroups are mounted.
	Cgroups = "/sys/fs/cgroup"
)

// Addresses of the network that machines meet in. They are out of 198.18.0.0/15,
// which is set aside for benchmarks: no real network has them.
const (
	// Gateway is the switch's address: the only way out of the machines' network, and
	// it leads nowhere but to what the switch itself serves.
	Gateway = "198.18.0.1"
	// APIPort is where the Kubernetes API answers at Gateway.
	APIPort = "6443"
	// ForgePort is where the Git forge answers at Gateway.
	ForgePort = "3000"
	// subnet is the prefix length.
	subnet = 16
)

// Address of the nth machine, from 1.
func Address(n int) netip.Addr { return netip.AddrFrom4([4]byte{198, 18, 0, byte(10 + n)}) }

// Dir is a machine's folder on the host.
type Dir string

// Etc is the folder that Etc shows inside.
func (d Dir) Etc() string { return filepath.Join(string(d), "etc") }

// Socket answers with 200 when the machine, or a program in it, is healthy.
func (d Dir) Socket(name string) string { return filepath.Join(string(d), name+".sock") }

// vars is the folder that is /var inside.
func (d Dir) vars() string { return filepath.Join(string(d), "var") }

// proc is a link to what /proc tells of the machine's first process.
func (d Dir) proc() string { return filepath.Join(string(d), "proc") }

// link makes name lead to target, whether it exists or not.
func link(target, name string) error {
	if err := os.RemoveAll(name); err != nil {
		return err
	}
	return os.Symlink(target, name)
}

func procOf(pid int) string { return fmt.Sprintf("/proc/%d", pid) }
