package blockio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// layout is what the files of a disk say it is made of. It keeps no file open.
type layout struct {
	description Description
	path        string // with symbolic links resolved
	info        os.FileInfo
	text        []byte // the descriptor as it was read; nil for raw files and devices
	descriptor  *descriptor
	embedded    bool // the descriptor is inside the only extent
	pieces      []piece
	refusals    []refusal
	parent      *layout // what a snapshot was made on; nil where there is none, or unreadable tells why
	broken      *Parent // the disk at which the chain can't be followed; nil where it can
	unreadable  error   // why OpenReader cannot read it, although it can be described
}

// piece is one extent of a layout.
type piece struct {
	kind pieceKind
	path string // "" for zeros
	base int64  // bytes into the file
	size int64  // bytes
	info os.FileInfo
}

type pieceKind int

const (
	pieceFlat   pieceKind = 1
	pieceSparse pieceKind = 2
	pieceZero   pieceKind = 3
	pieceDevice pieceKind = 4
	pieceCOWD   pieceKind = 5
	pieceSE     pieceKind = 6
	pieceDenied pieceKind = 7 // NOACCESS: nobody may look
)

// grained reports whether extents of this kind are made of grains, and so may leave something to a parent.
func (k pieceKind) grained() bool { return k == pieceSparse || k == pieceCOWD || k == pieceSE }

// refusal is a reason not to write.
type refusal struct {
	reason string
	cause  error // a second sentinel to be found in the error, or nil
	// ours: it does not hold when the disk's content id is one that our own interrupted session left.
	ours bool
}

func (l *layout) refuse(format string, args ...any) {
	l.refusals = append(l.refusals, refusal{reason: fmt.Sprintf(format, args...)})
}

func (l *layout) notice(format string, args ...any) {
	l.description.Notices = append(l.description.Notices, fmt.Sprintf(format, args...))
}

// examine reads what is at path, follows its chain of parents, and judges it as a target.
func examine(path string) (*layout, error) {
	l, err := look(path)
	if err != nil {
		return nil, err
	}
	if err := l.followChain(); err != nil && l.unreadable == nil {
		l.unreadable = err
	}
	if l.unreadable != nil {
		l.notice("it cannot be read: %v", l.unreadable)
	}
	l.describe()
	return l, l.applyRules()
}

// look reads what is at path. What is a VMDK is decided by the name: the first sector of a raw disk belongs to its guest,
// which could write a descriptor there that names other files.
func look(path string) (*layout, error) {
	if l, err := lookAtDrive(path); l != nil {
		return l, err
	}
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(resolved)
	if err != nil {
		return nil, err
	}
	l := &layout{path: resolved, info: info, description: Description{Path: path}}
	switch {
	case isBlockDevice(info):
		err = l.examineDevice(info)
	case !info.Mode().IsRegular():
		err = unsupported(path, "neither a regular file nor a block device")
	case hasVMDKName(resolved) && !isFlatName(resolved):
		err = l.examineVMDK(info)
	default:
		l.examineRaw(info)
	}
	return l, err
}

// isFlatName reports whether the name is that of the data file of a flat VMDK.
func isFlatName(path string) bool {
	return strings.HasSuffix(strings.ToLower(filepath.Base(path)), "-flat.vmdk")
}

func (l *layout) examineRaw(info os.FileInfo) {
	l.description.Format = FormatRaw
	l.pieces = []piece{{kind: pieceFlat, path: l.path, size: info.Size(), info: info}}
	if info.Size() == 0 {
		l.refuse("the file is empty; create the disk with its size first")
	}
	if isFlatName(l.path) {
		l.refuse("this is the data file of a VMDK; name its descriptor instead, or its content id would not change")
	}
}

func (l *layout) examineDevice(info os.FileInfo) error {
	f, err := openDevice(l.path, false)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := deviceSize(f)
	if err != nil {
		return err
	}
	l.description.Format, l.description.UUID = FormatDevice, uuidOfDevice("/dev/disk/by-id", l.path)
	l.pieces = []piece{{kind: pieceDevice, path: l.path, size: size, info: info}}
	if size == 0 {
		l.refuse("the device has no size; is there a medium in it?")
	}
	if deviceReadOnly(f) {
		l.refuse("the device is write protected; see blockdev --setrw")
	}
	return nil
}

