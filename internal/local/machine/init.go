//go:build linux

package machine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// inner is what the first process of a machine is told.
type inner struct {
	Name string
	// Folders of the host that are shown at Bin, at Etc, and as /var.
	Bin, Etc, Var string
}

// Init is the first process of a machine. It makes the machine what it is, closes
// done, and waits for whatever ends in it.
func Init(told io.Reader, done io.WriteCloser) error {
	var m inner
	if err := json.NewDecoder(told).Decode(&m); err != nil {
		return err
	}
	if err := m.furnish(); err != nil {
		_, _ = fmt.Fprint(done, err)
		return err
	}
	if err := done.Close(); err != nil {
		return err
	}
	children := make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD)
	for range children {
		for {
			if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); pid <= 0 || err != nil {
				break
			}
		}
	}
	return nil
}

// A mount of a file system that has nothing behind it.
type mount struct {
	kind, at string
	flags    uintptr
	data     string
}

const safe = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// furnish makes the mounts. The host's own are left as they are, in their place,
// and cannot be written to.
func (m inner) furnish() error {
	if err := unix.Sethostname([]byte(m.Name)); err != nil {
		return err
	}
	// From here on nothing that is mounted is seen by the host.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("cannot make mounts private: %w", err)
	}
	// What the machine needs of the host is taken hold of before other things are
	// mounted over it, and before it is read-only.
	var failed error
	hold := func(path string) int {
		tree, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("cannot take hold of %s: %w", path, err))
		}
		return tree
	}
	bin, etc, vars := hold(m.Bin), hold(m.Etc), hold(m.Var)
	if failed != nil {
		return failed
	}
	readOnly := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(unix.AT_FDCWD, "/", unix.AT_RECURSIVE, &readOnly); err != nil {
		return fmt.Errorf("cannot make the host's files read-only: %w", err)
	}
	for _, mount := range []mount{
		{"proc", "/proc", safe, ""},
		{"sysfs", "/sys", safe, ""},
		{"bpf", "/sys/fs/bpf", safe, ""},
		{"tmpfs", Cgroups, safe, "mode=755,size=64k"},
		{"tmpfs", "/dev/shm", safe, ""},
		{"tmpfs", "/run", unix.MS_NOSUID | unix.MS_NODEV, "mode=755"},
		{"tmpfs", "/tmp", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
	} {
		if err := unix.Mount(mount.kind, mount.at, mount.kind, mount.flags, mount.data); err != nil {
			return fmt.Errorf("cannot mount %s: %w", mount.at, err)
		}
	}
	if err := mountCgroups(); err != nil {
		return err
	}
	for _, shown := range []struct {
		tree int
		at   string
	}{{bin, Bin}, {etc, Etc}, {vars, "/var"}} {
		if err := os.MkdirAll(shown.at, 0o700); err != nil {
			return err
		}
		if err := unix.MoveMount(shown.tree, "", unix.AT_FDCWD, shown.at, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return fmt.Errorf("cannot mount %s: %w", shown.at, err)
		}
		_ = unix.Close(shown.tree)
	}
	if err := guardKernel(); err != nil {
		return err
	}
	// Inside, mounts propagate, as kubelet expects.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("cannot make mounts shared: %w", err)
	}
	return nil
}

// mountCgroups shows the machine's own part of each hierarchy as the whole.
func mountCgroups() error {
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	if len(lines) == 1 && strings.HasPrefix(lines[0], "0::") {
		return mountUnified()
	}
	for _, line := range lines {
		fields := strings.SplitN(line, ":", 3)
		kind, name, options := "cgroup", strings.TrimPrefix(fields[1], "name="), fields[1]
		switch {
		case fields[1] == "":
			kind, name = "cgroup2", "unified"
		case name != fields[1]:
			options = "none," + fields[1]
		}
		at := filepath.Join(Cgroups, name)
		if err := os.Mkdir(at, 0o700); err != nil { //nolint:gosec // named as the kernel lists them
			return err
		}
		if err := unix.Mount("cgroup", at, kind, safe, options); err != nil {
			return fmt.Errorf("cannot mount %s: %w", at, err)
		}
		for one := range strings.SplitSeq(name, ",") {
			if one == name {
				continue
			}
			if err := os.Symlink(name, filepath.Join(Cgroups, one)); err != nil {
				return err
			}
		}
	}
	return nil
}

// mountUnified is for a host that has only the unified hierarchy. A group with
// processes cannot share controllers with groups below, so the machine's own
// processes are put into one below.
func mountUnified() error {
	if err := unix.Mount("cgroup", Cgroups, "cgroup2", safe, ""); err != nil {
		return fmt.Errorf("cannot mount %s: %w", Cgroups, err)
	}
	own := filepath.Join(Cgroups, "init")
	if err := os.Mkdir(own, 0o700); err != nil {
		return err
	}
	if err := enterGroup(own); err != nil {
		return err
	}
	controllers, err := os.ReadFile(filepath.Join(Cgroups, "cgroup.controllers"))
	if err != nil {
		return err
	}
	all := "+" + strings.Join(strings.Fields(string(controllers)), " +")
	return os.WriteFile(filepath.Join(Cgroups, "cgroup.subtree_control"), []byte(all), 0o600) //nolint:gosec // the kernel takes the names that it gave
}

// settings that kubelet wants the kernel to have, and would change for the whole
// host. It reads here that it has them.
var settings = map[string]string{
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/keys/root_maxbytes": "25000000",
}

// guardKernel makes the kernel's settings read-only, those of the machine's own
// network aside.
func guardKernel() error {
	const all, ours = "/proc/sys", "/proc/sys/net"
	net, err := unix.OpenTree(unix.AT_FDCWD, ours, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(net) }()
	if err := unix.Mount(all, all, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	if err := unix.Mount("", all, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|safe, ""); err != nil {
		return err
	}
	if err := unix.MoveMount(net, "", unix.AT_FDCWD, ours, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return err
	}
	const shown = "/run/node/sys"
	for name, value := range settings {
		file := filepath.Join(shown, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(value+"\n"), 0o400); err != nil {
			return err
		}
		if err := unix.Mount(file, filepath.Join(all, name), "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("cannot show the setting %s: %w", name, err)
		}
	}
	return nil
}
