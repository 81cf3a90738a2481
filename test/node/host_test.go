//go:build node

package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"

	"github.com/aetherplatform/aether/internal/local"
)

// What a node changes, it changes inside: with a Pod on it the host is as it was
// before, its own cgroups and BPF programs aside, and those are gone with it,
// whether the platform is taken down or the machine is killed.
func TestAHostIsAfterwardsAsItWasBefore(t *testing.T) {
	for name, end := range map[string]func(*local.Platform) error{
		"taken down": func(p *local.Platform) error { return p.Stop() },
		"killed":     func(p *local.Platform) error { return errors.Join(p.Kill(local.NodeName(1)), p.Kill("switch")) },
	} {
		t.Run(name, func(t *testing.T) {
			before := look(t)
			platform := start(t, filepath.Join(t.TempDir(), "platform"), 1, "")
			t.Cleanup(func() {
				if err := platform.Stop(); err != nil {
					t.Error(err)
				}
			})
			networks := networksOf(t, platform)
			running := look(t)
			if diff := cmp.Diff(before.lasting, running.lasting); diff != "" {
				t.Errorf("while the node runs (-before +now):\n%s", diff)
			}
			if seen := strings.Join(running.more(before), "\n"); !strings.Contains(seen, "/kubepods") || !strings.Contains(seen, "BPF program") {
				t.Errorf("of a node that runs nothing is seen but:\n%s", seen)
			}
			if err := end(platform); err != nil {
				t.Fatal(err)
			}
			if name == "killed" { // what is left then are empty cgroups, for whoever comes next
				if err := platform.Stop(); err != nil {
					t.Fatal(err)
				}
			}
			var now host
			if !within(time.Minute, func() bool {
				now = look(t)
				return cmp.Equal(before.lasting, now.lasting) && len(now.more(before)) == 0 && !inUse(t, networks)
			}) {
				t.Errorf("afterwards (-before +now):\n%s\nmore than before: %v\nnetwork namespaces in use: %t",
					cmp.Diff(before.lasting, now.lasting), now.more(before), inUse(t, networks))
			}
		})
	}
}

// within asks until the answer is yes: the kernel takes its time to let go of what
// nothing refers to.
func within(limit time.Duration, ask func() bool) bool {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !ask() {
		select {
		case <-deadline.C:
			return false
		case <-tick.C:
		}
	}
	return true
}

// host is what is seen of the machine.
type host struct {
	// lasting is what a node never changes.
	lasting map[string]string
	// passing is there while it runs: cgroups, BPF programs and maps.
	passing []string
}

// more is what is there now and was not before. Others may have ended something
// of their own in between.
func (h host) more(before host) []string {
	return slices.DeleteFunc(slices.Clone(h.passing), func(s string) bool { return slices.Contains(before.passing, s) })
}

// settings that kubelet, Cilium and containerd are known to change.
var settings = []string{
	"kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes",
	"kernel/unprivileged_bpf_disabled", "kernel/timer_migration", "vm/overcommit_memory", "vm/panic_on_oom",
	"fs/inotify/max_user_instances", "net/core/bpf_jit_enable",
	"net/ipv4/ip_forward", "net/ipv4/conf/all/rp_filter", "net/ipv4/conf/all/forwarding", "net/ipv4/conf/default/rp_filter",
}

// folders that kubelet, containerd and Cilium make where they are installed.
var folders = []string{
	"/etc/cni", "/opt/cni", "/opt/containerd", "/run/cilium", "/run/containerd", "/run/flannel", "/run/netns", "/run/xtables.lock",
	"/usr/libexec/kubernetes", "/var/lib/cilium", "/var/lib/containerd", "/var/lib/kubelet", "/var/log/containers", "/var/log/pods",
	"/sys/fs/bpf/cilium", "/sys/fs/bpf/tc", "/run/node",
}

func look(t *testing.T) host {
	t.Helper()
	h := host{lasting: map[string]string{}}
	for _, command := range []string{
		"ip -o link", "ip -o -4 address", "ip route", "ip rule", "iptables-save", "ip6tables-save", "ipset list -name",
	} {
		fields := strings.Fields(command)
		out, err := exec.CommandContext(t.Context(), fields[0], fields[1:]...).CombinedOutput()
		if err != nil {
			out = fmt.Append(out, err)
		}
		h.lasting[command] = withoutComments(string(out))
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	h.lasting["mounts"] = string(mounts)
	for _, name := range settings {
		value, err := os.ReadFile(filepath.Join("/proc/sys", name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		h.lasting[name] = string(value)
	}
	for _, folder := range folders {
		_, err := os.Lstat(folder)
		h.lasting[folder] = fmt.Sprint(err == nil)
	}

	err = filepath.WalkDir("/sys/fs/cgroup", func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it ended as we came by
		}
		if err == nil && entry.IsDir() && (strings.Contains(path, "/aether-") || strings.Contains(path, "/kubepods")) {
			h.passing = append(h.passing, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for id := ebpf.ProgramID(0); ; {
		if id, err = ebpf.ProgramGetNextID(id); err != nil {
			break
		}
		h.passing = append(h.passing, fmt.Sprint("BPF program ", id))
	}
	for id := ebpf.MapID(0); ; {
		if id, err = ebpf.MapGetNextID(id); err != nil {
			break
		}
		h.passing = append(h.passing, fmt.Sprint("BPF map ", id))
	}
	return h
}

// withoutComments leaves out the times and the counters of iptables-save.
func withoutComments(out string) string {
	var kept []string
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		if before, _, ok := strings.Cut(line, " ["); ok && strings.HasPrefix(line, ":") {
			line = before + "\n"
		}
		kept = append(kept, line)
	}
	return strings.Join(kept, "")
}

// networksOf are the network namespaces of a node: its own, and its Pods'.
func networksOf(t *testing.T, p *local.Platform) []string {
	t.Helper()
	out, err := p.On(t.Context(), local.NodeName(1), "/bin/sh", "-c", "readlink /proc/[0-9]*/ns/net | sort -u")
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Fields(out)
	if len(all) < 2 {
		t.Fatalf("the node has the network namespaces %v: no Pod runs on it", all)
	}
	return all
}

// inUse is whether a process is in one of the network namespaces.
func inUse(t *testing.T, networks []string) bool {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(links, func(link string) bool {
		target, err := os.Readlink(link)
		return err == nil && slices.Contains(networks, target)
	})
}