// examineVMDK tells the forms of VMDK apart by their first bytes.
func (l *layout) examineVMDK(info os.FileInfo) error {
	f, err := os.Open(l.path)
	if err != nil {
		return err
	}
	defer f.Close()
	head := make([]byte, sparseHeaderBytes)
	n, err := io.ReadFull(f, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return fmt.Errorf("read %s: %w", l.path, err)
	}
	head = head[:n]
	var magic uint32
	if n >= 8 {
		magic = binary.LittleEndian.Uint32(head)
	}
	switch {
	case magic == sparseMagic:
		return l.examineSparse(f, info)
	case magic == sparseMagicUnfinished:
		return corruptAt(l.path, 0, "the magic is in lower case: whatever wrote this image did not finish; make it again")
	case magic == cowdMagic:
		return unsupported(l.path, "the data file of a vmfsSparse snapshot; name its descriptor instead")
	case magic == seSparseMagic:
		return unsupported(l.path, "the data file of a seSparse snapshot; name its descriptor instead")
	case isDescriptor(head):
		return l.examineDescriptor(f, info)
	}
	return corruptAt(l.path, 0, "neither a descriptor nor a sparse extent (% x…)", head[:min(n, 8)])
}

// examineSparse reads the descriptor inside of a sparse extent. The extent is this file, whatever name the descriptor gives it.
func (l *layout) examineSparse(f *os.File, info os.FileInfo) error {
	if b, at, err := readWrapped(f, l.path, info.Size()); b != nil || err != nil {
		if err != nil {
			return err
		}
		l.refuse("%s keeps its descriptor inside of a header that is nothing else; no product of today writes that", l.path)
		return l.interpret(b, at)
	}
	h, err := readSparseHeader(f, l.path, info.Size())
	if err != nil {
		return err
	}
	if h.descriptorOffset == 0 {
		return unsupported(l.path, "a part of a split disk; name the descriptor instead")
	}
	b := make([]byte, h.descriptorSize*SectorSize)
	if _, err := f.ReadAt(b, h.descriptorOffset*SectorSize); err != nil {
		return fmt.Errorf("read descriptor of %s: %w", l.path, err)
	}
	d, err := parseDescriptor(l.path, b, h.descriptorOffset*SectorSize)
	if err != nil {
		return err
	}
	l.description.Format = FormatMonolithicSparse
	if h.compressed() {
		l.description.Format = formatStreamOptimized
	}
	if len(d.extents) != 1 || d.extents[0].kind != "SPARSE" || formatOf(d.createType) != l.description.Format {
		return unsupported(l.path, "createType %q with %d extents inside of a %s extent", clip(d.createType), len(d.extents), l.description.Format)
	}
	if d.extents[0].sectors > h.capacity {
		return corruptAt(l.path, 12, "the extent has %d sectors, the descriptor says %d", h.capacity, d.extents[0].sectors)
	}
	l.text, l.descriptor, l.embedded = b, d, true
	l.pieces = []piece{{kind: pieceSparse, path: l.path, size: d.sectors() * SectorSize, info: info}}
	l.judgeAccess(d.extents[0])
	l.judgeHeader(l.path, h)
	return nil
}

// judgeHeader notes what a sparse header says about the session before.
func (l *layout) judgeHeader(path string, h sparseHeader) {
	if h.unclean && !h.compressed() {
		l.refusals = append(l.refusals, refusal{ours: true, reason: fmt.Sprintf("%s was not closed cleanly by whoever wrote it last; "+
			"check it, and open it once with the product that wrote it", path)})
		l.notice("%s is open for writing, or was not closed cleanly", path)
	}
	if h.compressed() {
		l.refuse("%s is compressed (streamOptimized), and such an extent is written only once", path)
	} else if h.version == 3 {
		l.refuse("%s has sparse header version 3, of which only reading is known to be right", path)
	}
}

