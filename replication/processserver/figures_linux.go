package processserver

import (
	"bufio"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// usedMemory returns the share of the machine's memory that is not available to programs; -1: not known.
func usedMemory() float64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return -1
	}
	defer f.Close()
	var total, available, n float64
	for lines := bufio.NewScanner(f); lines.Scan() && (total == 0 || available == 0); {
		if _, err := fmt.Sscanf(lines.Text(), "MemTotal: %f kB", &n); err == nil {
			total = n
		} else if _, err := fmt.Sscanf(lines.Text(), "MemAvailable: %f kB", &n); err == nil {
			available = n
		}
	}
	if total <= 0 || available > total {
		return -1
	}
	return 1 - available/total
}

// volumeSpace returns what is free on a directory's volume, and its size, in bytes; zeros: not known.
func volumeSpace(dir string) (free, total int64) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, 0
	}
	return int64(s.Bavail) * s.Bsize, int64(s.Blocks) * s.Bsize
}
