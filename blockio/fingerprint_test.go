package blockio

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func fingerprintOf(t *testing.T, path string) Fingerprint {
	t.Helper()
	d, err := OpenTarget(path, TargetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	f, err := d.Fingerprint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFingerprintOfRawFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.img")
	if err := Create(path, FormatRaw, 64<<20+512); err != nil {
		t.Fatal(err)
	}
	d, err := OpenTarget(path, TargetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.WriteAt([]byte("ours"), 5<<20); err != nil {
		t.Fatal(err)
	}
	was, err := d.Fingerprint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := was.Check(fingerprintOf(t, path)); err != nil {
		t.Errorf("nobody wrote: %v", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	stranger := func(off int64) {
		t.Helper()
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteAt([]byte("stranger"), off); err != nil {
			t.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	stranger(7<<20 + 4096*3) // not sampled
	later := info.ModTime().Add(time.Minute)
	if err := os.Chtimes(path, later, later); err != nil {
		t.Fatal(err)
	}
	if err := was.Check(fingerprintOf(t, path)); !errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), "after we had closed it") {
		t.Errorf("a stranger wrote what is not sampled: %v", err)
	}
	if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if err := was.Check(fingerprintOf(t, path)); err != nil {
		t.Errorf("the sample has changed, or the write was sampled after all: %v", err)
	}
	for _, off := range []int64{0, 64<<20 + 511 - 8} {
		stranger(off)
		if err := was.Check(fingerprintOf(t, path)); !errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), "sampled") {
			t.Errorf("a stranger wrote at %d: %v", off, err)
		}
		was = fingerprintOf(t, path)
	}
}

func TestFingerprintCheck(t *testing.T) {
	const a = Fingerprint("1/512/aa/7")
	for other, want := range map[Fingerprint]error{
		a: nil, "1/1024/aa/7": ErrChanged, "1/512/ab/7": ErrChanged, "1/512/aa/8": ErrChanged, "2/512/aa/7": ErrUnsupported, "": ErrUnsupported, "1/512/aa": ErrUnsupported,
	} {
		if err := a.Check(other); !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("%s: %v, want %v", other, err, want)
		}
	}
	if err := Fingerprint("2/1/a/-").Check("2/1/a/-"); !errors.Is(err, ErrUnsupported) {
		t.Errorf("a version that is not known: %v", err)
	}
}

func TestNoFingerprintWithTables(t *testing.T) {
	for _, format := range []Format{FormatMonolithicSparse, FormatTwoGbSparse} {
		path := filepath.Join(t.TempDir(), "x.vmdk")
		if err := Create(path, format, 1<<20); err != nil {
			t.Fatal(err)
		}
		if f := fingerprintOf(t, path); f != "" {
			t.Errorf("%s: got %q", format, f)
		}
	}
}

// TestFingerprintOfFlatVMDK has a stranger write into a data file past the descriptor, which leaves the content id as it was.
func TestFingerprintOfFlatVMDK(t *testing.T) {
	for _, c := range []struct {
		format Format
		file   string // that holds the last byte
		size   int64
	}{
		{FormatVMFS, "x-flat.vmdk", 64 << 20},
		{FormatMonolithicFlat, "x-flat.vmdk", 64 << 20},
		{FormatTwoGbMaxExtentFlat, "x-f002.vmdk", 2047<<20 + 64<<20},
	} {
		t.Run(string(c.format), func(t *testing.T) {
			dir := t.TempDir()
			path, data := filepath.Join(dir, "x.vmdk"), filepath.Join(dir, c.file)
			if err := Create(path, c.format, c.size); err != nil {
				t.Fatal(err)
			}
			was := fingerprintOf(t, path)
			if was == "" {
				t.Fatal("no fingerprint")
			}
			// A session of ours that writes nothing, and the content id, which lies beside the data.
			d, err := OpenTarget(path, TargetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(d.SetContentID(NewContentID()), d.Close()); err != nil {
				t.Fatal(err)
			}
			if err := was.Check(fingerprintOf(t, path)); err != nil {
				t.Errorf("nobody wrote: %v", err)
			}
			info, err := os.Stat(data)
			if err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(data, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.WriteAt([]byte("stranger"), 7<<20+4096*3); err != nil { // not sampled
				t.Fatal(err)
			}
			for _, later := range []time.Duration{time.Hour, -time.Hour} { // of a file that was brought back from a copy
				at := info.ModTime().Add(later)
				if err := os.Chtimes(data, at, at); err != nil {
					t.Fatal(err)
				}
				if err := was.Check(fingerprintOf(t, path)); !errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), "written at") {
					t.Errorf("a stranger wrote what is not sampled, and the time is off by %v: %v", later, err)
				}
			}
			if _, err := f.WriteAt([]byte("stranger"), info.Size()-8); err != nil { // sampled
				t.Fatal(err)
			}
			if err := os.Chtimes(data, info.ModTime(), info.ModTime()); err != nil {
				t.Fatal(err)
			}
			if err := was.Check(fingerprintOf(t, path)); !errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), "sampled hold") {
				t.Errorf("a stranger wrote the end, and put the time back: %v", err)
			}
		})
	}
}

// TestFingerprintIsBounded: whatever the metadata of a guest says, it is read in bounds, and it ends.
func TestFingerprintIsBounded(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	le := binary.LittleEndian
	for range 300 {
		b := make([]byte, 1<<20)
		for range 40 { // superblocks everywhere, with nonsense in them
			at := r.IntN(len(b)/512-8) * 512
			if r.IntN(3) == 0 {
				at = []int{0, 512, 1024, 4096}[r.IntN(4)]
			}
			for i := range 512 {
				if r.IntN(3) == 0 {
					b[at+i] = byte(r.Uint32())
				}
			}
			switch r.IntN(7) {
			case 0:
				b[at+510], b[at+511] = 0x55, 0xaa
			case 1:
				copy(b[at:], "EFI PART")
				le.PutUint64(b[at+72:], uint64(r.IntN(2048)))
				le.PutUint32(b[at+84:], 128)
			case 2:
				copy(b[at:], "XFSB")
			case 3:
				le.PutUint16(b[at+1024+56:], 0xef53)
				le.PutUint32(b[at+1024+24:], 2)
			case 4:
				copy(b[at+3:], "NTFS    ")
			case 5:
				copy(b[at:], "LABELONE")
			case 6:
				copy(b[at+4:], " LVM2 x[5A%r0N*>")
				le.PutUint64(b[at+40:], 512)
				le.PutUint64(b[at+48:], 512)
				copy(b[at+512:], `extent_size = 8 pe_start = 8 "pv0", 3 "pv0", 0 "pv0", 99999999`)
			}
		}
		st := &crashStorage{b: b}
		m := &image{name: "x", files: []storage{st}}
		m.add(int64(len(b)), &flatExtent{st: st, size: int64(len(b))})
		if _, err := m.Fingerprint(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