func (l *layout) examineDescriptor(f *os.File, info os.FileInfo) error {
	if info.Size() > maxDescriptorBytes {
		return corruptAt(l.path, 0, "descriptor of %d bytes; at most %d are read", info.Size(), maxDescriptorBytes)
	}
	b, err := io.ReadAll(io.NewSectionReader(f, 0, maxDescriptorBytes))
	if err != nil {
		return fmt.Errorf("read %s: %w", l.path, err)
	}
	return l.interpret(b, 0)
}

// interpret reads a descriptor that begins at that offset of its file, and looks at its extents.
func (l *layout) interpret(b []byte, at int64) error {
	d, err := parseDescriptor(l.path, b, at)
	if err != nil {
		return err
	}
	l.text, l.descriptor = b, d
	l.description.Format = formatOf(d.createType)
	for i, e := range d.extents {
		if err := l.addPiece(e, d.extentAt[i]); err != nil {
			return err
		}
		if l.unreadable != nil {
			return nil
		}
	}
	return l.checkOverlaps()
}

// formatOf gives the older and finer names of a createType the one under which we know it.
func formatOf(createType string) Format {
	switch strings.ToLower(createType) {
	case "vmfs", "vmfsthin", "vmfsthick", "vmfspreallocated", "vmfseagerzeroedthick":
		return FormatVMFS
	case "monolithicflat":
		return FormatMonolithicFlat
	case "monolithicsparse":
		return FormatMonolithicSparse
	case "twogbmaxextentflat", "2gbmaxextentflat":
		return FormatTwoGbMaxExtentFlat
	case "twogbmaxextentsparse", "2gbmaxextentsparse":
		return FormatTwoGbSparse
	case "streamoptimized":
		return formatStreamOptimized
	case "vmfssparse":
		return formatVMFSSparse
	case "sesparse", "vmfssesparse":
		return formatSESparse
	}
	return Format(createType)
}

// addPiece finds the file of an extent, whose line is at that offset, and checks that it can hold what the line says.
func (l *layout) addPiece(e extentLine, at int64) error {
	p := piece{size: e.sectors * SectorSize, base: e.offset * SectorSize}
	l.judgeAccess(e)
	switch e.kind {
	case "ZERO":
		p.kind = pieceZero
		l.refuse("it has a ZERO extent, which cannot hold data")
		l.pieces = append(l.pieces, p)
		return nil
	case "FLAT", "VMFS":
		p.kind = pieceFlat
	case "SPARSE":
		p.kind = pieceSparse
	case "VMFSSPARSE":
		p.kind = pieceCOWD
	case "SESPARSE":
		p.kind = pieceSE
	default:
		l.unreadable = unsupported(l.path, "extents of type %s", clip(e.kind))
		l.refuse("extents of type %s are never written; consolidate or convert the disk to a flat one first", clip(e.kind))
		return nil
	}
	if e.access == "NOACCESS" {
		p.kind = pieceDenied
		l.notice("the extent %q may not be accessed (NOACCESS): reading there fails", clip(e.file))
		l.pieces = append(l.pieces, p)
		return nil
	}
	f, err := openBeneath(filepath.Dir(l.path), e.file, false)
	if err != nil {
		return l.extentError(e, at, err)
	}
	defer f.Close()
	p.path = filepath.Join(filepath.Dir(l.path), e.file)
	if p.info, err = f.Stat(); err != nil {
		return err
	}
	if p.kind.grained() {
		err = l.checkGrainedPiece(f, p)
	} else {
		err = l.checkFlatPiece(p)
	}
	l.pieces = append(l.pieces, p)
	return err
}

func (l *layout) judgeAccess(e extentLine) {
	if e.access != "RW" {
		l.refuse("the extent %q is marked %s", clip(e.file), e.access)
	}
}

// extentError: a file that is missing here must not look like a disk that is missing.
func (l *layout) extentError(e extentLine, at int64, err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return corruptAt(l.path, at, "the extent file %q is missing", clip(e.file))
	}
	return fmt.Errorf("%s: extent %q: %w", l.path, clip(e.file), err)
}

func (l *layout) checkFlatPiece(p piece) error {
	switch have := p.info.Size(); {
	case have-p.base < p.size:
		return corruptAt(p.path, have, "the file ends here; its extent needs %d bytes from %d on", p.size, p.base)
	case have-p.base > p.size && l.description.Format == FormatVMFS:
		l.notice("%s is %d bytes longer than its extent", p.path, have-p.base-p.size)
	}
	return nil
}

