package blockio

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// crashStorage is a file in memory that remembers what was written and when it was synced, and can tell what a power cut at any
// moment may leave.
type crashStorage struct {
	b   []byte
	log []crashOp
}

type crashOp struct {
	kind byte // 'w' write, 'z' zero, 't' truncate, 's' sync
	off  int64
	b    []byte // 'w'
	n    int64  // 'z'
}

func (c *crashStorage) Name() string         { return "crash.vmdk" }
func (c *crashStorage) Size() (int64, error) { return int64(len(c.b)), nil }
func (c *crashStorage) Close() error         { return nil }

func (c *crashStorage) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(c.b).ReadAt(p, off)
}

func (c *crashStorage) do(op crashOp) {
	c.log = append(c.log, op)
	c.b = op.apply(c.b)
}

func (op crashOp) apply(b []byte) []byte {
	switch op.kind {
	case 'w':
		if end := int(op.off) + len(op.b); end > len(b) {
			b = append(b, make([]byte, end-len(b))...)
		}
		copy(b[op.off:], op.b)
	case 'z':
		if op.off < int64(len(b)) {
			clear(b[op.off:min(op.off+op.n, int64(len(b)))])
		}
	case 't':
		if int(op.off) > len(b) {
			return append(b, make([]byte, int(op.off)-len(b))...)
		}
		clear(b[op.off:]) // what grows back reads as zeros
		return b[:op.off]
	}
	return b
}

func (c *crashStorage) WriteAt(p []byte, off int64) (int, error) {
	c.do(crashOp{kind: 'w', off: off, b: bytes.Clone(p)})
	return len(p), nil
}

func (c *crashStorage) Zero(off, n int64) error   { c.do(crashOp{kind: 'z', off: off, n: n}); return nil }
func (c *crashStorage) Truncate(size int64) error { c.do(crashOp{kind: 't', off: size}); return nil }
func (c *crashStorage) Sync() error               { c.do(crashOp{kind: 's'}); return nil }

func (c *crashStorage) NextData(off, limit int64) (int64, int64, error) { return off, limit, nil }

// cut returns the file after a power cut behind the first k operations, starting from base: what was synced is there; of the rest,
// each sector of each operation is there or not.
func cut(base []byte, log []crashOp, k int, r *rand.Rand) *crashStorage {
	synced := 0
	for i, op := range log[:k] {
		if op.kind == 's' {
			synced = i
		}
	}
	b := bytes.Clone(base)
	for _, op := range log[:synced] {
		b = op.apply(b)
	}
	keepAll, keepNone := r.IntN(6) == 0, r.IntN(6) == 0
	for _, op := range log[synced:k] {
		if op.kind != 'w' {
			if keepAll || !keepNone && r.IntN(2) == 0 {
				b = op.apply(b)
			}
			continue
		}
		for at := int64(0); at < int64(len(op.b)); { // a sector is written whole or not at all
			n := min(SectorSize-(op.off+at)%SectorSize, int64(len(op.b))-at)
			if keepAll || !keepNone && r.IntN(2) == 0 {
				b = crashOp{kind: 'w', off: op.off + at, b: op.b[at : at+n]}.apply(b)
			}
			at += n
		}
	}
	return &crashStorage{b: b}
}

// sparseBytes is a new sparse extent as a file.
func sparseBytes(t *testing.T, size int64, id uint32) []byte {
	t.Helper()
	disk := newDisk{format: FormatMonolithicSparse, size: size, contentID: id, longID: newLongContentID(id), uuid: newUUID(),
		extents: []extentLine{{access: "RW", sectors: size / SectorSize, kind: "SPARSE", file: "crash.vmdk"}}}
	file, err := newSparseFile("crash.vmdk", size, disk.text())
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, file.size)
	for _, c := range file.content {
		copy(b[c.at:], c.b)
	}
	return b
}

