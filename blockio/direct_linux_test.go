package blockio

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// pickyFile is a file that takes what its alignment allows and nothing else, and notes the writes.
type pickyFile struct {
	t             *testing.T
	mu            sync.Mutex
	b             []byte
	d             *directAccess
	reads, writes int
	fail          error
	short         int // a write stops after so many bytes, with fail
}

func newPickyFile(t *testing.T, block int64, size int) *pickyFile {
	f := &pickyFile{t: t, b: make([]byte, size)}
	f.d = newDirectAccess(f, block, 512)
	return f
}

func (f *pickyFile) check(p []byte, off int64) {
	if !f.d.fits(p, off) {
		f.t.Errorf("%d bytes at %d are not aligned", len(p), off)
	}
}

func (f *pickyFile) ReadAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.check(p, off)
	f.reads++
	n := copy(p, f.b[min(off, int64(len(f.b))):])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *pickyFile) WriteAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.check(p, off)
	f.writes++
	if f.fail != nil {
		p = p[:min(f.short, len(p))]
	}
	return copy(f.b[off:], p), f.fail
}

func TestDirectFollowsTheModel(t *testing.T) {
	for _, block := range []int64{512, 4096, 65536} {
		f := newPickyFile(t, block, 4<<20)
		d := f.d
		model := make([]byte, len(f.b))
		r := rand.New(rand.NewPCG(3, uint64(block)))
		noise := make([]byte, 2<<20+4096)
		for i := range noise {
			noise[i] = byte(r.Uint32())
		}
		for range 400 {
			n := 1 + r.IntN([]int{600, 9000, 200_000, 2 << 20}[r.IntN(4)])
			off := r.Int64N(int64(len(f.b) - n + 1))
			if r.IntN(2) == 0 {
				off = off / block * block
			}
			p := noise[r.IntN(4096):][:n]
			if r.IntN(2) == 0 {
				if k, err := d.writeAt(p, off); k != n || err != nil {
					t.Fatalf("writeAt(%d, %d) = %d, %v", n, off, k, err)
				}
				copy(model[off:], p)
				continue
			}
			got := make([]byte, n)
			if k, err := d.readAt(got, off); k != n || err != nil || !bytes.Equal(got, model[off:][:n]) {
				t.Fatalf("readAt(%d, %d) = %d, %v, or other bytes", n, off, k, err)
			}
		}
		if !bytes.Equal(f.b, model) {
			t.Errorf("blocks of %d: the file holds something else than the model", block)
		}
		got := make([]byte, 100)
		if k, err := d.readAt(got, int64(len(f.b))-60); k != 60 || err != io.EOF {
			t.Errorf("a read across the end: %d, %v", k, err)
		}
	}
}

// TestDirectWritesOnce: what is not aligned costs one read for each end, and one write.
func TestDirectWritesOnce(t *testing.T) {
	p := newAligned(1 << 20)
	for _, c := range []struct {
		off           int64
		n             int
		reads, writes int
	}{{0, 4096, 0, 1}, {4096, 1 << 20, 0, 1}, {100, 50, 1, 1}, {100, 8192, 2, 1}, {100, 4096 - 100, 1, 1}, {0, 100, 1, 1}, {512, 65536 - 512, 1, 1}} {
		f := newPickyFile(t, 4096, 2<<20)
		if _, err := f.d.writeAt(p[:c.n], c.off); err != nil || f.reads != c.reads || f.writes != c.writes {
			t.Errorf("%d bytes at %d: %d reads and %d writes, %v; want %d and %d", c.n, c.off, f.reads, f.writes, err, c.reads, c.writes)
		}
	}
}

// TestDirectShortWrite tells how much of the caller's bytes were written, and no more.
func TestDirectShortWrite(t *testing.T) {
	for short, want := range map[int]int{0: 0, 512: 412, 4096: 3996, 100: 0} {
		f := newPickyFile(t, 4096, 1<<20)
		f.fail, f.short = syscall.ENOSPC, short
		if n, err := f.d.writeAt(make([]byte, 5000), 100); n != want || !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%d bytes went out: %d, %v, want %d", short, n, err, want)
		}
	}
}

