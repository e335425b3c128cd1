package mastertarget

import "sync"

// newBufferPool returns a pool of *[]byte of the given size.
func newBufferPool(size int) *sync.Pool {
	return &sync.Pool{New: func() any { b := make([]byte, size); return &b }}
}
