//go:build linux

package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A hierarchy of cgroups, as /proc/self/cgroup lists it.
type hierarchy struct {
	// controllers as mount(2) takes them: "cpu,cpuacct" or "name=systemd"; empty for
	// the unified hierarchy.
	controllers string
	// folder of the process in it, on the host.
	folder string
}

// hierarchies are those that a process is in and that are mounted. proc is what
// /proc tells of it.
func hierarchies(proc string) ([]hierarchy, error) {
	data, err := os.ReadFile(filepath.Join(proc, "cgroup"))
	if err != nil {
		return nil, err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var all []hierarchy
	for line := range strings.Lines(string(data)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3) // number:controllers:path
		if len(fields) != 3 {
			continue
		}
		if mounted, ok := mountOf(string(mounts), fields[1], fields[2]); ok {
			all = append(all, hierarchy{fields[1], mounted})
		}
	}
	if len(all) == 0 {
		return nil, errors.New("no cgroups are mounted on this machine")
	}
	return all, nil
}

// mountOf finds the folder of a cgroup in what /proc/self/mountinfo says.
func mountOf(mountinfo, controllers, path string) (string, bool) {
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(line, " - ")
		place, kind := strings.Fields(before), strings.Fields(after)
		if !ok || len(place) < 5 || len(kind) < 3 {
			continue
		}
		if controllers == "" && kind[0] != "cgroup2" || controllers != "" && !isController(kind, controllers) {
			continue
		}
		const root, point = 3, 4
		if relative, err := filepath.Rel(place[root], path); err == nil && !strings.HasPrefix(relative, "..") {
			return filepath.Join(place[point], relative), true
		}
	}
	return "", false
}

func isController(kind []string, controllers string) bool {
	if kind[0] != "cgroup" {
		return false
	}
	options := strings.Split(kind[2], ",")
	for name := range strings.SplitSeq(controllers, ",") {
		if !slices.Contains(options, name) {
			return false
		}
	}
	return true
}

// group is a folder of the same name in every hierarchy.
type group struct {
	name string
	// within are the folders that it is made in.
	within []hierarchy
}

// newGroup makes the group below the groups that this process is in, so that what
// bounds this process bounds the machine.
func newGroup(name string) (group, error) {
	within, err := hierarchies("/proc/self")
	if err != nil {
		return group{}, err
	}
	g := group{name, within}
	for i := range g.within {
		h := &g.within[i]
		if h.controllers == "" && len(within) == 1 {
			// Nothing but the unified hierarchy: a group that has processes, as ours does,
			// cannot share its controllers with groups below it. Only the first can.
			h.folder = unifiedRoot(h.folder)
		}
		if err := os.Mkdir(g.folder(*h), 0o700); err != nil {
			return g, err
		}
		if strings.Contains(h.controllers, "cpuset") {
			err = errors.Join(err, inherit(h.folder, g.folder(*h), "cpuset.cpus"), inherit(h.folder, g.folder(*h), "cpuset.mems"))
		}
	}
	return g, err
}

func (g group) folder(h hierarchy) string { return filepath.Join(h.folder, g.name) }

// inherit copies a setting without which a cpuset takes no process.
func inherit(from, to, name string) error {
	data, err := os.ReadFile(filepath.Join(from, name))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(to, name), data, 0o600) //nolint:gosec // below the cgroup that was just made
}

// unifiedRoot is where the hierarchy of a folder is mounted.
func unifiedRoot(folder string) string {
	for {
		var above unix.Statfs_t
		parent := filepath.Dir(folder)
		if err := unix.Statfs(parent, &above); err != nil || above.Type != unix.CGROUP2_SUPER_MAGIC {
			return folder
		}
		folder = parent
	}
}

// hold runs f with this process in the group, and takes it out again: what f
// starts is in the group from its first moment.
func (g group) hold(f func() error) error {
	for _, h := range g.within {
		if err := enterGroup(g.folder(h)); err != nil {
			return err
		}
	}
	err := f()
	for _, h := range g.within {
		err = errors.Join(err, enterGroup(h.folder))
	}
	return err
}

// enterGroup moves this process.
func enterGroup(folder string) error {
	return os.WriteFile(filepath.Join(folder, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0o600)
}

// How long the kernel may take to let go of groups whose processes have ended,
// and how often it is asked.
const (
	removeLimit = 10 * time.Second
	removePause = 10 * time.Millisecond
)

// remove removes the group with all that is below it. It waits for processes that
// are about to end.
func (g group) remove() error {
	limit := time.NewTimer(removeLimit)
	defer limit.Stop()
	pause := time.NewTicker(removePause)
	defer pause.Stop()
	for {
		var failed error
		for _, h := range g.within {
			failed = errors.Join(failed, removeFolders(g.folder(h)))
		}
		if failed == nil {
			return nil
		}
		select {
		case <-limit.C:
			return fmt.Errorf("cannot remove cgroups: %w", failed)
		case <-pause.C:
		}
	}
}

// removeFolders removes the folders, deepest first: a cgroup's files cannot be
// removed, and go with it.
func removeFolders(top string) error {
	var folders []string
	err := filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && entry.IsDir() {
			folders = append(folders, path)
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, folder := range slices.Backward(folders) {
		if err := unix.Rmdir(folder); err != nil && !errors.Is(err, unix.ENOENT) {
			return &fs.PathError{Op: "rmdir", Path: folder, Err: err}
		}
	}
	return nil
}

// groupPrefix begins the names of all groups. What follows is who made it, so that
// a later machine can tell what a killed one left.
const groupPrefix = "aether-"

func groupName(pid int, machine string) string {
	return fmt.Sprintf("%s%d-%s-%s", groupPrefix, pid, birth(procOf(pid)), machine)
}

// birth is when a process was started, in clock ticks since boot; empty when there
// is none.
func birth(proc string) string {
	data, err := os.ReadFile(filepath.Join(proc, "stat"))
	if err != nil {
		return ""
	}
	// The second field is the program's name in parentheses, which may hold spaces.
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	const start = 19 // field 22 of proc_pid_stat(5)
	if len(fields) <= start {
		return ""
	}
	return fields[start]
}

// Sweep removes the groups of machines whose process was killed before it could.
func Sweep() error {
	within, err := hierarchies("/proc/self")
	if err != nil {
		return err
	}
	for _, h := range within {
		if h.controllers == "" && len(within) == 1 {
			h.folder = unifiedRoot(h.folder)
		}
		left, err := filepath.Glob(filepath.Join(h.folder, groupPrefix+"*"))
		if err != nil {
			return err
		}
		for _, folder := range left {
			parts := strings.SplitN(filepath.Base(folder), "-", 4) // aether-PID-BIRTH-NAME
			if len(parts) != 4 || birth("/proc/"+parts[1]) == parts[2] {
				continue
			}
			_ = removeFolders(folder) // one that is not empty yet is the next one's
		}
	}
	return nil
}
