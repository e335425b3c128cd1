package transport

import "sync"

// receiveBufferSize is the length of what the wire carries at a time: HTTP/2 frames of gRPC, which are the length of a TLS record at most.
const receiveBufferSize = 16 << 10

// wireBuffers lends gRPC the buffers that it receives into. Its own pool clears each before it is written over: a twentieth of all that receiving costs.
type wireBuffers struct{ pool sync.Pool }

var received = &wireBuffers{sync.Pool{New: func() any { b := make([]byte, receiveBufferSize); return &b }}}

// Get implements mem.BufferPool: with any content.
func (w *wireBuffers) Get(n int) *[]byte {
	if n > receiveBufferSize {
		b := make([]byte, n)
		return &b
	}
	b := w.pool.Get().(*[]byte)
	*b = (*b)[:n]
	return b
}

// Put implements mem.BufferPool.
func (w *wireBuffers) Put(b *[]byte) {
	if cap(*b) == receiveBufferSize {
		w.pool.Put(b)
	}
}