// TestDirectNeighbours: many write parts of the same blocks.
func TestDirectNeighbours(t *testing.T) {
	f := newPickyFile(t, 4096, 1<<20)
	d := f.d
	var wg sync.WaitGroup
	const piece = 1536
	for w := range 8 {
		wg.Go(func() {
			for off := w * piece; off+piece <= len(f.b); off += 8 * piece {
				if _, err := d.writeAt(bytes.Repeat([]byte{byte(off / piece)}, piece), int64(off)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for off := 0; off+piece <= len(f.b); off += piece {
		if !bytes.Equal(f.b[off:off+piece], bytes.Repeat([]byte{byte(off / piece)}, piece)) {
			t.Fatalf("bytes at %d were lost to a neighbour", off)
		}
	}
}

func TestAlignedBuffersAreBounded(t *testing.T) {
	var held [][]byte
	for range directBuffers {
		held = append(held, takeAligned())
	}
	select {
	case alignedMade <- struct{}{}:
		t.Error("one more could be made")
	default:
	}
	for _, b := range held {
		giveAligned(b)
	}
}

// TestDirectAndBuffered: what is written directly is what others read through the page cache at once, and the other way round.
func TestDirectAndBuffered(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.vmdk")
	if err := Create(path, FormatVMFS, 4<<20); err != nil {
		t.Fatal(err)
	}
	d, err := OpenTarget(path, TargetOptions{Caching: CachingDirect})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if d.(*image).files[0].(*osFile).direct == nil {
		t.Skip("the file system of the test's directory has no direct I/O")
	}
	if err := d.SetContentID(NewContentID()); err != nil {
		t.Fatal(err)
	}
	other, err := os.OpenFile(filepath.Join(filepath.Dir(path), "x-flat.vmdk"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	r := rand.New(rand.NewPCG(1, 1))
	for i := range 300 {
		off, n := r.Int64N(4<<20-70_000), 1+r.IntN(70_000)
		p := bytes.Repeat([]byte{byte(i + 1)}, n)
		got := make([]byte, n)
		switch r.IntN(3) {
		case 0: // it is in the page cache before it is written
			if _, err := other.ReadAt(got, off); err != nil {
				t.Fatal(err)
			}
			fallthrough
		case 1:
			if _, err := d.WriteAt(p, off); err != nil {
				t.Fatal(err)
			}
			if _, err := other.ReadAt(got, off); err != nil {
				t.Fatal(err)
			}
		case 2:
			if _, err := other.WriteAt(p, off); err != nil {
				t.Fatal(err)
			}
			if _, err := d.ReadAt(got, off); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(got, p) {
			t.Fatalf("step %d: %d bytes at %d are not what was written", i, n, off)
		}
		if r.IntN(4) == 0 {
			if err := d.Zero(off, int64(n)); err != nil {
				t.Fatal(err)
			}
			if _, err := other.ReadAt(got, off); err != nil || !isZero(got) {
				t.Fatalf("step %d: %d bytes at %d were zeroed, and are not zero for others: %v", i, n, off, err)
			}
		}
	}
}

// TestDirectFallsBack where there is no direct I/O, and where the end is not aligned.
func TestDirectFallsBack(t *testing.T) {
	dir := "/dev/shm"
	if _, err := os.Stat(dir); err != nil {
		t.Skip(err)
	}
	dir, err := os.MkdirTemp(dir, "blockio")
	if err != nil {
		t.Skip(err)
	}
	defer os.RemoveAll(dir)
	odd := filepath.Join(t.TempDir(), "odd.img")
	if err := os.WriteFile(odd, make([]byte, 1<<20+77), 0o600); err != nil {
		t.Fatal(err)
	}
	memory := filepath.Join(dir, "x.img")
	if err := Create(memory, FormatRaw, 1<<20); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{memory, odd} {
		d, err := OpenTarget(path, TargetOptions{Caching: CachingDirect})
		if err != nil {
			t.Fatal(err)
		}
		p := []byte("some bytes")
		if _, err := d.WriteAt(p, d.Size()-int64(len(p))); err != nil {
			t.Error(err)
		}
		got := make([]byte, len(p))
		if _, err := d.ReadAt(got, d.Size()-int64(len(p))); err != nil || !bytes.Equal(got, p) {
			t.Errorf("%s: %q, %v", path, got, err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestDirectQueue has more requests than slots under way, of all sizes, with errors among them.
func TestDirectQueue(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "x"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const piece, pieces = 8192, 1000
	if err := f.Truncate(piece * pieces); err != nil {
		t.Fatal(err)
	}
	d := openDirect(f, piece*pieces, false)
	if d == nil {
		t.Skip("no direct I/O here")
	}
	q, ok := d.file.(*directQueue)
	if !ok {
		t.Skip("no queue here")
	}
	defer d.close()
	var lanes sync.WaitGroup
	for lane := range 2 * directSlots {
		lanes.Go(func() {
			p, got := newAligned(piece), newAligned(piece)
			for i := lane; i < pieces; i += 2 * directSlots {
				for k := range p {
					p[k] = byte(i + k/512)
				}
				if n, err := q.WriteAt(p, int64(i)*piece); n != piece || err != nil {
					t.Errorf("WriteAt = %d, %v", n, err)
				}
				if n, err := q.ReadAt(got, int64(i)*piece); n != piece || err != nil || !bytes.Equal(got, p) {
					t.Errorf("ReadAt = %d, %v, or other bytes", n, err)
				}
				if n, err := q.ReadAt(got, piece*pieces-512); n != 512 || err != io.EOF {
					t.Errorf("ReadAt across the end = %d, %v", n, err)
				}
				if _, err := q.ReadAt(got[:512], int64(i)*piece+100); !errors.Is(err, syscall.EINVAL) {
					t.Errorf("what is not aligned: %v", err)
				}
			}
		})
	}
	lanes.Wait()
	if len(q.free) != directSlots || q.leading {
		t.Errorf("%d of %d requests are free, somebody leads: %v", len(q.free), directSlots, q.leading)
	}
}