// openCrashed opens what is in st as OpenTarget does a monolithicSparse file, without names and locks.
func openCrashed(st storage, resume ...uint32) (*image, error) {
	s, err := openSparse(st)
	if err != nil {
		return nil, err
	}
	s.step = 256 << 10
	text, err := s.readDescriptor()
	if err != nil {
		return nil, err
	}
	d, err := parseDescriptor(st.Name(), text, SectorSize)
	if err != nil {
		return nil, err
	}
	if s.crashed && !slices.Contains(resume, d.contentID) {
		return nil, fmt.Errorf("unclean, with content id %08x; the sessions recorded %08x", d.contentID, resume)
	}
	m := &image{name: st.Name(), write: true, identity: &embeddedIdentity{d: d, extent: s}}
	m.add(d.sectors()*SectorSize, s)
	return m, m.checkForWriting()
}

// history is the contents that each sector may have after a crash: the last synced one, and all since. Each is a number, 0 for zeros.
type history struct {
	synced, now []uint32
	since       []map[uint32]bool
}

func newHistory(sectors int) *history {
	h := &history{synced: make([]uint32, sectors), now: make([]uint32, sectors), since: make([]map[uint32]bool, sectors)}
	for i := range h.since {
		h.since[i] = map[uint32]bool{}
	}
	return h
}

func (h *history) set(sector int, v uint32) { h.now[sector] = v; h.since[sector][v] = true }

func (h *history) sync() {
	copy(h.synced, h.now)
	for i := range h.since {
		clear(h.since[i])
	}
}

func (h *history) clone() *history {
	c := newHistory(len(h.now))
	copy(c.synced, h.synced)
	copy(c.now, h.now)
	for i, m := range h.since {
		for v := range m {
			c.since[i][v] = true
		}
	}
	return c
}

// check compares a disk with what it may hold.
func (h *history) check(d Disk) error {
	b := make([]byte, SectorSize)
	for i := range h.now {
		if _, err := d.ReadAt(b, int64(i)*SectorSize); err != nil {
			return err
		}
		v := binary.LittleEndian.Uint32(b)
		if !bytes.Equal(b, stamped(v)) {
			return fmt.Errorf("sector %d is torn: % x…", i, b[:8])
		}
		if v != h.synced[i] && !h.since[i][v] {
			return fmt.Errorf("sector %d holds write %d; synced was %d, since then %v", i, v, h.synced[i], h.since[i])
		}
	}
	return nil
}

// stamped is a sector full of one number.
func stamped(v uint32) []byte {
	b := make([]byte, SectorSize)
	for i := 0; i < len(b); i += 4 {
		binary.LittleEndian.PutUint32(b[i:], v)
	}
	return b
}

// crashMoment is the end of a call: how long the log was, and what the disk may hold if it ends there.
type crashMoment struct {
	ops     int
	history *history
}

// runCrashSession opens a disk and writes, zeros and syncs it from a seed.
func runCrashSession(t *testing.T, st *crashStorage, id uint32, h *history, seed uint64) []crashMoment {
	t.Helper()
	m, err := openCrashed(st, id)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	fatal := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	fatal(m.SetContentID(id))
	r := rand.New(rand.NewPCG(seed, 3))
	sectors := len(h.now)
	moments := []crashMoment{{len(st.log), h.clone()}}
	stamp := uint32(seed * 1000)
	for range 14 {
		first, n := r.IntN(sectors), 1+r.IntN(300)
		n = min(n, sectors-first)
		stamp++
		synced := false
		switch k := r.IntN(8); {
		case k < 5:
			for i := range n {
				h.set(first+i, stamp)
			}
			_, err = m.WriteAt(bytes.Repeat(stamped(stamp), n), int64(first)*SectorSize)
		case k < 6:
			for i := range n {
				h.set(first+i, 0)
			}
			err = m.Zero(int64(first)*SectorSize, int64(n)*SectorSize)
		default:
			err = m.Sync()
			synced = true
		}
		fatal(err)
		// a cut during the call falls under what was allowed before it returned
		moments = append(moments, crashMoment{len(st.log), h.clone()})
		if synced {
			h.sync()
			moments[len(moments)-1].history = h.clone()
		}
	}
	if r.IntN(2) == 0 {
		fatal(m.Close())
		h.sync()
		moments = append(moments, crashMoment{len(st.log), h.clone()})
	}
	return moments
}

