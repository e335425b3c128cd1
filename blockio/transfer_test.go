package blockio_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"failback/blockio"
	"failback/blockio/blockiotest"
)

// patchy makes a disk of 5 MiB and a sector with data and holes in it, and returns its content.
func patchy(t *testing.T, name string, f blockio.Format) (string, []byte) {
	t.Helper()
	const size = 5<<20 + 512
	path := mustCreate(t, name, f, size)
	want := make([]byte, size)
	copy(want[4096:], blockiotest.Pattern(1, 70_000))
	copy(want[2<<20-5:], blockiotest.Pattern(2, 1<<20+9))
	copy(want[size-1:], []byte{9})
	d := mustOpen(t, path)
	if _, err := d.WriteAt(want[:100_000], 0); err != nil {
		t.Fatal(err)
	}
	if _, err := d.WriteAt(want[2<<20-512:4<<20], 2<<20-512); err != nil {
		t.Fatal(err)
	}
	if _, err := d.WriteAt([]byte{9}, size-1); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return path, want
}

func TestStream(t *testing.T) {
	for _, f := range []blockio.Format{blockio.FormatRaw, blockio.FormatVMFS, blockio.FormatTwoGbMaxExtentFlat, blockio.FormatMonolithicSparse} {
		name := "x.vmdk"
		if f == blockio.FormatRaw {
			name = "x.img"
		}
		path, want := patchy(t, name, f)
		d, err := blockio.OpenReader(path)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		for _, r := range []struct{ off, n int64 }{{0, d.Size()}, {1, 100_000}, {2<<20 - 700, 1 << 20}, {d.Size() - 1, 1}, {77, 0}, {4096, 5 << 19}} {
			for to, stream := range map[string]func() ([]byte, error){
				"buffer": func() ([]byte, error) {
					var b bytes.Buffer
					_, err := blockio.Stream(t.Context(), &b, d, r.off, r.n)
					return b.Bytes(), err
				},
				"pipe": func() ([]byte, error) {
					in, out, err := os.Pipe()
					if err != nil {
						return nil, err
					}
					defer in.Close()
					failed := make(chan error, 1)
					go func() {
						_, err := blockio.Stream(t.Context(), out, d, r.off, r.n)
						failed <- errors.Join(err, out.Close())
					}()
					b, err := io.ReadAll(in)
					return b, errors.Join(err, <-failed)
				},
				"file": func() ([]byte, error) {
					out, err := os.Create(filepath.Join(t.TempDir(), "out"))
					if err != nil {
						return nil, err
					}
					defer out.Close()
					if _, err := out.WriteString("head"); err != nil {
						return nil, err
					}
					if _, err := blockio.Stream(t.Context(), out, d, r.off, r.n); err != nil {
						return nil, err
					}
					b, err := os.ReadFile(out.Name())
					return bytes.TrimPrefix(b, []byte("head")), err
				},
				"file that is longer": func() ([]byte, error) {
					out, err := os.Create(filepath.Join(t.TempDir(), "out"))
					if err != nil {
						return nil, err
					}
					defer out.Close()
					if _, err := out.WriteAt(bytes.Repeat([]byte{0xee}, 6<<20), 0); err != nil {
						return nil, err
					}
					n, err := blockio.Stream(t.Context(), out, d, r.off, r.n)
					b := make([]byte, n)
					_, rerr := out.ReadAt(b, 0)
					return b, errors.Join(err, rerr)
				},
			} {
				got, err := stream()
				if err != nil {
					t.Errorf("%s to %s: %v", f, to, err)
				}
				if err := blockiotest.Diff(got, want[r.off:r.off+r.n]); err != nil {
					t.Errorf("%s to %s, %d+%d: %v", f, to, r.off, r.n, err)
				}
			}
		}
		if _, err := blockio.Stream(t.Context(), io.Discard, d, 1, d.Size()); !errors.Is(err, blockio.ErrOutOfRange) {
			t.Errorf("a range past the end: %v", err)
		}
	}
}

// TestStreamEnds: when the reader of it goes, when it is told to, and when the disk ends too early.
func TestStreamEnds(t *testing.T) {
	path, _ := patchy(t, "x.vmdk", blockio.FormatVMFS)
	d, err := blockio.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	in.Close()
	if _, err := blockio.Stream(t.Context(), out, d, 0, d.Size()); err == nil {
		t.Error("nobody read the pipe, and no error came of it")
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := blockio.Stream(ctx, io.Discard, d, 0, d.Size()); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
	if err := os.Truncate(strings.TrimSuffix(path, ".vmdk")+"-flat.vmdk", 3<<20); err != nil {
		t.Fatal(err)
	}
	for _, pipe := range []bool{false, true} {
		w := io.Writer(io.Discard)
		if pipe {
			in, out, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			defer out.Close()
			go io.Copy(io.Discard, in)
			w = out
		}
		if n, err := blockio.Stream(t.Context(), w, d, 0, d.Size()); !errors.Is(err, blockio.ErrCorrupt) || n > 3<<20 {
			t.Errorf("a file that was cut (pipe: %v): %d, %v", pipe, n, err)
		}
	}
}

func TestCopy(t *testing.T) {
	for _, f := range []blockio.Format{blockio.FormatRaw, blockio.FormatVMFS, blockio.FormatMonolithicSparse, blockio.FormatTwoGbSparse} {
		from, want := patchy(t, "x.vmdk", blockio.FormatVMFS)
		src, err := blockio.OpenReader(from)
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		name := "y.vmdk"
		if f == blockio.FormatRaw {
			name = "y.img"
		}
		const at = 1<<20 + 3*512
		size := at + src.Size() + 4096
		to := mustCreate(t, name, f, size)
		d := mustOpen(t, to)
		model := blockiotest.Pattern(5, int(size))
		if _, err := d.WriteAt(model, 0); err != nil {
			t.Fatal(err)
		}
		if err := blockio.Copy(t.Context(), d, at, src, 512, src.Size()-512); err != nil {
			t.Errorf("%s: %v", f, err)
		}
		copy(model[at:], want[512:])
		compare := func() {
			t.Helper()
			got := make([]byte, size)
			if _, err := d.ReadAt(got, 0); err != nil {
				t.Fatal(err)
			}
			if err := blockiotest.Diff(got, model); err != nil {
				t.Errorf("%s: %v", f, err)
			}
		}
		compare()
		n, err := blockio.CopyFrom(t.Context(), d, 700, bytes.NewReader(want))
		if n != int64(len(want)) || err != nil {
			t.Errorf("%s: CopyFrom = %d, %v", f, n, err)
		}
		copy(model[700:], want)
		compare()
		if _, err := blockio.CopyFrom(t.Context(), d, size-1000, bytes.NewReader(want[4096:])); !errors.Is(err, blockio.ErrOutOfRange) {
			t.Errorf("%s: CopyFrom past the end: %v", f, err)
		}
		copy(model[size-1000:], want[4096:])
		compare()
		if err := blockio.Copy(t.Context(), d, size-1000, src, 0, src.Size()); !errors.Is(err, blockio.ErrOutOfRange) {
			t.Errorf("%s: Copy past the end: %v", f, err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestCopyStops with the first error of a lane.
func TestCopyStops(t *testing.T) {
	from, _ := patchy(t, "x.vmdk", blockio.FormatVMFS)
	src, err := blockio.OpenReader(from)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if err := blockio.Copy(t.Context(), src, 0, src, 0, src.Size()); !errors.Is(err, blockio.ErrReadOnly) {
		t.Errorf("onto a disk for reading: %v", err)
	}
}
