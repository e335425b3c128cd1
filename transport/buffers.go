package transport

import "sync"

// receiveBufferSize is the length of what the wire carries at a time: HTTP/2 frames of gRPC, which are the length of a TLS record at most.
const receiveBufferSize = 16 << 10

// directMost is the length up to which gRPC makes a buffer of its own for what it receives.
const directMost = 1 << 10

// bufferSizes are the lengths of the buffers that are lent: of each, at least half is used. Who sends many small frames has the memory that it sends bytes for, and no more than that again.
var bufferSizes = [...]int{2 << 10, 4 << 10, 8 << 10, receiveBufferSize}

// wireBuffers lends gRPC the buffers that it receives into. Its own pool clears each before it is written over: a twentieth of all that receiving costs.
type wireBuffers [len(bufferSizes)]sync.Pool

var received = newWireBuffers()

func newWireBuffers() *wireBuffers {
	w := &wireBuffers{}
	for i, n := range bufferSizes {
		w[i].New = func() any { b := make([]byte, n); return &b }
	}
	return w
}

// Get implements mem.BufferPool: with any content.
func (w *wireBuffers) Get(n int) *[]byte {
	for i, size := range bufferSizes {
		if n <= size {
			b := w[i].Get().(*[]byte)
			*b = (*b)[:n]
			return b
		}
	}
	b := make([]byte, n)
	return &b
}

// Put implements mem.BufferPool.
func (w *wireBuffers) Put(b *[]byte) {
	for i, size := range bufferSizes {
		if cap(*b) == size {
			w[i].Put(b)
			return // it may be another's by now
		}
	}
}
