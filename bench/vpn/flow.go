package vpn

import (
	"net/netip"
	"sync"
	"sync/atomic"
)

// ends names a connection, by the end that dialled it first.
type ends struct{ a, b netip.AddrPort }

// flow is one connection.
type flow struct {
	number    int         // by the order in which the namespace dialled them; -1: it did not
	forgotten atomic.Bool // what stands between does not know it any more
	refused   atomic.Bool // and says so

	mu   sync.Mutex
	next map[netip.AddrPort]uint32 // by sender: the first byte that it has not sent yet
}

// again returns how many bytes of a packet had been sent before.
func (f *flow) again(t tcp) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	end := t.seq + uint32(t.payload)
	if t.flags&(flagSYN|flagFIN) != 0 {
		end++
	}
	next, known := f.next[t.from]
	fresh := int32(end - next)
	if !known || fresh > 0 {
		f.next[t.from] = end
	}
	if !known || t.payload == 0 {
		return 0
	}
	return int64(t.payload) - int64(max(0, min(int(fresh), t.payload)))
}

// flow returns the connection that a packet belongs to.
func (v *VPN) flow(t tcp) *flow {
	v.mu.Lock()
	defer v.mu.Unlock()
	if f := v.flows[ends{t.to, t.from}]; f != nil {
		return f
	}
	f := v.flows[ends{t.from, t.to}]
	if f == nil || t.flags&(flagSYN|flagACK) == flagSYN && f.forgotten.Load() { // the same ports again
		f = &flow{number: -1, next: map[netip.AddrPort]uint32{}}
		if t.from.Addr().String() == v.Far() {
			f.number = v.dialled
			v.dialled++
		}
		v.flows[ends{t.from, t.to}] = f
	}
	return f
}

// Forget makes what stands between the ends forget all connections that there are. Their packets vanish, or are answered with a reset to whoever sends one.
func (v *VPN) Forget(reset bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, f := range v.flows {
		f.refused.Store(reset)
		f.forgotten.Store(true)
	}
}
