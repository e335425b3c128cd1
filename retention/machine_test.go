package retention

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"failback/replication"
)

var (
	errPower    = errors.New("power is off")
	errInjected = fmt.Errorf("injected: %w", syscall.EIO)
)

const torn = 512 // the sector that a power failure tears

// machine is a computer with a retention volume and disks, whose power can fail at any operation: what was not synced is then lost, kept, or torn, sector by
// sector and name by name.
type machine struct {
	mu    sync.Mutex
	r     *rand.Rand
	names map[string]*inode // by path; directories have a nil inode
	safe  map[string]*inode // what a power failure leaves for certain
	todo  map[string][]func(map[string]*inode)
	locks map[string]bool
	disks []*inode
	boot  int // handles of an earlier boot are dead

	ops      int // writes, syncs, creations, renames, removals, truncations
	cutAt    int // the operation at which the power fails; 0: never
	off      bool
	any      int // operations, reads too
	failAt   int // the operation that fails with EIO; 0: none
	failed   string
	badIn    *inode // where the read that failed began: reads of that byte go on to fail
	badAt    int64
	fullFrom int // the operation from which the volume is full; 0: never
	onOp     func()
	busy     bool
}

type inode struct {
	cur, dur []byte
	dirty    map[int]bool
	bad      []stretch // what storage can't read any more
}

func newMachine(seed uint64, sizes ...int64) *machine {
	m := &machine{r: rand.New(rand.NewPCG(seed, 77)), names: map[string]*inode{"/": nil}, safe: map[string]*inode{"/": nil}, todo: map[string][]func(map[string]*inode){}, locks: map[string]bool{}}
	for _, n := range sizes {
		i := &inode{cur: make([]byte, n), dur: make([]byte, n), dirty: map[int]bool{}}
		for k := range i.cur {
			i.cur[k] = byte(k * 7)
		}
		copy(i.dur, i.cur)
		m.disks = append(m.disks, i)
	}
	return m
}

// op accounts for one operation; it is called with the lock held. The operation that the power fails at may still have an effect.
func (m *machine) op(boot int, what string, change bool) error {
	if m.onOp != nil && !m.busy && change {
		m.busy = true
		m.mu.Unlock()
		m.onOp()
		m.mu.Lock()
		m.busy = false
	}
	if m.off || boot != m.boot {
		return errPower
	}
	m.any++
	if m.any == m.failAt {
		m.failed = what
		return fmt.Errorf("%s: %w", what, errInjected)
	}
	if change {
		if m.ops++; m.ops == m.cutAt {
			m.off = true
		}
	}
	return nil
}

func (m *machine) fail() error {
	if m.off {
		return errPower
	}
	return nil
}

func (i *inode) write(b []byte, off int64) {
	if end := off + int64(len(b)); end > int64(len(i.cur)) {
		i.cur = append(i.cur, make([]byte, end-int64(len(i.cur)))...)
	}
	copy(i.cur[off:], b)
	for s := int(off) / torn; s*torn < int(off)+len(b); s++ {
		i.dirty[s] = true
	}
}

func (i *inode) sync() {
	if len(i.dur) > len(i.cur) {
		i.dur = i.dur[:len(i.cur)]
	}
	i.dur = append(i.dur, make([]byte, len(i.cur)-len(i.dur))...)
	for s := range i.dirty {
		if s*torn < len(i.cur) {
			copy(i.dur[s*torn:], i.cur[s*torn:min(len(i.cur), (s+1)*torn)])
		}
	}
	clear(i.dirty)
}

// lose is what a power failure does to unsynced content.
func (i *inode) lose(r *rand.Rand) {
	mode := r.IntN(6) // all old, all new, mixed twice as often, what comes behind a place only, what comes before it
	size := len(i.dur)
	if n := len(i.cur); n != size {
		switch mode {
		case 1:
			size = n
		case 4:
			size = max(size, n)
		case 2, 3, 5:
			size = min(size, n) + r.IntN(max(size, n)-min(size, n)+1)
		}
	}
	out := make([]byte, size)
	copy(out, i.dur)
	dirty := slices.Sorted(maps.Keys(i.dirty))
	place := 0
	if len(dirty) > 0 {
		place = dirty[r.IntN(len(dirty))]
	}
	for _, s := range dirty {
		lo, hi := s*torn, min((s+1)*torn, size, len(i.cur))
		if lo >= hi {
			continue
		}
		what := r.IntN(4)
		switch {
		case mode < 2:
			what = mode
		case mode == 4 && s < place, mode == 5 && s >= place:
			what = 0
		case mode > 3:
			what = 1
		}
		switch what {
		case 1:
			copy(out[lo:hi], i.cur[lo:hi])
		case 2: // half of it
			copy(out[lo:(lo+hi)/2], i.cur[lo:hi])
		case 3: // garbage
			for k := lo; k < hi; k++ {
				out[k] = 0xdb
			}
		}
	}
	i.dur, i.cur, i.dirty = out, slices.Clone(out), map[int]bool{}
}

