package transport

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc/backoff"

	failbackpb "failback/proto"
	"failback/replication"
	"failback/replication/link"
)

// Version of the replication protocol, see package link.
const (
	ProtocolMajor = link.ProtocolMajor
	ProtocolMinor = link.ProtocolMinor
)

// Settings of every connection. They bound memory: a lane holds at most laneWindow received and not yet taken.
const (
	laneWindow   = 16 << 20 // bytes in flight on one lane: 1 Gbit/s at 120 ms
	socketBuffer = 32 << 10 // bytes gathered for one write, or read at once: what lies in the cache when it is encrypted, and copied
)

// A peer that is silent for keepaliveEvery is asked for a sign of life, and given up when none comes within keepaliveWait; so is one that does not acknowledge what
// it was sent (TCP_USER_TIMEOUT). Where a limit may hold back what is asked with, or the answer, gRPC is not the one that gives up (vigil). With gRPC's own delays a dead peer is found within 20 s whatever the network does with our packets.
// 10 s is the least that gRPC lets a client ask.
const (
	keepaliveEvery = 10 * time.Second
	keepaliveWait  = 7 * time.Second
)

// redial is how a lane's connection is tried again. Process servers that lost their master target do not come back all at once.
var redial = backoff.Config{BaseDelay: 500 * time.Millisecond, Multiplier: 1.6, Jitter: 0.5, MaxDelay: 10 * time.Second}

// extentsPerMessage bounds the extents in one CoverageReply or CompareRequest.
const extentsPerMessage = 4096

func fenceToWire(f link.Fence) *failbackpb.Fence {
	return &failbackpb.Fence{Group: string(f.Group), Generation: uint64(f.Generation), Session: f.ID, Point: uint64(f.Point)}
}

func fenceFromWire(f *failbackpb.Fence) link.Fence {
	return link.Fence{
		Session: replication.Session{Group: replication.GroupID(f.GetGroup()), Generation: replication.Generation(f.GetGeneration()), ID: f.GetSession()},
		Point:   replication.PointID(f.GetPoint()),
	}
}

func extentsToWire(x []replication.Extent) []uint64 {
	v := make([]uint64, 0, 2*len(x))
	for _, e := range x {
		v = append(v, uint64(e.Off), uint64(e.End))
	}
	return v
}

// extentsFromWire checks what the peer says: pairs, rising, within any disk.
func extentsFromWire(v []uint64) ([]replication.Extent, error) {
	if len(v)%2 != 0 || len(v) > 2*extentsPerMessage {
		return nil, fmt.Errorf("%d numbers are not at most %d extents", len(v), extentsPerMessage)
	}
	x := make([]replication.Extent, 0, len(v)/2)
	last := uint64(0)
	for i := 0; i < len(v); i += 2 {
		if v[i] < last || v[i+1] <= v[i] || v[i+1] > replication.MaxDiskSize {
			return nil, fmt.Errorf("extent [%d,%d) after %d", v[i], v[i+1], last)
		}
		last = v[i+1]
		x = append(x, replication.Extent{Off: int64(v[i]), End: int64(v[i+1])})
	}
	return x, nil
}

func specToWire(s link.Spec) *failbackpb.GroupSpec {
	g := &failbackpb.GroupSpec{Group: string(s.Session.Group), Generation: uint64(s.Session.Generation), Session: s.Session.ID, Instance: s.Instance}
	for _, d := range s.Disks {
		g.Disks = append(g.Disks, &failbackpb.SourceDisk{
			No: uint32(d.Disk.No), Id: string(d.Disk.ID), Size: d.Disk.Size,
			Path: d.Path, Snapshot: d.Snapshot, Release: d.Release, Changes: d.Changes,
		})
	}
	for _, q := range s.Quiesce {
		g.Quiesce = append(g.Quiesce, &failbackpb.Quiesce{Machine: q.Machine, Freeze: q.Freeze, Thaw: q.Thaw, TimeoutNanos: int64(q.Timeout)})
	}
	return g
}

// specFromWire checks the names, which become file names of the process server's state.
func specFromWire(g *failbackpb.GroupSpec) (link.Spec, error) {
	s := link.Spec{Session: replication.Session{Group: replication.GroupID(g.GetGroup()), Generation: replication.Generation(g.GetGeneration()), ID: g.GetSession()}, Instance: g.GetInstance()}
	if err := replication.ValidName(g.GetGroup()); err != nil {
		return s, fmt.Errorf("group: %w", err)
	}
	if len(g.Disks) == 0 || len(g.Disks) > replication.MaxDisks {
		return s, fmt.Errorf("group %s has %d disks, want 1 to %d", g.Group, len(g.Disks), replication.MaxDisks)
	}
	for i, d := range g.Disks {
		if int(d.No) != i {
			return s, fmt.Errorf("group %s: disk %d in place %d", g.Group, d.No, i)
		}
		if d.Size < 0 || d.Size > replication.MaxDiskSize {
			return s, fmt.Errorf("group %s: disk %d has %d bytes", g.Group, d.No, d.Size)
		}
		s.Disks = append(s.Disks, link.Source{
			Disk: replication.Disk{No: replication.DiskNo(d.No), ID: replication.DiskID(d.Id), Size: d.Size},
			Path: d.Path, Snapshot: d.Snapshot, Release: d.Release, Changes: d.Changes,
		})
	}
	if len(g.Quiesce) > replication.MaxDisks {
		return s, fmt.Errorf("group %s has commands for %d machines, want at most %d", g.Group, len(g.Quiesce), replication.MaxDisks)
	}
	for _, q := range g.Quiesce {
		if err := replication.ValidName(q.Machine); err != nil {
			return s, fmt.Errorf("machine: %w", err)
		}
		s.Quiesce = append(s.Quiesce, replication.Quiesce{Machine: q.Machine, Freeze: q.Freeze, Thaw: q.Thaw, Timeout: max(time.Second, time.Duration(q.TimeoutNanos))}) // less would keep thaw from running
	}
	return s, nil
}

