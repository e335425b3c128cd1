//go:build !linux

package processserver

// usedMemory is not known here.
func usedMemory() float64 { return -1 }

// volumeSpace is not known here.
func volumeSpace(string) (free, total int64) { return 0, 0 }