// reboot brings the power back, after the losses.
func (m *machine) reboot() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, dir := range slices.Sorted(maps.Keys(m.todo)) {
		mode := m.r.IntN(3)
		for _, f := range m.todo[dir] {
			if mode == 1 || mode == 2 && m.r.IntN(2) == 0 {
				f(m.safe)
			}
		}
	}
	for n := range m.safe { // after a process was killed, the operating system still owes the disk what it was told
		if _, ok := m.safe[filepath.Dir(n)]; !ok && n != "/" {
			delete(m.safe, n)
		}
	}
	m.names, m.todo = maps.Clone(m.safe), map[string][]func(map[string]*inode){}
	lost := map[*inode]bool{}
	for _, n := range slices.Sorted(maps.Keys(m.names)) {
		if i := m.names[n]; i != nil && !lost[i] {
			i.lose(m.r)
			lost[i] = true
		}
	}
	for _, d := range m.disks {
		d.lose(m.r)
	}
	m.settle()
}

// kill ends the process, not the machine: everything written stays, and is still not durable.
func (m *machine) kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.settle()
}

// forgetCached is what the kernel does when it is asked to keep nothing in memory that need not be written: what a failed sync has lost shows, names too. (File systems that still showed a name after they failed to write it let
// nothing be written any more, as far as we know: ext4 and xfs stop.)
func (m *machine) forgetCached() {
	m.names = maps.Clone(m.safe)
	for _, dir := range slices.Sorted(maps.Keys(m.todo)) {
		for _, f := range m.todo[dir] {
			f(m.names)
		}
	}
	for _, i := range m.names {
		if i == nil {
			continue
		}
		for s := 0; s*torn < len(i.cur); s++ {
			if !i.dirty[s] {
				b := i.cur[s*torn : min((s+1)*torn, len(i.cur))]
				clear(b)
				if s*torn < len(i.dur) {
					copy(b, i.dur[s*torn:])
				}
			}
		}
	}
}

func (m *machine) settle() {
	clear(m.locks)
	m.boot++
	m.off, m.cutAt, m.failAt, m.fullFrom, m.failed, m.badIn, m.busy = false, 0, 0, 0, "", nil, false
}

// change applies a change of names now, and at the next sync of the directory, or perhaps at a power failure.
func (m *machine) change(name string, f func(map[string]*inode)) {
	f(m.names)
	d := filepath.Dir(name)
	m.todo[d] = append(m.todo[d], f)
}

type simVolume struct {
	m    *machine
	boot int
}

func (m *machine) volume() simVolume { return simVolume{m, m.boot} }

type simFile struct {
	v simVolume
	i *inode
	n string
}

func (v simVolume) full() bool { return v.m.fullFrom > 0 && v.m.ops >= v.m.fullFrom }

func (v simVolume) Open(name string) (file, error) {
	v.m.mu.Lock()
	defer v.m.mu.Unlock()
	if err := v.m.op(v.boot, "open "+name, false); err != nil {
		return nil, err
	}
	i := v.m.names[name]
	if i == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &simFile{v, i, name}, nil
}

func (v simVolume) Create(name string) (file, error) {
	v.m.mu.Lock()
	defer v.m.mu.Unlock()
	if err := v.m.op(v.boot, "create "+name, true); err != nil {
		return nil, err
	}
	if _, ok := v.m.names[name]; ok {
		return nil, &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	}
	if v.full() {
		return nil, syscall.ENOSPC
	}
	i := &inode{dirty: map[int]bool{}}
	v.m.change(name, func(n map[string]*inode) { n[name] = i })
	if err := v.m.fail(); err != nil {
		return nil, err
	}
	return &simFile{v, i, name}, nil
}

