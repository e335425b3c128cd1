package endtoend

import (
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"failback/replication"
)

// content is what a disk holds, or held at a point, by a hash of each page. Whole copies of all disks at all points, and what the race detector notes of
// each of their bytes, are more than the memory of a machine.
type content struct {
	size  int64
	pages []uint64
}

var seed = maphash.MakeSeed()

// contentOf reads a content to its end.
func contentOf(r io.Reader) (c content, err error) {
	b := make([]byte, 64*page)
	for err == nil {
		var n int
		n, err = io.ReadFull(r, b)
		c.size += int64(n)
		for one := range slices.Chunk(b[:n], page) {
			c.pages = append(c.pages, maphash.Bytes(seed, one))
		}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return c, err
}

// read returns the content of a file, byte for byte.
func (w *world) read(path string) content {
	w.t.Helper()
	f, err := os.Open(path)
	w.must(err)
	defer f.Close()
	c, err := contentOf(f)
	w.must(err)
	return c
}

// target returns what a target shows.
func (w *world) target(d *disk) content {
	w.t.Helper()
	path, remove := w.raw(d)
	defer remove()
	return w.read(path)
}

// raw returns a raw file of what a target shows, which qemu-img makes of VMDKs, and what removes it.
func (w *world) raw(d *disk) (path string, remove func()) {
	w.t.Helper()
	if d.format == "raw" {
		return d.target, func() {}
	}
	path = filepath.Join(w.Dir, "content.raw")
	if out, err := exec.CommandContext(w.ctx, "qemu-img", "convert", "-U", "-f", "vmdk", "-O", "raw", d.target, path).CombinedOutput(); err != nil {
		w.t.Fatalf("qemu-img convert %s: %v: %s", d.target, err, out)
	}
	return path, func() { os.Remove(path) }
}

// same tells where two contents differ, if they do.
func (w *world) same(what string, got, want content) {
	w.t.Helper()
	if got.size != want.size {
		w.t.Fatalf("%s: %d bytes, want %d", what, got.size, want.size)
	}
	differ, first := 0, 0
	for i := range got.pages {
		if got.pages[i] != want.pages[i] {
			if differ++; differ == 1 {
				first = i
			}
		}
	}
	if differ > 0 {
		w.t.Fatalf("%s: %d pages differ, the first at %d", what, differ, first*page)
	}
}

// export checks a disk at a point, through export.
func (w *world) export(d *disk, at replication.PointID) {
	w.t.Helper()
	file := filepath.Join(w.Dir, "exported.raw")
	defer os.Remove(file)
	w.must(w.Do(w.ctx, nil, "export", group, fmt.Sprint(at), d.name(), file))
	w.same(fmt.Sprintf("export of %s at point %d", d.name(), at), w.read(file), d.kept[at])
}

// zeros are without end.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