func (l *layout) checkGrainedPiece(f *os.File, p piece) error {
	header, err := readGrainHeader(p.kind, f, p.path, p.info.Size())
	if err != nil {
		return err
	}
	capacity := header.shape().capacity
	if p.base != 0 || p.size > capacity*SectorSize {
		return corruptAt(p.path, 12, "the extent has %d sectors, the descriptor wants %d from %d on", capacity, p.size/SectorSize, p.base/SectorSize)
	}
	switch h := header.(type) {
	case sparseHeader:
		l.judgeHeader(p.path, h)
	case cowdHeader:
		if h.unclean {
			l.notice("%s is open for writing, or was not closed cleanly", p.path)
		}
	case seSparseHeader:
		replay, err := readSESparseVolatile(f, p.path, h)
		if replay && l.unreadable == nil {
			l.unreadable = unsupported(p.path, "a journal has to be replayed before it can be read; consolidate the snapshots on ESXi first")
		}
		return err
	}
	return nil
}

// checkOverlaps: two extents in one place would be one sector of the file with two addresses.
func (l *layout) checkOverlaps() error {
	for i, a := range l.pieces {
		for _, b := range l.pieces[:i] {
			if a.info == nil || b.info == nil || !os.SameFile(a.info, b.info) {
				continue
			}
			if a.kind != pieceFlat || b.kind != pieceFlat || a.base < b.base+b.size && b.base < a.base+a.size {
				return corruptAt(l.path, 0, "two extents share bytes of %s", a.path)
			}
		}
	}
	return nil
}

// openBeneath opens a regular file that a descriptor in dir names, and no other: not by an absolute path, not through "..",
// not through a symbolic link that leads out of dir.
func openBeneath(dir, name string, write bool) (*os.File, error) {
	if !filepath.IsLocal(name) || strings.HasPrefix(name, "/") || strings.Contains(filepath.ToSlash(name), "../") {
		return nil, fmt.Errorf("%w: the path leads out of the directory of the descriptor; move the file beside it", ErrNotTarget)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	info, err := root.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: not a regular file", ErrNotTarget)
	}
	flags := os.O_RDONLY
	if write {
		flags = os.O_RDWR
	}
	return root.OpenFile(name, flags, 0)
}

// describe fills in what follows from the pieces and the descriptor.
func (l *layout) describe() {
	d := &l.description
	d.Thin = d.Format != FormatDevice && !l.thick()
	for _, p := range l.pieces {
		d.Size += p.size
		if p.path != "" {
			d.Extents = append(d.Extents, p.path)
		}
		if d.Device == 0 && p.info != nil {
			d.Device, d.Inode = fileIdentity(p.info)
		}
	}
	for above := l; above.parent != nil; above = above.parent {
		p := above.parent
		d.Parents = append(d.Parents, above.describeParent(p.path, p, nil))
		d.Notices = append(d.Notices, p.description.Notices...)
	}
	if l.broken != nil {
		d.Parents = append(d.Parents, *l.broken)
	}
	if l.descriptor == nil {
		return
	}
	d.Size = l.descriptor.sectors() * SectorSize
	d.ContentID = l.descriptor.contentID
	d.UUID = l.descriptor.key("ddb.uuid")
	if l.descriptor.key("changeTrackPath") != "" {
		l.notice("change tracking is on; writing to the disk drops it, and the next incremental backup has to be a full one")
	}
	for key := range l.descriptor.keys {
		if strings.HasPrefix(key, "ddb.iofilters") || strings.HasPrefix(key, "ddb.sidecars") {
			l.notice("the descriptor names I/O filters (%s), which do not see what is written here", key)
		}
	}
}

// sameAs reports whether nothing changed between two looks at one disk.
func (l *layout) sameAs(o *layout) bool {
	if l.path != o.path || !bytes.Equal(l.text, o.text) || len(l.pieces) != len(o.pieces) {
		return false
	}
	for i, a := range l.pieces {
		b := o.pieces[i]
		if a.info != nil && (b.info == nil || !os.SameFile(a.info, b.info)) {
			return false
		}
	}
	return true
}
