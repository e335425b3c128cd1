package blockio

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// Bounds on what a descriptor may ask of us (I12). The largest disk that ESXi makes, 62 TiB, has 31 thousand pieces of 2047 MiB,
// but such a disk is one file; hosted products stop at 8 TiB.
const (
	maxDescriptorBytes = 1 << 20
	maxExtents         = 4200
	maxSectors         = 1 << 50
	noParent           = 0xffffffff
)

// descriptor is the text that describes a disk. The lines are kept as they were read, byte for byte, whatever their encoding;
// only what setContentID and dropChangeTracking say is changed.
type descriptor struct {
	name       string // the file it came from
	lines      []string
	version    int
	contentID  uint32
	parentID   uint32
	createType string
	extents    []extentLine
	extentAt   []int64           // offset of each extent's line in the file
	keys       map[string]string // lower-case key → value without quotes
	keyAt      map[string]int64  // lower-case key → offset of its line in the file
}

// extentLine is one line of the extent description.
type extentLine struct {
	access  string // RW, RDONLY or NOACCESS
	sectors int64
	kind    string // FLAT, SPARSE, ZERO, VMFS, …
	file    string // relative to the descriptor; "" for ZERO
	offset  int64  // sectors into the file
}

// isDescriptor reports whether a file that starts with b may be a descriptor in a file of its own.
func isDescriptor(b []byte) bool {
	head := strings.ToLower(string(bytes.TrimPrefix(b[:min(len(b), 4096)], []byte("\xef\xbb\xbf"))))
	return strings.HasPrefix(head, "#") && !strings.ContainsRune(strings.SplitN(head, "\n", 2)[0], 0) || strings.HasPrefix(head, "version")
}

// parseDescriptor reads the text of a descriptor, up to the first NUL. base is where b begins in the file called name. What it
// cannot place is an error: a line that is skipped could be an extent, and the data after it would shift.
func parseDescriptor(name string, b []byte, base int64) (*descriptor, error) {
	if len(b) > maxDescriptorBytes {
		return nil, corruptAt(name, base, "descriptor of %d bytes; at most %d are read", len(b), maxDescriptorBytes)
	}
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	d := &descriptor{name: name, keys: map[string]string{}, keyAt: map[string]int64{}}
	off := base
	for _, line := range strings.SplitAfter(string(b), "\n") {
		if line == "" {
			continue
		}
		d.lines = append(d.lines, line)
		if err := d.parseLine(line, off); err != nil {
			return nil, err
		}
		off += int64(len(line))
	}
	if err := d.interpret(base); err != nil {
		return nil, err
	}
	return d, nil
}

func (d *descriptor) parseLine(line string, off int64) error {
	text := strings.TrimSpace(strings.TrimPrefix(line, "\xef\xbb\xbf"))
	if text == "" || text[0] == '#' {
		return nil
	}
	if isExtentLine(text) {
		if len(d.extents) == maxExtents {
			return corruptAt(d.name, off, "more than %d extents", maxExtents)
		}
		e, err := parseExtentLine(text)
		if err != nil {
			return corruptAt(d.name, off, "extent line %q: %v", clip(text), err)
		}
		d.extents, d.extentAt = append(d.extents, e), append(d.extentAt, off)
		return nil
	}
	key, value, ok := splitKey(text)
	if !ok {
		return corruptAt(d.name, off, "line %q is neither a comment, a key nor an extent", clip(text))
	}
	if old, dup := d.keys[key]; dup && old != value && isVitalKey(key) {
		return corruptAt(d.name, off, "key %s is %q here and %q above", key, clip(value), clip(old))
	}
	d.keys[key], d.keyAt[key] = value, off
	return nil
}

// splitKey takes a line `key = "value"` apart. Keys are not case-sensitive; the quotes are optional.
func splitKey(text string) (key, value string, ok bool) {
	key, value, ok = strings.Cut(text, "=")
	key, value = strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(value)
	if !ok || key == "" {
		return "", "", false
	}
	if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
		value = value[1 : len(value)-1]
	}
	return key, value, true
}

func isVitalKey(key string) bool {
	switch key {
	case "version", "cid", "parentcid", "createtype", "parentfilenamehint":
		return true
	}
	return false
}

func isExtentLine(text string) bool {
	switch strings.ToUpper(strings.Fields(text)[0]) {
	case "RW", "RDONLY", "NOACCESS":
		return true
	}
	return false
}

