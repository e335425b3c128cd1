package blockio

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// CanGrow says why a disk of a format can't be made larger; nil: it can.
func CanGrow(f Format) error {
	if !slices.Contains([]Format{FormatRaw, FormatVMFS, FormatMonolithicFlat}, f) {
		return fmt.Errorf("%w: a disk of format %q is not made larger here; %s, %s and %s are", ErrUnsupported, f, FormatRaw, FormatVMFS, FormatMonolithicFlat)
	}
	return nil
}

// Grow makes a disk larger that nobody has open: a raw file, or a VMDK with one flat extent. What it grows by reads as zeros, or as what already lay behind the extent in its file. Content and content id stay. It is durable on return. A crash
// leaves the disk as it was, with a longer file at most, or grown: to grow it again to the same size then does what is left. The rules of OpenTarget hold.
func Grow(path string, size int64, o TargetOptions) error {
	m, err := openTarget(path, o)
	if err == nil {
		err = m.grow(size)
		m.abandon()
	}
	if err != nil {
		return fmt.Errorf("grow disk to %d bytes: %w", size, err)
	}
	return nil
}

func (m *image) grow(size int64) error {
	if err := CanGrow(m.description.Format); err != nil {
		return err
	}
	if size == m.size {
		return nil
	}
	if size < m.size || size%SectorSize != 0 || size > maxSectors*SectorSize {
		return fmt.Errorf("%s has %d bytes: the size must be more, and a multiple of %d", m.name, m.size, SectorSize)
	}
	if len(m.files) != 1 || len(m.parts) != 1 {
		return fmt.Errorf("%w: %s has %d extents", ErrUnsupported, m.name, len(m.parts))
	}
	file, end := m.files[0], m.parts[0].extent.(*flatExtent).base+size
	if have, err := file.Size(); err != nil {
		return err
	} else if have < end {
		if err := file.Truncate(end); err != nil {
			return fmt.Errorf("the file system cannot hold a file of %d bytes: %w", end, err)
		}
	}
	if err := file.Sync(); err != nil { // the descriptor must not tell of what is not there
		return err
	}
	if m.identity == nil {
		return nil
	}
	i := m.identity.(*descriptorIdentity)
	if err := i.d.resize(size); err != nil {
		return err
	}
	return replaceFile(i.path, i.d.bytes())
}

// resize gives the only extent of a descriptor that many bytes, and the disk the geometry that goes with them.
func (d *descriptor) resize(size int64) error {
	at := slices.IndexFunc(d.lines, func(line string) bool {
		text := strings.TrimSpace(line)
		return text != "" && text[0] != '#' && isExtentLine(text)
	})
	if at < 0 || len(d.extents) != 1 {
		return fmt.Errorf("%w: %s has %d extents", ErrUnsupported, d.name, len(d.extents))
	}
	line := d.lines[at]
	was := strconv.FormatInt(d.extents[0].sectors, 10)
	fields := strings.Fields(line)
	if len(fields) < 2 || fields[1] != was {
		return fmt.Errorf("%w: %s: extent line %q", ErrUnsupported, d.name, clip(line))
	}
	from := strings.Index(line, fields[0]) + len(fields[0])
	from += strings.Index(line[from:], was)
	d.lines[at] = line[:from] + strconv.FormatInt(size/SectorSize, 10) + line[from+len(was):]
	d.extents[0].sectors = size / SectorSize
	g := geometryOf(size)
	for key, n := range map[string]int64{"ddb.geometry.cylinders": g.cylinders, "ddb.geometry.heads": g.heads, "ddb.geometry.sectors": g.sectors} {
		d.edit(key, func(string) string { return strconv.FormatInt(n, 10) })
	}
	return nil
}
