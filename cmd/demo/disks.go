package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// disk is one source, and the VMDK that it comes home to.
type disk struct {
	machine, id string
	source      string // file that plays the disk in Azure
	target      string // VMDK
	format      string
	from        string // image to copy; "" = made here
	size        int64
	ext4        bool // changed through its file system; else byte by byte
	commands    bool // snapshot and release commands make its views
	record      bool // a changes command tells what changed
	files       []string
}

func (d *disk) name() string { return d.machine + "/" + d.id }

const mib = 1 << 20

// choose lists what comes home.
func (d *demo) choose() {
	if len(d.config.disks) == 0 {
		d.disks = []*disk{
			{machine: "erp-db", id: "os", size: 640 * mib, format: "vmfs"},
			{machine: "erp-db", id: "data", size: 896 * mib, format: "monolithicSparse", commands: true},
			{machine: "web", id: "os", size: 512 * mib, format: "vmfs", commands: true, record: true},
		}
	}
	for i, from := range d.config.disks {
		d.disks = append(d.disks, &disk{machine: "yours", id: fmt.Sprintf("disk%d", i+1), from: from, format: []string{"vmfs", "monolithicSparse", "vmfs"}[i%3], commands: i%3 > 0, record: i%3 == 2})
	}
	for _, one := range d.disks {
		name := one.machine + "-" + one.id
		one.source = filepath.Join(d.stand.Sources, name+".raw")
		one.target = filepath.Join(d.stand.Targets, name+".vmdk")
	}
}

// copies is how often a disk's data lies in the work directory, at most: source, target, two snapshots, a copy for each point, and what the journal holds.
const copies = 12

// space refuses to begin what would fill the file system.
func (d *demo) space() error {
	need := int64(6 << 30)
	if len(d.config.disks) > 0 {
		need = 1 << 30
	}
	for _, path := range d.config.disks {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			return fmt.Errorf("disk %s: %w", path, err)
		}
		if st.Mode&unix.S_IFMT != unix.S_IFREG {
			return fmt.Errorf("disk %s: give images in files", path)
		}
		if st.Size%512 != 0 || st.Size == 0 {
			return fmt.Errorf("disk %s: it has %d bytes, which is no number of sectors of 512", path, st.Size)
		}
		need += copies * st.Blocks * 512
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(d.dir, &fs); err != nil {
		return fmt.Errorf("look for space in %s: %w", d.dir, err)
	}
	if free := int64(fs.Bavail) * fs.Bsize; free < need {
		return fmt.Errorf("%s has %s free, and this takes up to %s; name a place with more by --dir (make demo DIR=...)", filepath.Dir(d.dir), size(free), size(need))
	}
	return nil
}

// makeDisks makes the sources.
func (d *demo) makeDisks(ctx context.Context) error {
	trees := []string{"/usr/share", "/usr/lib", "/usr/lib"}
	if out, err := command(ctx, "go", "env", "GOROOT"); err == nil {
		trees[1] = filepath.Join(out, "src")
	}
	for i, one := range d.disks {
		if one.from != "" {
			if _, err := command(ctx, "cp", "--reflink=auto", "--sparse=always", one.from, one.source); err != nil {
				return err
			}
			st, err := os.Stat(one.source)
			if err != nil {
				return err
			}
			one.size, one.ext4 = st.Size(), isExt4(one.source)
			how := "its ext4 file system is changed between points, by debugfs"
			if !one.ext4 {
				how = "no ext4 file system begins there: it is changed between points by writing bytes here and there"
			}
			d.say("a copy of %s plays disk %s, %s; %s", one.from, one.name(), size(one.size), how)
			continue
		}
		one.ext4 = true
		files, bytes, err := d.fill(ctx, one, []string{trees[i], "/usr/share", "/usr/lib", "/usr/bin"}, []int64{90 * mib, 120 * mib, 60 * mib}[i])
		if err != nil {
			return err
		}
		d.say("disk %s: %s, an ext4 file system with %d files of this machine (%s of %s)", one.name(), size(one.size), files, size(bytes), trees[i])
	}
	return nil
}

// fill makes a disk with a file system that holds files of the trees, up to a budget of bytes. What can't be read is left out.
func (d *demo) fill(ctx context.Context, one *disk, trees []string, budget int64) (files int, total int64, err error) {
	stage := filepath.Join(d.dir, "stage")
	defer os.RemoveAll(stage)
	for _, tree := range trees {
		if total >= budget*9/10 {
			break
		}
		root, err := filepath.EvalSymlinks(tree)
		if err != nil {
			continue
		}
		err = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			if err != nil || ctx.Err() != nil {
				return ctx.Err()
			}
			fi, err := e.Info()
			if err != nil || !e.Type().IsRegular() || total+fi.Size() > budget || fi.Size() > 16*mib {
				return nil
			}
			to := filepath.Join(stage, filepath.Base(tree), strings.TrimPrefix(path, root))
			if copyFile(path, to) == nil {
				files, total = files+1, total+(fi.Size()+4095)&^4095
			}
			if files == 12000 {
				return fs.SkipAll
			}
			return nil
		})
		if err != nil {
			return 0, 0, err
		}
	}
	if err := os.MkdirAll(stage, 0o755); err != nil {
		return 0, 0, err
	}
	f, err := os.Create(one.source)
	if err != nil {
		return 0, 0, err
	}
	if err := f.Truncate(one.size); err != nil {
		return 0, 0, err
	}
	if err := f.Close(); err != nil {
		return 0, 0, err
	}
	_, err = command(ctx, "mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0", "-d", stage, one.source)
	return files, total, err
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		os.Remove(to)
		return err
	}
	return out.Close()
}

// isExt4 says whether an ext2, 3 or 4 file system begins at the disk's first byte, by its magic number.
func isExt4(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	magic := make([]byte, 2)
	_, err = f.ReadAt(magic, 1024+56)
	return err == nil && bytes.Equal(magic, []byte{0x53, 0xef})
}

// ranges returns the pages in which two files of one size differ, as "offset length" a line: what a storage's own record of changes would print.
func ranges(a, b string) ([]byte, error) {
	fa, err := os.Open(a)
	if err != nil {
		return nil, err
	}
	defer fa.Close()
	fb, err := os.Open(b)
	if err != nil {
		return nil, err
	}
	defer fb.Close()
	const page = 4096
	var out bytes.Buffer
	pa, pb := make([]byte, mib), make([]byte, mib)
	for off := int64(0); ; off += mib {
		n, err := io.ReadFull(fa, pa)
		if n == 0 {
			return out.Bytes(), nil
		}
		if err != nil && err != io.ErrUnexpectedEOF {
			return nil, err
		}
		if _, err := io.ReadFull(fb, pb[:n]); err != nil {
			return nil, err
		}
		if bytes.Equal(pa[:n], pb[:n]) {
			continue
		}
		for at := 0; at < n; at += page {
			if end := min(at+page, n); !bytes.Equal(pa[at:end], pb[at:end]) {
				fmt.Fprintf(&out, "%d %d\n", off+int64(at), end-at)
			}
		}
	}
}
