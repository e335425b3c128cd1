package blockio

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Probe describes the disk at path. It only reads. An absent disk is os.ErrNotExist; a VMDK of which a file is missing is ErrCorrupt.
func Probe(path string) (Description, error) {
	l, err := examine(path)
	if err != nil {
		return Description{}, fmt.Errorf("probe disk: %w", err)
	}
	d := l.description
	if err := l.refused(TargetOptions{}); err != nil {
		d.TargetRefusal = err.Error()
	} else if held := l.heldBy(); held != "" {
		d.TargetRefusal = fmt.Sprintf("%v: %v: %s", ErrNotTarget, ErrInUse, held)
	}
	return d, nil
}

// heldBy tells which file or device of the disk is in use now, "" when none is.
func (l *layout) heldBy() string {
	for _, p := range l.pieces {
		if p.path == "" {
			continue
		}
		if p.kind == pieceDevice {
			if deviceHeld(p.path) {
				return p.path + " is mounted or held; unmount or release it first"
			}
			continue
		}
		f, err := os.Open(p.path)
		if err != nil {
			return err.Error()
		}
		held := lockedElsewhere(f)
		f.Close()
		if held {
			return p.path + " is locked; another master target, or another disk of this one, has it open"
		}
	}
	return ""
}

// OpenReader opens a disk for reading: raw files, devices, and the VMDK formats that doc.go lists. It takes no lock: whoever reads
// a sparse disk while it is written sees it as it was some time ago, in parts.
func OpenReader(path string) (Reader, error) {
	l, err := examine(path)
	if err != nil {
		return nil, fmt.Errorf("open disk for reading: %w", err)
	}
	m, err := l.openChain()
	if err != nil {
		return nil, fmt.Errorf("open disk for reading: %w", err)
	}
	return m, nil
}

// OpenTarget opens an existing disk for writing, after the rules that hold before a byte is written (doc.go), and under a lock
// that keeps a second writer out until Close. Nothing is written yet: see Target.SetContentID. It fails with ErrNotTarget, ErrInUse
// or ErrCorrupt, each with the reason.
func OpenTarget(path string, o TargetOptions) (Target, error) {
	m, err := openTarget(path, o)
	if err != nil {
		return nil, fmt.Errorf("open disk for writing: %w", err)
	}
	return m, nil
}

// openTarget looks twice: first to know what to lock, then, under the lock, whether it is still what it was.
func openTarget(path string, o TargetOptions) (*image, error) {
	before, err := examine(path)
	if err != nil {
		return nil, err
	}
	if err := before.refused(o); err != nil {
		return nil, err
	}
	m, err := before.open(nil, nil)
	if err != nil {
		return nil, err
	}
	after, err := examine(path)
	if err == nil && !before.sameAs(after) {
		err = fmt.Errorf("%w: %s changed while it was being opened; see who else writes it, then try again", ErrInUse, path)
	}
	if err == nil {
		err = after.refused(o)
	}
	if err == nil {
		err = m.checkForWriting()
	}
	if err != nil {
		m.abandon()
		return nil, err
	}
	m.bypassCache(o.Caching)
	return m, nil
}

// bypassCache takes the files that are the bytes of the disk out of the page cache, where that is wanted and can be. Tables of sparse disks are small and come again: they stay in it.
func (m *image) bypassCache(c Caching) {
	for _, p := range m.parts {
		e, ok := p.extent.(*flatExtent)
		if !ok {
			continue
		}
		st, ok := e.st.(*osFile)
		if !ok || st.direct != nil || c == CachingBuffered || c == CachingAuto && !st.device {
			continue
		}
		if size, err := st.Size(); err == nil {
			st.direct = openDirect(st.f, size, st.device)
		}
	}
}

// checkForWriting looks at the tables of sparse extents before they are relied on for writing.
func (m *image) checkForWriting() error {
	for _, p := range m.parts {
		if s, ok := p.extent.(*sparseExtent); ok {
			if err := s.checkForWriting(); err != nil {
				return err
			}
		}
	}
	return nil
}

// abandon closes the files of an image that was never used, and of its parents.
func (m *image) abandon() {
	for at := m; at != nil; at = at.parent {
		at.abandonFiles()
	}
}

func (m *image) abandonFiles() {
	for _, f := range m.files {
		f.Close()
	}
}

// openChain opens l for reading, and its parents.
func (l *layout) openChain() (*image, error) {
	var links []*layout
	for at := l; at != nil; at = at.parent {
		links = append(links, at)
	}
	cache := newReaderCache()
	var m *image
	for _, link := range slices.Backward(links) {
		next, err := link.open(cache, m)
		if err != nil {
			if m != nil {
				m.abandon()
			}
			return nil, err
		}
		m = next
	}
	return m, nil
}

