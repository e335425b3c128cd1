package blockio

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// splitBytes is the size of the pieces of a twoGbMaxExtent disk: 2047 MiB, which file systems of old can hold.
const splitBytes = 2047 << 20

// Create makes a new disk of size bytes that reads as zeros, a positive multiple of 512, in any of the exported formats except
// FormatDevice. All formats are created thin, as ESXi does on NFS. It never opens what exists (os.ErrExist); files and directory are durable when it
// returns; what it made is removed again when it fails half way. A VMDK's name ends in .vmdk, a raw file's does not.
func Create(path string, f Format, size int64) error {
	if err := create(path, f, size, false); err != nil {
		return fmt.Errorf("create %s disk of %d bytes: %w", f, size, err)
	}
	return nil
}

// CreateThick makes a disk of FormatVMFS as Create does, with all its space allocated: it can't run out of space later. The file system reserves the space and zeroes it
// when it is first written, as with zeroedthick of ESXi; where it can't (NFS before 4.2) the zeros are written now, as with eagerzeroedthick, which takes its time.
func CreateThick(path string, size int64) error {
	if err := create(path, FormatVMFS, size, true); err != nil {
		return fmt.Errorf("create thick %s disk of %d bytes: %w", FormatVMFS, size, err)
	}
	return nil
}

func create(path string, f Format, size int64, thick bool) error {
	if size <= 0 || size%SectorSize != 0 || size > maxSectors*SectorSize {
		return fmt.Errorf("%s: the size must be a positive multiple of %d", path, SectorSize)
	}
	if err := checkNewName(path, f); err != nil {
		return err
	}
	files, err := filesOf(path, f, size, thick)
	if err != nil {
		return err
	}
	for i, file := range files {
		if err := file.make(); err != nil {
			for _, made := range files[:i] {
				os.Remove(made.path)
			}
			return err
		}
	}
	return syncDir(filepath.Dir(path))
}

func checkNewName(path string, f Format) error {
	switch f {
	case FormatRaw:
		if hasVMDKName(path) {
			return fmt.Errorf("%s: a raw disk must not be named .vmdk, or its content would be read as VMDK metadata", path)
		}
		return nil
	case FormatVMFS, FormatMonolithicFlat, FormatTwoGbMaxExtentFlat, FormatMonolithicSparse, FormatTwoGbSparse:
	default:
		return fmt.Errorf("%w: %s: format %q cannot be created", ErrUnsupported, path, f)
	}
	if !hasVMDKName(path) || isFlatName(path) {
		return fmt.Errorf("%s: the name of a VMDK must end in .vmdk, and not in -flat.vmdk", path)
	}
	if strings.ContainsAny(filepath.Base(path), "\"\r\n\x00") {
		return fmt.Errorf("%q: the name would not be understood inside of a descriptor", path)
	}
	return nil
}

// newFile is a file that does not exist yet.
type newFile struct {
	path    string
	size    int64 // bytes; content is at its beginning
	content []newContent
	thick   bool // all space is allocated
}

type newContent struct {
	at int64
	b  []byte
}

// make creates the file, or leaves nothing behind. A name that exists is left alone.
func (n newFile) make() (err error) {
	f, err := os.OpenFile(n.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			os.Remove(n.path)
		}
	}()
	if err := f.Truncate(n.size); err != nil {
		return fmt.Errorf("the file system cannot hold a file of %d bytes: %w", n.size, err)
	}
	if n.thick {
		if err := allocate(f, n.size); err != nil {
			return fmt.Errorf("allocate %d bytes for %s: %w", n.size, n.path, err)
		}
	}
	for _, c := range n.content {
		if _, err := f.WriteAt(c.b, c.at); err != nil {
			return err
		}
	}
	return f.Sync()
}

// allocate gives f all the space it needs; it reads as zeros as before.
func allocate(f *os.File, size int64) error {
	err := reserve(f, size)
	if !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	st := &osFile{f: f, name: f.Name()}
	return st.writeZeros(0, size)
}

// filesOf lists what to create, the descriptor last: it makes a disk of the others.
func filesOf(path string, f Format, size int64, thick bool) ([]newFile, error) {
	if f == FormatRaw {
		return []newFile{{path: path, size: size}}, nil
	}
	id := NewContentID()
	disk := newDisk{format: f, size: size, contentID: id, longID: newLongContentID(id), uuid: newUUID(), thin: f == FormatVMFS && !thick}
	if f == FormatMonolithicSparse {
		disk.extents = []extentLine{{access: "RW", sectors: size / SectorSize, kind: "SPARSE", file: filepath.Base(path)}}
		file, err := newSparseFile(path, size, disk.text())
		return []newFile{file}, err
	}
	var files []newFile
	for off, i := int64(0), 1; off < size; i++ {
		piece := size - off
		if f == FormatTwoGbMaxExtentFlat || f == FormatTwoGbSparse {
			piece = min(piece, splitBytes)
		}
		e := extentLine{access: "RW", sectors: piece / SectorSize, kind: extentKind(f), file: extentName(path, f, i)}
		if disk.extents = append(disk.extents, e); len(disk.extents) > maxExtents {
			return nil, fmt.Errorf("%s: more than %d extents; use a format without them", path, maxExtents)
		}
		file := newFile{path: filepath.Join(filepath.Dir(path), e.file), size: piece, thick: thick}
		if f == FormatTwoGbSparse {
			var err error
			if file, err = newSparseFile(file.path, piece, ""); err != nil {
				return nil, err
			}
		}
		files = append(files, file)
		off += piece
	}
	text := []byte(disk.text())
	return append(files, newFile{path: path, size: int64(len(text)), content: []newContent{{0, text}}}), nil
}

func extentKind(f Format) string {
	switch f {
	case FormatVMFS:
		return "VMFS"
	case FormatTwoGbSparse:
		return "SPARSE"
	}
	return "FLAT"
}

func extentName(path string, f Format, number int) string {
	base := filepath.Base(path)
	stem := strings.TrimSuffix(base, filepath.Ext(base))
	switch f {
	case FormatTwoGbMaxExtentFlat:
		return fmt.Sprintf("%s-f%03d.vmdk", stem, number)
	case FormatTwoGbSparse:
		return fmt.Sprintf("%s-s%03d.vmdk", stem, number)
	}
	return stem + "-flat.vmdk"
}

// newSparseFile lays out an empty sparse extent, with the descriptor inside unless it is "".
func newSparseFile(path string, size int64, descriptor string) (newFile, error) {
	h := newSparseHeader(size/SectorSize, descriptor != "")
	if h.tables() > maxDirectory || h.overhead*SectorSize > maxSparse/2 {
		return newFile{}, fmt.Errorf("%s: %d bytes are too many for a sparse extent; use a flat format", path, size)
	}
	if len(descriptor) >= newSparseDesc*SectorSize {
		return newFile{}, errors.New("the descriptor does not fit into the sparse extent")
	}
	content := []newContent{
		{h.redundantOffset * SectorSize, h.newDirectory(h.redundantOffset)},
		{h.directoryOffset * SectorSize, h.newDirectory(h.directoryOffset)},
		{0, h.encode()},
	}
	if descriptor != "" {
		content = append(content, newContent{h.descriptorOffset * SectorSize, []byte(descriptor)})
	}
	return newFile{path: path, size: h.overhead * SectorSize, content: content}, nil
}
