package source

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
)

// Looks tells whose disk a source looks like, linux or windows, and by what: its partition table, or the file system that fills it. "" where it tells neither: it may be empty, or a data disk that both could have.
// A hint, by the first 64 KiB.
func Looks(path string) (system, mark string) {
	fi, err := os.Stat(path) // before opening: a FIFO would wait
	if err != nil || !fi.Mode().IsRegular() && fi.Mode()&os.ModeDevice == 0 {
		return "", ""
	}
	f, err := os.Open(path)
	if err != nil {
		return "", ""
	}
	defer f.Close()
	return looks(f)
}

// The names of OS types, as plans have them.
const (
	linux   = "linux"
	windows = "windows"
)

// lookedAt is how much of a disk's start is looked at; tables are below it for sectors of 512 and 4096 bytes.
const lookedAt = 64 << 10

// partition types of a GPT, as they lie on the disk.
var gptTypes = []struct {
	id           [16]byte
	system, name string
}{
	{guid(0xE3C9E316, 0x0B5C, 0x4DB8, 0x817DF92DF00215AE), windows, "a partition of the type Microsoft reserved"},
	{guid(0x0FC63DAF, 0x8483, 0x4772, 0x8E793D69D8477DE4), linux, "a partition of the type Linux file system"},
	{guid(0x4F68BCE3, 0xE8CD, 0x4DB1, 0x96E7FBCAF984B709), linux, "a partition of the type Linux root"},
	{guid(0xE6D6D379, 0xF507, 0x44C2, 0xA23C238F2A3DF928), linux, "a partition of the type Linux LVM"},
	{guid(0x0657FD6D, 0xA4AB, 0x43C4, 0x84E50933C84B4F4F), linux, "a partition of the type Linux swap"},
	{guid(0xA19D880F, 0x05FC, 0x4D3B, 0xA006743F0F84911E), linux, "a partition of the type Linux RAID"},
}

// guid returns a GUID in its form on the disk: the first three parts are little-endian.
func guid(a uint32, b, c uint16, d uint64) (g [16]byte) {
	binary.LittleEndian.PutUint32(g[:], a)
	binary.LittleEndian.PutUint16(g[4:], b)
	binary.LittleEndian.PutUint16(g[6:], c)
	binary.BigEndian.PutUint64(g[8:], d)
	return g
}

func looks(disk io.ReaderAt) (system, mark string) {
	b := make([]byte, lookedAt)
	n, _ := disk.ReadAt(b, 0)
	if b = b[:n]; n < 4096 {
		return "", ""
	}
	if system, mark = fileSystem(b); system != "" {
		return system, "the whole disk is " + mark
	}
	for _, sector := range []int{512, 4096} {
		if len(b) >= 2*sector && bytes.HasPrefix(b[sector:], []byte("EFI PART")) {
			return gpt(b, sector)
		}
	}
	return mbr(disk, b)
}

// fileSystem tells what begins here.
func fileSystem(b []byte) (system, what string) {
	at := func(off int, magic string) bool {
		return len(b) >= off+len(magic) && string(b[off:off+len(magic)]) == magic
	}
	switch {
	case at(3, "NTFS    "):
		return windows, "NTFS"
	case at(3, "-FVE-FS-"):
		return windows, "BitLocker's"
	case at(0, "XFSB"):
		return linux, "xfs"
	case at(1080, "\x53\xef"):
		return linux, "ext2, 3 or 4"
	case at(512, "LABELONE"):
		return linux, "a physical volume of LVM"
	}
	return "", ""
}

// gpt looks at the entries of a GPT. Marks of both systems say nothing.
func gpt(b []byte, sector int) (system, mark string) {
	first := binary.LittleEndian.Uint64(b[sector+72:])
	count, size := binary.LittleEndian.Uint32(b[sector+80:]), int(binary.LittleEndian.Uint32(b[sector+84:]))
	if first >= lookedAt || size < 128 || size > 4096 || count > 1024 {
		return "", ""
	}
	for i := range int(count) {
		at := int(first)*sector + i*size
		if at+16 > len(b) {
			break
		}
		for _, t := range gptTypes {
			if !bytes.Equal(t.id[:], b[at:at+16]) {
				continue
			}
			if system != "" && system != t.system {
				return "", ""
			}
			system, mark = t.system, t.name
		}
	}
	return system, mark
}

// mbr looks at the four entries of an MBR. What has the type of NTFS may be another's: its start is looked at.
func mbr(disk io.ReaderAt, b []byte) (system, mark string) {
	if b[510] != 0x55 || b[511] != 0xaa {
		return "", ""
	}
	for i := range 4 {
		e := b[446+16*i:][:16]
		s := ""
		switch kind := e[4]; kind {
		case 0x82, 0x83, 0x85, 0x8e, 0xfd:
			s = linux
			mark = fmt.Sprintf("a partition of the type 0x%02x, Linux", kind)
		case 0x07:
			var start [16]byte
			if _, err := disk.ReadAt(start[:], int64(binary.LittleEndian.Uint32(e[8:]))*512); err != nil {
				continue
			}
			if s, _ = fileSystem(start[:]); s == windows {
				mark = "a partition with NTFS"
			}
		}
		if s == "" {
			continue
		}
		if system != "" && system != s {
			return "", ""
		}
		system = s
	}
	if system == "" {
		mark = ""
	}
	return system, mark
}
