package volume

import (
	"bufio"
	"bytes"
	"fmt"
	"path"
	"strconv"
	"strings"
)

// Mount is one mounted file system, or a part of one.
type Mount struct {
	ID, Parent int    // Parent is the mount that its path lies in
	FS         string // names the file system: equal for all mounts of one
	Root       string // what of the file system is mounted: "/" for all of it; a folder for a bind mount or subvolume
	Path       string // where
	Type       string // of the file system, as mount(8) names it
	Device     string // what holds it: a device, a server's export, or any word
	Options    string // of the mount and of the file system, separated by commas
	ReadOnly   bool
	Hidden     bool // another one is mounted over it
}

// has says whether the option is among those of the mount or its file system.
func (m Mount) has(option string) bool {
	for o := range strings.SplitSeq(m.Options, ",") {
		if o == option {
			return true
		}
	}
	return false
}

// Table is what is mounted, in the order of the system's list.
type Table []Mount

// ParseMountinfo reads the text of /proc/PID/mountinfo (proc_pid_mountinfo(5)).
func ParseMountinfo(text []byte) (Table, error) {
	var t Table
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20) // an overlay of many layers has long options
	for lines.Scan() {
		m, err := parseMount(lines.Text())
		if err != nil {
			return nil, err
		}
		t = append(t, m)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("mountinfo: %w", err)
	}
	for i, m := range t {
		at, ok := t.At(m.Path)
		t[i].Hidden = !ok || at.ID != m.ID
	}
	return t, nil
}

// parseMount reads a line such as
//
//	36 35 98:0 /mnt1 /mnt/parent rw,noatime master:1 - ext3 /dev/root rw,errors=continue
//
// with any number of fields before the dash.
func parseMount(line string) (Mount, error) {
	bad := func(what string) (Mount, error) { return Mount{}, fmt.Errorf("mountinfo: %s in line %q", what, line) }
	f := strings.Split(line, " ")
	if len(f) < 7 {
		return bad("too few fields")
	}
	dash := 6
	for dash < len(f) && f[dash] != "-" {
		dash++
	}
	if len(f) < dash+4 {
		return bad("too few fields after the dash")
	}
	id, err := strconv.Atoi(f[0])
	if err != nil {
		return bad("no mount id")
	}
	parent, err := strconv.Atoi(f[1])
	if err != nil {
		return bad("no parent id")
	}
	own, super := f[5], f[dash+3]
	m := Mount{
		ID: id, Parent: parent, FS: f[2], Root: unescape(f[3]), Path: unescape(f[4]), Type: unescape(f[dash+1]), Device: unescape(f[dash+2]), Options: own + "," + super,
	}
	m.ReadOnly = m.has("ro")
	return m, nil
}

// unescape turns \040 and the like into the byte they stand for.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// At returns the mount that a path without symbolic links lies on: it goes down the path as the kernel does, and enters at each step what is mounted there, and what
// is mounted over that.
func (t Table) At(p string) (Mount, bool) {
	at, ok := t.top()
	if !ok {
		return Mount{}, false
	}
	at = t.over(at, "/")
	rest := strings.TrimPrefix(path.Clean("/"+p), "/")
	for here := ""; rest != ""; {
		var step string
		step, rest, _ = strings.Cut(rest, "/")
		here += "/" + step
		at = t.over(at, here)
	}
	return at, true
}

// top returns the mount at the root whose parent is not in the table.
func (t Table) top() (Mount, bool) {
	known := make(map[int]bool, len(t))
	for _, m := range t {
		known[m.ID] = true
	}
	for _, m := range t {
		if m.Path == "/" && (!known[m.Parent] || m.Parent == m.ID) {
			return m, true
		}
	}
	return Mount{}, false
}

// over returns what covers the place p of the mount at, or at itself.
func (t Table) over(at Mount, p string) Mount {
	for range t { // no chain of mounts is longer than the table
		next := at
		for _, m := range t {
			if m.Parent == at.ID && m.Path == p && m.ID != at.ID {
				next = m
			}
		}
		if next.ID == at.ID {
			break
		}
		at = next
	}
	return at
}
