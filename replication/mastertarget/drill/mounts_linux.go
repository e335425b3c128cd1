package drill

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// fsType names our file systems in the table of mounts.
const fsType = "failback-drill"

// mounted is a line of the table of mounts.
type mounted struct {
	minor  uint32 // of its device: the connection's number
	dir    string
	fsType string
	source string
}

// mounts reads the table of mounts, in the order of mounting: of several at one place the last is seen.
func mounts() ([]mounted, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("read the table of mounts: %w", err)
	}
	return parseMounts(b), nil
}

func parseMounts(b []byte) (all []mounted) {
	for line := range bytes.Lines(b) {
		before, after, found := strings.Cut(string(line), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !found || len(left) < 5 || len(right) < 2 {
			continue
		}
		_, minor, _ := strings.Cut(left[2], ":")
		n, _ := strconv.ParseUint(minor, 10, 32)
		all = append(all, mounted{uint32(n), unescape(left[4]), right[0], unescape(right[1])})
	}
	return all
}

// unescape puts back what the kernel wrote as an octal number: blanks and the like.
func unescape(s string) string {
	var out []byte
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				out = append(out, byte(n))
				i += 3
				continue
			}
		}
		out = append(out, s[i])
	}
	return string(out)
}

// top returns what is seen at dir, if anything is mounted there.
func top(all []mounted, dir string) (m mounted, ok bool) {
	for _, one := range all {
		if one.dir == dir {
			m, ok = one, true
		}
	}
	return m, ok
}

// ours says whether m is the mount of the drill of that name.
func (m mounted) ours(source string) bool { return m.fsType == "fuse."+fsType && m.source == source }

// Clean takes away the mounts of a drill whose process has gone, wherever they are; who still uses one gets errors. To clean what is not there is no error.
func Clean(source string) error {
	all, err := mounts()
	if err != nil {
		return err
	}
	for i := len(all) - 1; i >= 0; i-- {
		m := all[i]
		if !m.ours(source) {
			continue
		}
		if seen, _ := top(all[:i+1], m.dir); seen != m {
			continue
		}
		if above, _ := top(all, m.dir); above != m {
			return fmt.Errorf("unmount %s: %s is mounted above it", m.dir, above.source)
		}
		if err := detach(m.dir); err != nil {
			return err
		}
		all = append(all[:i:i], all[i+1:]...)
	}
	return nil
}

// detach cuts the connection of a FUSE file system, and takes it out of sight even if it is in use.
func detach(dir string) error {
	if err := unix.Unmount(dir, unix.MNT_FORCE|unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		return &os.PathError{Op: "unmount", Path: dir, Err: err}
	}
	return nil
}

const connections = "/sys/fs/fuse/connections"

// abort cuts a connection that is not mounted any more, but still in use.
func abort(minor uint32) error {
	path := filepath.Join(connections, strconv.FormatUint(uint64(minor), 10), "abort")
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) { // not every system has it mounted
		_ = unix.Mount("fusectl", connections, "fusectl", 0, "")
	}
	return os.WriteFile(path, []byte("1"), 0)
}

// users names who uses files below dir, as well as can be told: loop devices, and processes.
func users(dir string) (by []string) {
	below := func(path string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }
	loops, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, name := range loops {
		if b, err := os.ReadFile(name); err == nil && below(strings.TrimSpace(string(b))) {
			by = append(by, "/dev/"+strings.Split(name, "/")[3])
		}
	}
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	cwds, _ := filepath.Glob("/proc/[0-9]*/cwd")
	seen := map[string]bool{}
	for _, link := range append(links, cwds...) {
		to, err := os.Readlink(link)
		pid := strings.Split(link, "/")[2]
		if err != nil || !below(to) || seen[pid] {
			continue
		}
		seen[pid] = true
		name, _ := os.ReadFile("/proc/" + pid + "/comm")
		by = append(by, fmt.Sprintf("%s (process %s)", strings.TrimSpace(string(name)), pid))
	}
	return by
}