// allowedAt is what a disk may hold when the power goes behind the first k operations: what held at the last moment at or before k,
// and what the call that was running then had set.
func allowedAt(moments []crashMoment, k int) *history {
	h := moments[0].history
	for i, m := range moments {
		if m.ops <= k {
			h = m.history
			continue
		}
		h = h.clone()
		for sector, v := range moments[i].history.now {
			if v != h.now[sector] {
				h.since[sector][v] = true
			}
		}
		break
	}
	return h
}

// TestSparseCrash cuts a session at every operation on the file below, opens what is left, and runs another session on it, which
// is cut as well.
func TestSparseCrash(t *testing.T) {
	const size = 40<<20 + 3*SectorSize // two tables
	sectors := 700
	seeds := 3
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		t.Run(fmt.Sprintf("seed%d", seed), func(t *testing.T) {
			t.Parallel()
			base := sparseBytes(t, size, 0x11111111)
			if seed%2 == 1 {
				dropTables(base) // tables are made as needed
			}
			st := &crashStorage{b: bytes.Clone(base)}
			const id = 0x22222222
			moments := runCrashSession(t, st, id, newHistory(sectors), uint64(seed+1))
			r := rand.New(rand.NewPCG(uint64(seed), 4))
			for k := range len(st.log) + 1 {
				left := cut(base, st.log, k, r)
				checkCrash(t, left, []uint32{id}, allowedAt(moments, k), fmt.Sprintf("cut at %d of %d", k, len(st.log)))
				if k%7 == 0 {
					crashAgain(t, left, id, allowedAt(moments, k), r)
				}
			}
		})
	}
}

func checkCrash(t *testing.T, left *crashStorage, ids []uint32, h *history, when string) {
	t.Helper()
	m, err := openCrashed(&crashStorage{b: bytes.Clone(left.b)}, ids...)
	if err != nil {
		t.Fatalf("%s: open: %v", when, err)
	}
	if err := h.check(m); err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	if err := m.SetContentID(0x44444444); err != nil { // recovers
		t.Fatalf("%s: recover: %v", when, err)
	}
	c, err := m.parts[0].extent.(*sparseExtent).check()
	if err != nil || len(c.findings) > 0 {
		t.Fatalf("%s: after recovery: %v, %v", when, c.findings, err)
	}
	if err := h.check(m); err != nil {
		t.Fatalf("%s: after recovery: %v", when, err)
	}
}

// crashAgain goes on with a disk that was left by a crash, and cuts that session, its recovery included, at some operations.
func crashAgain(t *testing.T, left *crashStorage, id uint32, before *history, r *rand.Rand) {
	t.Helper()
	st := &crashStorage{b: bytes.Clone(left.b)}
	m, err := openCrashed(st, id)
	if err != nil {
		t.Fatalf("open after a crash: %v", err)
	}
	const next = 0x33333333
	if err := m.SetContentID(next); err != nil {
		t.Fatalf("recover: %v", err)
	}
	h := before.clone()
	for i := range 300 {
		h.set(i, 99)
	}
	if _, err := m.WriteAt(bytes.Repeat(stamped(99), 300), 0); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	for k := range len(st.log) + 1 {
		again := cut(left.b, st.log, k, r)
		checkCrash(t, again, []uint32{id, next}, h, fmt.Sprintf("second session cut at %d", k))
	}
}

// dropTables empties both directories of a new extent, as if its tables had never been made.
func dropTables(b []byte) {
	h, err := decodeSparseHeader("", b, int64(len(b)))
	if err != nil {
		panic(err)
	}
	clear(b[h.directoryOffset*SectorSize:][:h.tables()*4])
	clear(b[h.redundantOffset*SectorSize:][:h.tables()*4])
}
