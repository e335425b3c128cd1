package blockio

import (
	"os"
	"sync"
)

const (
	// earlyWindow is how much is written, side by side, before its write-back is started.
	earlyWindow = 8 << 20
	// earlyWindows bounds how many windows are watched at once: the number of streams that are written side by side.
	earlyWindows = 32
)

// writeback starts the write-back of what was written in bulk, so that the disk is busy while the next bytes arrive and the
// final sync finds little left. Windows that are not filled completely, as under random writes, are left to the kernel; so are block devices,
// where it made writes of a loop device a tenth slower.
//
// It is a hint. Its errors are not looked at: starting write-back does not consume the error that the next sync reports.
type writeback struct {
	mu      sync.Mutex
	windows [earlyWindows]struct{ index, filled int64 }
}

func (w *writeback) wrote(f *os.File, off, n int64) {
	for n > 0 {
		index := off / earlyWindow
		k := min(n, (index+1)*earlyWindow-off)
		if w.fill(index, k) {
			startWriteback(f, index*earlyWindow, earlyWindow)
		}
		off, n = off+k, n-k
	}
}

// fill reports whether the window is full now. A window that comes back to a slot in use by another takes it over.
func (w *writeback) fill(index, n int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	slot := &w.windows[index%earlyWindows]
	if slot.index != index {
		slot.index, slot.filled = index, 0
	}
	slot.filled += n
	if slot.filled < earlyWindow {
		return false
	}
	slot.filled = 0
	return true
}