// parseExtentLine reads ACCESS SECTORS TYPE ["file" [OFFSET …]]. A file name reaches from the first quote to the last, since
// names may contain quotes themselves.
func parseExtentLine(text string) (extentLine, error) {
	head, file, tail := text, "", ""
	if i := strings.IndexByte(text, '"'); i >= 0 {
		j := strings.LastIndexByte(text, '"')
		if j == i {
			return extentLine{}, fmt.Errorf("the file name does not end")
		}
		head, file, tail = text[:i], text[i+1:j], text[j+1:]
	}
	words := strings.Fields(head)
	if len(words) != 3 {
		return extentLine{}, fmt.Errorf("%d words before the file name, want access, sectors and type", len(words))
	}
	sectors, err := parseSectors(words[1])
	if err != nil {
		return extentLine{}, err
	}
	e := extentLine{access: strings.ToUpper(words[0]), sectors: sectors, kind: strings.ToUpper(words[2]), file: file}
	if (e.file == "") != (e.kind == "ZERO") {
		return extentLine{}, fmt.Errorf("type %s with file name %q", e.kind, e.file)
	}
	if rest := strings.Fields(tail); len(rest) > 0 {
		if e.offset, err = parseSectors(rest[0]); err != nil {
			return extentLine{}, err
		}
	}
	return e, nil
}

func parseSectors(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > maxSectors {
		return 0, fmt.Errorf("%q is not a count of sectors up to %d", clip(s), int64(maxSectors))
	}
	return int64(n), nil
}

// interpret checks the keys that decide what the bytes mean.
func (d *descriptor) interpret(base int64) error {
	version, err := strconv.Atoi(d.keys["version"])
	if err != nil || version < 1 || version > 3 {
		return corruptAt(d.name, base, "version %q; 1, 2 and 3 are known", clip(d.keys["version"]))
	}
	d.version = version
	if d.contentID, err = parseID(d.keys["cid"]); err != nil {
		return corruptAt(d.name, base, "CID: %v", err)
	}
	d.parentID = noParent
	if s, ok := d.keys["parentcid"]; ok {
		if d.parentID, err = parseID(s); err != nil {
			return corruptAt(d.name, base, "parentCID: %v", err)
		}
	}
	if d.createType = d.keys["createtype"]; d.createType == "" {
		return corruptAt(d.name, base, "createType is missing")
	}
	if len(d.extents) == 0 {
		return corruptAt(d.name, base, "no extents")
	}
	if d.sectors() > maxSectors {
		return corruptAt(d.name, base, "the extents have more than %d sectors together", int64(maxSectors))
	}
	if d.sectors() == 0 {
		return corruptAt(d.name, base, "the extents have no sectors")
	}
	return nil
}

// parseID reads a content id: up to 8 hexadecimal digits, fewer where a writer left out leading zeros.
func parseID(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 16, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number of up to 8 hexadecimal digits", clip(s))
	}
	return uint32(n), nil
}

func (d *descriptor) sectors() int64 {
	var n int64
	for _, e := range d.extents {
		n += e.sectors
	}
	return n
}

func (d *descriptor) key(name string) string { return d.keys[strings.ToLower(name)] }

// isChild reports whether the disk is a snapshot of another one.
func (d *descriptor) isChild() bool {
	return d.parentID != noParent || d.key("parentFileNameHint") != ""
}

// bytes returns the text as it is now.
func (d *descriptor) bytes() []byte { return []byte(strings.Join(d.lines, "")) }

// setContentID changes CID, and the last 8 digits of ddb.longContentID to the same.
func (d *descriptor) setContentID(id uint32) {
	digits := fmt.Sprintf("%08x", id)
	d.edit("cid", func(string) string { return digits })
	d.edit("ddb.longcontentid", func(old string) string {
		if len(old) < len(digits) {
			return old
		}
		return old[:len(old)-len(digits)] + digits
	})
	d.contentID = id
}

// dropChangeTracking makes a comment of the line that names the change tracking file and sets the version back to 1. Every
// line keeps its length, so that an embedded descriptor is changed within its sectors. It reports whether there was tracking.
func (d *descriptor) dropChangeTracking() bool {
	_, tracked := d.keys["changetrackpath"]
	for i, line := range d.lines {
		if key, _, ok := splitKey(strings.TrimSpace(line)); ok && key == "changetrackpath" {
			text := strings.TrimRight(line, "\r\n")
			d.lines[i] = "#" + strings.Repeat(" ", len(text)-1) + line[len(text):]
		}
	}
	delete(d.keys, "changetrackpath")
	if d.version == 1 && !tracked {
		return false
	}
	d.edit("version", func(string) string { return "1" })
	d.version = 1
	return tracked
}

// edit changes the value in every line with that key (lower case), and nothing else of the line.
func (d *descriptor) edit(key string, change func(old string) string) {
	for i, line := range d.lines {
		k, old, ok := splitKey(strings.TrimSpace(strings.TrimPrefix(line, "\xef\xbb\xbf")))
		if !ok || k != key || old == "" {
			continue
		}
		eq := strings.IndexByte(line, '=') + 1
		at := eq + strings.Index(line[eq:], old)
		d.lines[i] = line[:at] + change(old) + line[at+len(old):]
		d.keys[key] = change(old)
	}
}

// clip shortens what is quoted in a message: a descriptor may have lines of a megabyte.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
