package report

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Machine is where a report was made.
type Machine struct {
	CPU     string `json:"cpu"`
	Cores   int    `json:"cores"`
	Memory  int64  `json:"memory_bytes"`
	OS      string `json:"os"`
	Kernel  string `json:"kernel"`
	Storage string `json:"storage"` // of the work directory: file system and device
	Load    string `json:"load"`    // averages at the start: what else ran
}

// MachineAt describes this machine, and the file system that dir is on. What cannot be found out is left empty.
func MachineAt(dir string) Machine {
	m := Machine{Cores: runtime.NumCPU(), CPU: field("/proc/cpuinfo", "model name")}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		m.Memory = int64(info.Totalram) * int64(info.Unit)
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
	}
	if load, err := os.ReadFile("/proc/loadavg"); err == nil && len(bytes.Fields(load)) > 3 {
		m.Load = string(bytes.Join(bytes.Fields(load)[:3], []byte(" ")))
	}
	if release, err := os.ReadFile("/etc/os-release"); err == nil {
		for line := range strings.Lines(string(release)) {
			if name, ok := strings.CutPrefix(line, "PRETTY_NAME="); ok {
				m.OS = strings.Trim(strings.TrimSpace(name), `"`)
			}
		}
	}
	m.Storage = Storage(dir)
	return m
}

// Storage returns the file system that dir is on, with its device.
func Storage(dir string) string {
	fs, device := mountOf(dir)
	return fs + " on " + device
}

// field returns the first value of a key in a file of "key : value" lines.
func field(path, key string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// mountOf returns the type and the device of the file system that dir is on: of the longest mount point above it.
func mountOf(dir string) (fs, device string) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", ""
	}
	f, err := os.Open("/proc/self/mounts")
	if err != nil {
		return "", ""
	}
	defer f.Close()
	longest := -1
	for lines := bufio.NewScanner(f); lines.Scan(); {
		at := strings.Fields(lines.Text())
		if len(at) < 3 {
			continue
		}
		point := strings.TrimSuffix(at[1], "/")
		if (dir == point || strings.HasPrefix(dir, point+"/")) && len(point) >= longest {
			longest, device, fs = len(point), at[0], at[2]
		}
	}
	return fs, device
}

// MachineCPU returns the seconds that all cores have been busy since boot, whoever they worked for.
func MachineCPU() (float64, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(b), "\n")
	f := strings.Fields(line)
	if len(f) < 9 || f[0] != "cpu" {
		return 0, fmt.Errorf("/proc/stat begins with %q", line)
	}
	const idle, iowait = 4, 5 // proc(5); steal, the last one used, is time that this machine wanted and did not get
	var ticks int64
	for i, v := range f[1:9] {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/stat: %w", err)
		}
		if i+1 != idle && i+1 != iowait {
			ticks += n
		}
	}
	return float64(ticks) / 100, nil
}
