package vpn

import (
	"container/heap"
	"math/rand/v2"
	"os"
	"sync"
	"time"
)

// Count is what has gone one way.
type Count struct {
	Packets, Bytes int64 // that came in, and their whole length
	Payload        int64 // of TCP, what was sent again included
	Again          int64 // of Payload: sent again by TCP
	Lost           int64 // packets: by chance, by the queue, by their size, or swallowed
}

// packet waits for its time.
type packet struct {
	due   time.Duration // since the link was opened
	order int64
	data  []byte // with the virtio header, where there is one
}

type packets []packet

func (h packets) Len() int { return len(h) }
func (h packets) Less(i, j int) bool {
	return h[i].due < h[j].due || h[i].due == h[j].due && h[i].order < h[j].order
}
func (h packets) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *packets) Push(x any)   { *h = append(*h, x.(packet)) }
func (h *packets) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}

// way is one direction of the link.
type way struct {
	link     *VPN
	from, to *os.File
	back     *way // the other direction: where refusals go

	mu     sync.Mutex
	news   chan struct{} // holds one when something earlier than all else has come
	wait   packets
	orders int64
	busy   time.Duration // until then, the rate is used by what came before
	count  Count
	random *rand.Rand
}

const maxPacket = 64<<10 + virtioHeader

var buffers = sync.Pool{New: func() any { b := make([]byte, maxPacket); return &b }}

// take reads packets and gives each its time, until the device is closed.
func (w *way) take() {
	for {
		b := *buffers.Get().(*[]byte)
		n, err := w.from.Read(b[:maxPacket])
		if err != nil {
			return
		}
		w.put(b[:n])
	}
}

// put decides what becomes of a packet. It takes the packet over.
func (w *way) put(b []byte) {
	at := w.link.since()
	line := w.link.line.Load()
	ip := b[w.link.header:]
	t, isTCP := parse(ip)
	var f *flow
	if isTCP {
		f = w.link.flow(t)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count.Packets++
	w.count.Bytes += int64(len(ip))
	if isTCP {
		w.count.Payload += int64(t.payload)
		w.count.Again += f.again(t)
	}
	if isTCP && t.flags&flagSYN == 0 && f.forgotten.Load() {
		w.count.Lost++
		if f.refused.Load() && t.flags&flagRST == 0 {
			go w.back.send(at+line.RTT, append(make([]byte, w.link.header), t.refusal()...))
		}
		w.drop(b)
		return
	}
	start := max(at, w.busy)
	if w.link.swallow.Load() || line.Blackhole > 0 && len(ip) > line.Blackhole || line.Loss > 0 && w.random.Float64() < line.Loss ||
		line.Rate > 0 && int64((start-at).Seconds()*float64(line.Rate)) > line.queue() {
		w.count.Lost++
		w.drop(b)
		return
	}
	if line.Rate > 0 {
		w.busy = start + time.Duration(float64(len(ip))/float64(line.Rate)*float64(time.Second))
		start = w.busy
	}
	due := start + line.RTT/2
	if isTCP {
		due += line.Stall.until(f.number, at)
	}
	w.pushLocked(due, b)
}

// send puts a packet of the link's own on its way.
func (w *way) send(due time.Duration, b []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pushLocked(due, b)
}

func (w *way) pushLocked(due time.Duration, b []byte) {
	w.orders++
	heap.Push(&w.wait, packet{due, w.orders, b})
	if w.wait[0].order == w.orders {
		select {
		case w.news <- struct{}{}:
		default:
		}
	}
}

func (w *way) drop(b []byte) {
	if cap(b) == maxPacket {
		buffers.Put(&b)
	}
}

// give writes packets when their time has come, until the link is closed.
func (w *way) give() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		var b []byte
		next := time.Hour
		w.mu.Lock()
		if len(w.wait) > 0 {
			if next = w.wait[0].due - w.link.since(); next <= 0 {
				b = heap.Pop(&w.wait).(packet).data
			}
		}
		w.mu.Unlock()
		if b != nil {
			if !w.link.swallow.Load() {
				_, _ = w.to.Write(b) // a device that is down, or has no room, loses packets too
			}
			w.drop(b)
			continue
		}
		timer.Reset(next)
		select {
		case <-timer.C:
		case <-w.news:
		case <-w.link.closed:
			return
		}
	}
}

func (w *way) counted() Count {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.count
}