func repairToWire(s link.Spec, r link.Repair) *failbackpb.RepairOrder {
	o := &failbackpb.RepairOrder{Group: specToWire(s), Point: uint64(r.Point), Snapshot: r.Snapshot}
	for _, d := range slices.Sorted(maps.Keys(r.Extents)) {
		o.Disks = append(o.Disks, &failbackpb.RepairDisk{No: uint32(d), Extents: extentsToWire(r.Extents[d])})
	}
	return o
}

func repairFromWire(o *failbackpb.RepairOrder) (link.Repair, error) {
	r := link.Repair{Point: replication.PointID(o.Point), Snapshot: o.Snapshot, Extents: map[replication.DiskNo][]replication.Extent{}}
	n := 0
	for _, d := range o.Disks {
		x, err := extentsFromWire(d.Extents)
		if err != nil {
			return r, fmt.Errorf("repair disk %d: %w", d.No, err)
		}
		if n += len(x); n > link.MaxRepair {
			return r, fmt.Errorf("repair of %d extents, at most %d", n, link.MaxRepair)
		}
		r.Extents[replication.DiskNo(d.No)] = x
	}
	return r, nil
}

func hashesToWire(h []replication.Hash) []byte {
	b := make([]byte, 0, 16*len(h))
	for i := range h {
		b = append(b, h[i][:]...)
	}
	return b
}

func hashesFromWire(b []byte) ([]replication.Hash, error) {
	if len(b)%16 != 0 {
		return nil, fmt.Errorf("%d bytes are not whole hashes", len(b))
	}
	h := make([]replication.Hash, len(b)/16)
	for i := range h {
		h[i] = replication.Hash(b[16*i:])
	}
	return h, nil
}

func progressToWire(l replication.Progress) *failbackpb.Progress {
	p := &failbackpb.Progress{Link: linkToWire(&l.Link)}
	for _, d := range l.Disks {
		p.Disks = append(p.Disks, ledgerToWire(d))
	}
	for _, n := range l.Queue {
		p.Queue = append(p.Queue, uint32(n))
	}
	return p
}

func progressFromWire(p *failbackpb.Progress) (l replication.Progress) {
	for _, d := range atMost(replication.MaxDisks, p.GetDisks()) {
		l.Disks = append(l.Disks, ledgerFromWire(d))
	}
	for _, n := range atMost(replication.MaxDisks, p.GetQueue()) {
		l.Queue = append(l.Queue, int(n))
	}
	if x := linkFromWire(p.GetLink()); x != nil {
		l.Link = *x
	}
	return l
}

func figuresToWire(f replication.Figures) *failbackpb.Figures {
	return &failbackpb.Figures{Cpu: f.CPU, Memory: f.Memory, StateFree: f.StateFree, StateTotal: f.StateTotal, Shipping: int64(f.Shipping), UnixNanos: nanos(f.Clock), Frozen: f.Frozen}
}

// maxFrozen bounds the machines that a process server may tell of.
const maxFrozen = 1000

// figuresFromWire takes them as of now. What is no share is not known.
func figuresFromWire(f *failbackpb.Figures) *replication.Figures {
	share := func(v float64) float64 {
		if v >= 0 && v <= 1 {
			return v
		}
		return -1
	}
	n := &replication.Figures{Time: time.Now().UTC(), CPU: share(f.GetCpu()), Memory: share(f.GetMemory()), Shipping: int(f.GetShipping())}
	n.Clock = timeOf(f.GetUnixNanos())
	for _, m := range atMost(maxFrozen, f.GetFrozen()) {
		n.Frozen = append(n.Frozen, told(m, 4*maxWord))
	}
	if f.GetStateFree() >= 0 && f.GetStateFree() <= f.GetStateTotal() {
		n.StateFree, n.StateTotal = f.GetStateFree(), f.GetStateTotal()
	}
	return n
}

func spentToWire(s replication.Spent) *failbackpb.Spent {
	return &failbackpb.Spent{Read: int64(s.Read), Hash: int64(s.Hash), Compress: int64(s.Compress), Send: int64(s.Send), Target: int64(s.Target)}
}

func spentFromWire(s *failbackpb.Spent) replication.Spent {
	return replication.Spent{
		Read: time.Duration(counted(s.GetRead())), Hash: time.Duration(counted(s.GetHash())), Compress: time.Duration(counted(s.GetCompress())), Send: time.Duration(counted(s.GetSend())), Target: time.Duration(counted(s.GetTarget())),
	}
}
