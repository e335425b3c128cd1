// Package machine looks at the Linux machine that it runs on: which disks are attached to it and by what, what lies below a file or device, and whether it is a virtual machine of VMware's with its tools. All of it
// is read from files (/sys, /proc, /dev/disk/by-id) below a root that can be another one than /, and nothing is judged here.
//
// What VMware shows of itself is after its public documents; no real one was seen.
package machine

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"failback/blockio"
)

// Machine is what was seen.
type Machine struct {
	Vendor      string // of the machine, as its firmware says; "": not told
	Tools       Tools  // VMware's, or open-vm-tools
	Controllers []Controller
	Disks       []Disk // whole ones that are attached, by name; one for all paths to the same
}

// Tools says how the daemon vmtoolsd stands.
type Tools string

// The states of tools.
const (
	ToolsAbsent  Tools = "absent"
	ToolsStopped Tools = "stopped" // installed
	ToolsRunning Tools = "running"
)

// Controller is a SCSI host.
type Controller struct {
	Name   string // host2
	Driver string // vmw_pvscsi, mptspi, …
}

// Disk is a whole disk, of a kind that is attached to a machine: no loop device, no volume of LVM.
type Disk struct {
	Name   string // sda
	Number string // 8:0
	Serial string // 32 hexadecimal digits, those of a VMDK's UUID; "": the machine does not show it
}

// Layer is a block device below a file, a volume or a device.
type Layer struct {
	Name string // dm-0
	LVM  string // VG-LV, as the device mapper names it; "": it is none of LVM's
}

// VMware says whether it is a virtual machine of VMware's.
func (m *Machine) VMware() bool { return strings.HasPrefix(m.Vendor, "VMware") }

// Driven counts the controllers of these drivers.
func (m *Machine) Driven(drivers ...string) (n int) {
	for _, c := range m.Controllers {
		if slices.Contains(drivers, c.Driver) {
			n++
		}
	}
	return n
}

// attached are the names of whole disks.
var attached = regexp.MustCompile(`^(sd[a-z]+|vd[a-z]+|xvd[a-z]+|hd[a-z]|nvme\d+n\d+)$`)

// Look looks at the machine whose files lie below root. What is not there, or can't be read, is not known: no error.
func Look(root string) Machine {
	m := Machine{Vendor: read(root, "sys/class/dmi/id/sys_vendor"), Tools: tools(root)}
	hosts, _ := filepath.Glob(filepath.Join(root, "sys/class/scsi_host/*")) // the pattern is a good one
	for _, h := range hosts {
		name := filepath.Base(h)
		m.Controllers = append(m.Controllers, Controller{name, read(root, "sys/class/scsi_host", name, "proc_name")})
	}
	shown := serials(root)
	paths := map[string]bool{} // by the uuid of the multipath device that is made of them: one is seen
	blocks, _ := os.ReadDir(filepath.Join(root, "sys/block"))
	for _, b := range blocks {
		if !attached.MatchString(b.Name()) || read(root, "sys/block", b.Name(), "size") == "0" {
			continue
		}
		if of := multipath(filepath.Join(root, "sys/block", b.Name())); of != "" {
			if paths[of] {
				continue
			}
			paths[of] = true
		}
		d := Disk{Name: b.Name(), Number: read(root, "sys/block", b.Name(), "dev"), Serial: shown[b.Name()]}
		if naa, ok := strings.CutPrefix(read(root, "sys/block", b.Name(), "device/wwid"), "naa."); ok {
			d.Serial = blockio.SerialOfUUID(naa)
		}
		m.Disks = append(m.Disks, d)
	}
	return m
}

// serials returns the serial numbers that names below /dev/disk/by-id give to disks.
func serials(root string) map[string]string {
	all := map[string]string{}
	dir := filepath.Join(root, "dev/disk/by-id")
	names, _ := os.ReadDir(dir)
	for _, n := range names {
		for _, prefix := range []string{"wwn-0x", "scsi-3"} {
			serial, ok := strings.CutPrefix(n.Name(), prefix)
			if serial = blockio.SerialOfUUID(serial); !ok || serial == "" { // a partition has a suffix
				continue
			}
			if to, err := os.Readlink(filepath.Join(dir, n.Name())); err == nil {
				all[filepath.Base(to)] = serial
			}
		}
	}
	return all
}

func tools(root string) Tools {
	const daemon = "vmtoolsd"
	processes, _ := os.ReadDir(filepath.Join(root, "proc"))
	for _, p := range processes {
		if _, err := strconv.Atoi(p.Name()); err == nil && read(root, "proc", p.Name(), "comm") == daemon {
			return ToolsRunning
		}
	}
	for _, dir := range []string{"usr/bin", "usr/sbin"} {
		if _, err := os.Stat(filepath.Join(root, dir, daemon)); err == nil {
			return ToolsStopped
		}
	}
	return ToolsAbsent
}

// Below returns the device of a number ("8:1") and all that it is made of, from the top down: a partition's disk, a volume's disks. None where the number is of no block device, as that of an NFS, btrfs or tmpfs.
func Below(root, number string) (all []Layer) {
	dir, err := filepath.EvalSymlinks(filepath.Join(root, "sys/dev/block", number))
	if err != nil {
		return nil
	}
	return below(dir, nil)
}

func below(dir string, all []Layer) []Layer {
	name := filepath.Base(dir)
	if slices.ContainsFunc(all, func(l Layer) bool { return l.Name == name }) {
		return all
	}
	all = append(all, Layer{name, lvm(dir)})
	if _, err := os.Stat(filepath.Join(dir, "partition")); err == nil {
		return below(filepath.Dir(dir), all)
	}
	for _, to := range linked(filepath.Join(dir, "slaves")) {
		all = below(to, all)
	}
	return all
}

// Above returns what this machine has made of the device of a number, or of its partitions: volumes that LVM or others have activated on it.
func Above(root, number string) (all []Layer) {
	dir, err := filepath.EvalSymlinks(filepath.Join(root, "sys/dev/block", number))
	if err != nil {
		return nil
	}
	dirs := []string{dir}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if _, err := os.Stat(filepath.Join(dir, e.Name(), "partition")); err == nil {
			dirs = append(dirs, filepath.Join(dir, e.Name()))
		}
	}
	for _, d := range dirs {
		for _, to := range linked(filepath.Join(d, "holders")) {
			all = append(all, Layer{filepath.Base(to), lvm(to)})
		}
	}
	return all
}

// linked returns what the links in a directory lead to.
func linked(dir string) (all []string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if to, err := filepath.EvalSymlinks(filepath.Join(dir, e.Name())); err == nil {
			all = append(all, to)
		}
	}
	return all
}

// multipath names the multipath device that a disk is a path of; "": it is none.
func multipath(dir string) string {
	for _, h := range linked(filepath.Join(dir, "holders")) {
		if uuid := read(h, "dm/uuid"); strings.HasPrefix(uuid, "mpath-") {
			return uuid
		}
	}
	return ""
}

// lvm names the volume of LVM that a device is; "" for another.
func lvm(dir string) string {
	if !strings.HasPrefix(read(dir, "dm/uuid"), "LVM-") {
		return ""
	}
	return read(dir, "dm/name")
}

// read returns a small file's text, "" where there is none.
func read(path ...string) string {
	b, _ := os.ReadFile(filepath.Join(path...))
	return strings.TrimSpace(string(b))
}
