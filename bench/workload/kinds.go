package workload

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
)

// Files is the kind of Image.
const Files = "files"

// About says of each kind of disk what is on it.
var About = map[string]string{
	Files:      "an ext4 file system of real files, from this machine's /usr",
	"database": "pages of 4 to 16 KiB of a database: headers, rows that compress by half, free space of zeros at the end of each",
	"log":      "lines of a log, which compress well, up to three quarters; the rest is a hole",
	"holes":    "extents of 64 KiB to 4 MiB of data between as many holes",
	"noise":    "bytes that do not compress",
	"zero":     "zeros that are written, not holes",
}

// Kinds returns the names of all kinds.
func Kinds() (all []string) {
	for k := range About {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}

// Disk returns the path of a disk of some kind in dir, made where it is not there yet. The same seed makes the same bytes; Files are this machine's.
func Disk(ctx context.Context, dir, kind string, size int64, seed uint64) (string, error) {
	if kind == Files {
		return Image(ctx, dir, size)
	}
	fill, known := map[string]func(*filler) error{"database": (*filler).database, "log": (*filler).log, "holes": (*filler).holes, "noise": (*filler).incompressible, "zero": (*filler).zeros}[kind]
	if !known {
		return "", fmt.Errorf("no kind of disk is called %q: there are %v", kind, Kinds())
	}
	path := filepath.Join(dir, fmt.Sprintf("%s-%d-%d.raw", kind, size, seed))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	f, err := os.Create(path + ".unfinished")
	if err != nil {
		return "", err
	}
	defer os.Remove(path + ".unfinished")
	d := &filler{f: f, size: size, r: rand.New(rand.NewPCG(seed, uint64(size))), noise: rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), 'd'})}
	if err := errors.Join(f.Truncate(size), fill(d), f.Sync(), f.Close()); err != nil {
		return "", fmt.Errorf("make disk %s: %w", path, err)
	}
	return path, os.Rename(path+".unfinished", path)
}

// filler writes a new disk.
type filler struct {
	f     *os.File
	size  int64
	r     *rand.Rand
	noise *rand.ChaCha8
}

// stream gives what write wants to write to the disk from an offset on, up to an end. write returns io.EOF when it is at that.
func (d *filler) stream(off, end int64, write func(*bufio.Writer) error) error {
	w := bufio.NewWriterSize(&limited{io.NewOffsetWriter(d.f, off), end - off}, 1<<20)
	for {
		err := write(w)
		if errors.Is(err, io.ErrShortWrite) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// limited takes so many bytes, and is then full.
type limited struct {
	to   io.Writer
	left int64
}

func (l *limited) Write(b []byte) (int, error) {
	n, err := l.to.Write(b[:min(int64(len(b)), l.left)])
	l.left -= int64(n)
	if err == nil && (n < len(b) || l.left == 0) {
		err = io.ErrShortWrite
	}
	return n, err
}

func (d *filler) incompressible() error {
	b := make([]byte, 1<<20)
	return d.stream(0, d.size, func(w *bufio.Writer) error {
		d.noise.Read(b)
		_, err := w.Write(b)
		return err
	})
}

func (d *filler) zeros() error {
	b := make([]byte, 1<<20)
	return d.stream(0, d.size, func(w *bufio.Writer) error { _, err := w.Write(b); return err })
}

// database writes pages of 4, 8 or 16 KiB: a tenth to half of each is free.
func (d *filler) database() error {
	const unit = 4 << 10
	n := 0
	page := make([]byte, 4*unit)
	return d.stream(0, d.size, func(w *bufio.Writer) error {
		n++
		b := page[:unit<<d.r.IntN(3)]
		used := len(b) - len(b)/10 - d.r.IntN(len(b)*4/10)
		clear(b)
		for at := copy(b, fmt.Sprintf("PAGE%012d%06d", n, used)); at < used; at += 64 { // a row: a key, a name, and bytes of its own
			row := b[at:min(at+64, used)]
			copy(row, fmt.Sprintf("%010d customer-%06d", d.r.IntN(1e9), d.r.IntN(5e4)))
			if len(row) > 32 {
				d.noise.Read(row[32:])
			}
		}
		_, err := w.Write(b)
		return err
	})
}

func (d *filler) log() error {
	verbs := []string{"GET", "POST", "PUT", "DELETE", "HEAD"}
	seconds := 0.0
	return d.stream(0, d.size/4*3, func(w *bufio.Writer) error {
		seconds += d.r.Float64()
		_, err := fmt.Fprintf(w, "2026-11-%02dT%02d:%02d:%06.3fZ 10.1.%d.%d %s /api/v2/orders/%08x %d %dms\n", int(seconds/86400)%28+1, int(seconds/3600)%24, int(seconds/60)%60, seconds-60*float64(int(seconds/60)),
			d.r.IntN(4), d.r.IntN(250), verbs[d.r.IntN(len(verbs))], d.r.Uint32(), 200+d.r.IntN(3)*100, d.r.IntN(2000))
		return err
	})
}

func (d *filler) holes() error {
	const least, most = 64 << 10, 4 << 20
	b := make([]byte, most)
	length := func() int64 { return (least + d.r.Int64N(most-least)) &^ (4<<10 - 1) }
	for off := length(); off < d.size; off += length() {
		n := min(length(), d.size-off)
		d.noise.Read(b[:n/2]) // half of it compresses
		for i := n / 2; i < n; i += 16 {
			copy(b[i:n], "all work and no ")
		}
		if _, err := d.f.WriteAt(b[:n], off); err != nil {
			return err
		}
		off += n
	}
	return nil
}