// open opens the files of l: for reading with a cache to use, and on top of parent if there is one; for writing, under locks,
// without a cache.
func (l *layout) open(cache *readerCache, parent *image) (*image, error) {
	if l.unreadable != nil {
		return nil, l.unreadable
	}
	m := &image{name: l.description.Path, write: cache == nil, description: l.description, cache: cache, parent: parent}
	for _, p := range l.pieces {
		e, err := l.openPiece(m, p)
		if err != nil {
			m.abandonFiles()
			return nil, err
		}
		m.add(p.size, e)
	}
	m.shareTables()
	switch {
	case l.descriptor == nil:
		m.mayWrite.Store(true)
	case !m.write:
	case l.embedded:
		m.identity = &embeddedIdentity{d: l.descriptor, extent: m.parts[0].extent.(*sparseExtent)}
	default:
		m.identity = &descriptorIdentity{d: l.descriptor, path: l.path}
	}
	return m, nil
}

// shareTables divides the memory for tables among the extents.
func (m *image) shareTables() {
	for _, p := range m.parts {
		if s, ok := p.extent.(*sparseExtent); ok {
			s.tables.limit = max(maxTables/len(m.parts), minTables)
		}
	}
}

func (l *layout) openPiece(m *image, p piece) (extent, error) {
	switch p.kind {
	case pieceZero:
		return zeroExtent{name: l.path, size: p.size}, nil
	case pieceDenied:
		return deniedExtent{name: l.path, size: p.size}, nil
	}
	for _, f := range m.files { // extents may lie in one file, which is locked once
		if f.Name() == p.path {
			return &flatExtent{st: f, base: p.base, size: p.size}, nil
		}
	}
	st, err := l.openStorage(p, m.write)
	if err != nil {
		return nil, err
	}
	m.files = append(m.files, st)
	switch {
	case !p.kind.grained():
		return &flatExtent{st: st, base: p.base, size: p.size}, nil
	case m.write:
		return openSparse(st)
	}
	return m.openGrains(p, st)
}

// openGrains reads the header of an extent made of grains.
func (m *image) openGrains(p piece, st *osFile) (*grainExtent, error) {
	fileSize, err := st.Size()
	if err != nil {
		return nil, err
	}
	header, err := readGrainHeader(p.kind, st, p.path, fileSize)
	if err != nil {
		return nil, err
	}
	e := &grainExtent{size: p.size, cache: m.cache}
	unclean := false
	if h, ok := header.(sparseHeader); ok {
		unclean = h.unclean
		if h.compressed() {
			e.stream = &h
		}
	}
	e.file = newGrainFile(st, header, unclean)
	if m.parent != nil {
		e.parent, e.parentAt = m.parent, m.size
	}
	return e, nil
}

func (l *layout) openStorage(p piece, write bool) (*osFile, error) {
	st := &osFile{name: p.path, device: p.kind == pieceDevice}
	var err error
	if st.device {
		if st.f, err = openDevice(p.path, write); err == nil && write {
			forgetCached(st.f)
		}
		if err == nil {
			if st.direct, err = alignedAccess(st.f); err != nil {
				st.f.Close()
			} else {
				st.cached.open(st.f)
			}
		}
		return st, err
	}
	rel, err := filepath.Rel(filepath.Dir(l.path), p.path)
	if err != nil {
		return nil, err
	}
	if st.f, err = openBeneath(filepath.Dir(l.path), rel, write); err != nil {
		return nil, err
	}
	if write {
		err = lockExclusive(st.f)
	}
	if err == nil {
		err = sameFile(st.f, p)
	}
	if err != nil {
		st.f.Close()
		return nil, err
	}
	if write {
		forgetCached(st.f)
	}
	st.keepAllocated = l.thick()
	st.cached.open(st.f)
	return st, nil
}

// thick: zeroing does not give space back.
func (l *layout) thick() bool {
	return l.descriptor != nil && l.description.Format == FormatVMFS && l.descriptor.key("ddb.thinProvisioned") != "1"
}

// sameFile: what was opened is what was looked at.
func sameFile(f *os.File, p piece) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !os.SameFile(info, p.info) {
		return fmt.Errorf("%w: %s was replaced while the disk was being opened; try again", ErrInUse, p.path)
	}
	return nil
}

// embeddedIdentity is the content id of a disk whose descriptor is inside of its sparse extent.
type embeddedIdentity struct {
	d      *descriptor
	extent *sparseExtent
}

func (i *embeddedIdentity) replaceContentID(id uint32) (bool, error) {
	tracked := i.d.dropChangeTracking()
	i.d.setContentID(id)
	return tracked, i.extent.writeDescriptor(i.d.bytes())
}

// descriptorIdentity is the content id of a disk whose descriptor is a file of its own.
type descriptorIdentity struct {
	d    *descriptor
	path string
}

func (i *descriptorIdentity) replaceContentID(id uint32) (bool, error) {
	tracked := i.d.dropChangeTracking()
	i.d.setContentID(id)
	return tracked, replaceFile(i.path, i.d.bytes())
}