func (v simVolume) Allocate(name string, size int64) error {
	v.m.mu.Lock()
	defer v.m.mu.Unlock()
	if err := v.m.op(v.boot, "allocate "+name, true); err != nil {
		return err
	}
	if v.full() {
		return syscall.ENOSPC
	}
	v.m.change(name, func(n map[string]*inode) { n[name] = &inode{cur: make([]byte, size), dirty: map[int]bool{}} })
	return v.m.fail()
}

func (v simVolume) Mkdir(name string) error {
	v.m.mu.Lock()
	defer v.m.mu.Unlock()
	if err := v.m.op(v.boot, "mkdir "+name, true); err != nil {
		return err
	}
	if _, ok := v.m.names[name]; !ok {
		v.m.change(name, func(n map[string]*inode) { n[name] = nil })
	}
	return v.m.fail()
}

func (v simVolume) Rename(from, to string) error {
	v.m.mu.Lock()
	defer v.m.mu.Unlock()
	if err := v.m.op(v.boot, "rename "+from, true); err != nil {
		return err
	}
	i, ok := v.m.names[from]
	if !ok {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
	}
	v.m.change(to, func(n map[string]*inode) { delete(n, from); n[to] = i })
	return v.m.fail()
}

func (v simVolume) Remove(name string) error {
	v.m.mu.Lock()
	defer v.m.mu.Unlock()
	if err := v.m.op(v.boot, "remove "+name, true); err != nil {
		return err
	}
	if _, ok := v.m.names[name]; !ok {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	v.m.change(name, func(n map[string]*inode) { delete(n, name) })
	return v.m.fail()
}

func (v simVolume) List(dir string) (names []string, err error) {
	v.m.mu.Lock()
	defer v.m.mu.Unlock()
	if err := v.m.op(v.boot, "list "+dir, false); err != nil {
		return nil, err
	}
	if _, ok := v.m.names[dir]; !ok {
		return nil, &fs.PathError{Op: "list", Path: dir, Err: fs.ErrNotExist}
	}
	for n := range v.m.names {
		if filepath.Dir(n) == dir && n != "/" {
			names = append(names, filepath.Base(n))
		}
	}
	slices.Sort(names)
	return names, nil
}

func (v simVolume) SyncDir(dir string) error {
	v.m.mu.Lock()
	defer v.m.mu.Unlock()
	if err := v.m.op(v.boot, "syncdir "+dir, true); err != nil {
		if errors.Is(err, errInjected) {
			delete(v.m.todo, dir) // and is lost
		}
		return err
	}
	if v.m.off && v.m.r.IntN(2) == 0 {
		return errPower
	}
	for _, f := range v.m.todo[dir] {
		f(v.m.safe)
	}
	delete(v.m.todo, dir)
	return v.m.fail()
}

func (v simVolume) Lock(name string) (io.Closer, error) {
	v.m.mu.Lock()
	defer v.m.mu.Unlock()
	if err := v.m.op(v.boot, "lock "+name, false); err != nil {
		return nil, err
	}
	if v.m.locks[name] {
		return nil, ErrLocked
	}
	v.m.locks[name] = true
	if _, ok := v.m.names[name]; !ok {
		v.m.change(name, func(n map[string]*inode) { n[name] = &inode{dirty: map[int]bool{}} })
	}
	return simLock{v, name}, nil
}

type simLock struct {
	v simVolume
	n string
}

func (l simLock) Close() error {
	l.v.m.mu.Lock()
	defer l.v.m.mu.Unlock()
	if l.v.boot == l.v.m.boot {
		delete(l.v.m.locks, l.n)
	}
	return nil
}

func (v simVolume) Free(string) (int64, error) { return 1 << 40, nil }

func (f *simFile) ReadAt(b []byte, off int64) (int, error) {
	f.v.m.mu.Lock()
	defer f.v.m.mu.Unlock()
	if m := f.v.m; m.badIn == f.i && off <= m.badAt && m.badAt < off+int64(len(b)) && !m.off && f.v.boot == m.boot {
		return 0, fmt.Errorf("read %s again: %w", f.n, errInjected)
	}
	if err := f.v.m.op(f.v.boot, "read "+f.n, false); err != nil {
		if errors.Is(err, errInjected) {
			f.v.m.badIn, f.v.m.badAt = f.i, off
		}
		return 0, err
	}
	for _, x := range f.i.bad {
		if x.off < off+int64(len(b)) && off < x.end {
			return 0, fmt.Errorf("read %s at %d: bad storage: %w", f.n, off, syscall.EIO)
		}
	}
	return readBytes(f.i.cur, b, off)
}

func readBytes(from, b []byte, off int64) (int, error) {
	if off >= int64(len(from)) {
		return 0, io.EOF
	}
	n := copy(b, from[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *simFile) WriteAt(b []byte, off int64) (int, error) {
	f.v.m.mu.Lock()
	defer f.v.m.mu.Unlock()
	if err := f.v.m.op(f.v.boot, "write "+f.n, true); err != nil {
		if errors.Is(err, errInjected) && len(b) > 0 {
			n := f.v.m.r.IntN(len(b))
			f.i.write(b[:n], off)
			return n, err
		}
		return 0, err
	}
	if f.v.full() && off+int64(len(b)) > int64(len(f.i.cur)) {
		n := f.v.m.r.IntN(len(b))
		f.i.write(b[:n], off)
		return n, syscall.ENOSPC
	}
	f.i.write(b, off)
	return len(b), f.v.m.fail()
}

func (f *simFile) Size() (int64, error) {
	f.v.m.mu.Lock()
	defer f.v.m.mu.Unlock()
	if err := f.v.m.op(f.v.boot, "size "+f.n, false); err != nil {
		return 0, err
	}
	return int64(len(f.i.cur)), nil
}

func (f *simFile) Truncate(n int64) error {
	f.v.m.mu.Lock()
	defer f.v.m.mu.Unlock()
	if err := f.v.m.op(f.v.boot, "truncate "+f.n, true); err != nil {
		return err
	}
	if n > int64(len(f.i.cur)) {
		f.i.write(make([]byte, n-int64(len(f.i.cur))), int64(len(f.i.cur)))
	}
	f.i.cur = f.i.cur[:n:n]
	return f.v.m.fail()
}

func (f *simFile) Sync() error {
	f.v.m.mu.Lock()
	defer f.v.m.mu.Unlock()
	return f.v.m.syncInode(f.v.boot, f.i, f.n)
}

func (m *machine) syncInode(boot int, i *inode, name string) error {
	if err := m.op(boot, "sync "+name, true); err != nil {
		if errors.Is(err, errInjected) { // as Linux does: the pages are clean now, and what was written never arrives
			for s := range i.dirty {
				if m.r.IntN(2) == 0 {
					delete(i.dirty, s)
				}
			}
		}
		return err
	}
	if m.off && m.r.IntN(2) == 0 {
		return errPower
	}
	i.sync()
	return m.fail()
}

func (f *simFile) Close() error { return nil }

// simDisk is a disk of the machine.
type simDisk struct {
	m    *machine
	boot int
	i    *inode
	n    int
}

func (m *machine) targets() (ds []Disk) {
	for n, i := range m.disks {
		ds = append(ds, &simDisk{m, m.boot, i, n})
	}
	return ds
}

func (d *simDisk) name() string { return fmt.Sprintf("disk %d", d.n) }

func (d *simDisk) Size() int64 { return int64(len(d.i.cur)) }

func (d *simDisk) ReadAt(b []byte, off int64) (int, error) {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	if err := d.m.op(d.boot, "read "+d.name(), false); err != nil {
		return 0, err
	}
	return readBytes(d.i.cur, b, off)
}

func (d *simDisk) WriteAt(b []byte, off int64) (int, error) {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	if err := d.m.op(d.boot, "write "+d.name(), true); err != nil {
		return 0, err
	}
	d.i.write(b, off)
	return len(b), d.m.fail()
}

func (d *simDisk) Zero(off, n int64) error {
	_, err := d.WriteAt(make([]byte, n), off)
	return err
}

func (d *simDisk) Sync() error {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	return d.m.syncInode(d.boot, d.i, d.name())
}

// NextData knows holes by pages, and some of them only.
func (d *simDisk) NextData(off int64) (start, end int64, err error) {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	if err := d.m.op(d.boot, "holes "+d.name(), false); err != nil {
		return 0, 0, err
	}
	size := int64(len(d.i.cur))
	hole := func(p int64) bool {
		return p/replication.Page%3 != 0 && replication.IsZero(d.i.cur[p:min(size, p+replication.Page)])
	}
	for ; off < size && hole(off&^(replication.Page-1)); off = off&^(replication.Page-1) + replication.Page {
	}
	if off >= size {
		return size, size, nil
	}
	for end = off; end < size && !hole(end&^(replication.Page-1)); end = end&^(replication.Page-1) + replication.Page {
	}
	return off, min(end, size), nil
}
