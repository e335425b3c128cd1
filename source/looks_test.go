package source

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// table writes an MBR with partitions of the types, each a MiB, one after another.
func mbrOf(kinds ...byte) []byte {
	b := make([]byte, 8<<20)
	for i, k := range kinds {
		e := b[446+16*i:]
		e[4] = k
		binary.LittleEndian.PutUint32(e[8:], uint32(i+1)*2048)
		binary.LittleEndian.PutUint32(e[12:], 2048)
	}
	b[510], b[511] = 0x55, 0xaa
	return b
}

// gptOf writes a GPT with partitions of the types.
func gptOf(sector int, types ...[16]byte) []byte {
	b := mbrOf(0xee)
	copy(b[sector:], "EFI PART")
	binary.LittleEndian.PutUint64(b[sector+72:], 2)
	binary.LittleEndian.PutUint32(b[sector+80:], 128)
	binary.LittleEndian.PutUint32(b[sector+84:], 128)
	for i, t := range types {
		copy(b[2*sector+128*i:], t[:])
	}
	return b
}

func put(b []byte, at int, what string) []byte {
	b = bytes.Clone(b)
	copy(b[at:], what)
	return b
}

func TestLooks(t *testing.T) {
	empty := make([]byte, 8<<20)
	basic := guid(0xEBD0A0A2, 0xB9E5, 0x4433, 0x87C068B6B72699C7) // both systems have used it
	esp := guid(0xC12A7328, 0xF81F, 0x11D2, 0xBA4B00A0C93EC93B)
	reserved, ext, lvm := gptTypes[0].id, gptTypes[1].id, gptTypes[3].id
	broken := gptOf(512, ext)
	binary.LittleEndian.PutUint32(broken[512+84:], 1<<31)
	for name, c := range map[string]struct {
		disk []byte
		want string
	}{
		"Empty":            {empty, ""},
		"Tiny":             {empty[:100], ""},
		"Windows GPT":      {gptOf(512, esp, reserved, basic), windows},
		"Linux GPT":        {gptOf(512, esp, ext, lvm), linux},
		"Linux GPT of 4K":  {gptOf(4096, esp, lvm), linux},
		"Data of both":     {gptOf(512, basic), ""},
		"Both":             {gptOf(512, reserved, ext), ""},
		"Broken GPT":       {broken, ""},
		"Linux MBR":        {mbrOf(0x83, 0x82), linux},
		"Windows MBR":      {put(mbrOf(0x07), 1<<20, "\xeb\x52\x90NTFS    "), windows},
		"exFAT":            {put(mbrOf(0x07), 1<<20, "\xeb\x76\x90EXFAT   "), ""},
		"Both in MBR":      {put(mbrOf(0x83, 0x07), 2<<20, "\xeb\x52\x90NTFS    "), ""},
		"Beyond the end":   {mbrOf(0x83)[:1<<20], linux},
		"ext":              {put(empty, 1080, "\x53\xef"), linux},
		"xfs":              {put(empty, 0, "XFSB"), linux},
		"Physical volume":  {put(empty, 512, "LABELONE"), linux},
		"NTFS":             {put(empty, 0, "\xeb\x52\x90NTFS    "), windows},
		"BitLocker":        {put(empty, 0, "\xeb\x58\x90-FVE-FS-"), windows},
		"A text, no table": {put(empty, 0, "Dear all"), ""},
	} {
		if got, mark := looks(bytes.NewReader(c.disk)); got != c.want || (mark == "") != (got == "") {
			t.Errorf("%s: got %q by %q, want %q", name, got, mark, c.want)
		}
	}
}

// TestLooksAtRealFileSystems has mkfs make one.
func TestLooksAtRealFileSystems(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	if got, _ := Looks(path); got != "" {
		t.Errorf("none: got %q", got)
	}
	if err := os.WriteFile(path, make([]byte, 4<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", path).CombinedOutput(); err != nil {
		t.Skipf("mkfs.ext4 (e2fsprogs): %v: %s", err, out)
	}
	if got, mark := Looks(path); got != linux {
		t.Errorf("got %q by %q", got, mark)
	}
}

func TestAllocated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(16 << 20); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(bytes.Repeat([]byte{7}, 1<<20), 4<<20); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if got := Allocated(path, 16<<20); got < 1<<20 || got > 2<<20 {
		t.Errorf("got %d bytes", got)
	}
	if got := Allocated(path+".none", 5); got != 5 {
		t.Errorf("of none: got %d", got)
	}
}
