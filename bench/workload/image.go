package workload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"failback/replication"
)

const (
	filled       = 4 // of which three are filled with files: a machine's disk is neither empty nor full
	bytesOfInode = 16 << 10
	block        = 4 << 10
)

// Image returns the path of an ext4 file system of size bytes in dir, three quarters full with files of this machine's /usr. It is made when it is not there
// yet. Needs mkfs.ext4.
func Image(ctx context.Context, dir string, size int64) (string, error) {
	path := filepath.Join(dir, fmt.Sprintf("usr-%d.ext4", size))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := makeImage(ctx, path, size, 0); err != nil {
		return "", fmt.Errorf("make image %s: %w", path, err)
	}
	return path, nil
}

// Sibling returns the path of an image like that of Image, made where it is not there yet: of another machine of the same template, which lacks every third file, so that the others
// lie at other offsets.
func Sibling(ctx context.Context, dir string, size int64) (string, error) {
	path := filepath.Join(dir, fmt.Sprintf("usr-sibling-%d.ext4", size))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := makeImage(ctx, path, size, 3); err != nil {
		return "", fmt.Errorf("make image %s: %w", path, err)
	}
	return path, nil
}

// makeImage leaves out every so manieth file; 0: none.
func makeImage(ctx context.Context, path string, size int64, without int) error {
	files, made, unfinished := path+".files", path+".made", path+".unfinished"
	defer os.RemoveAll(files)
	defer os.Remove(made)
	defer os.Remove(unfinished)
	if err := errors.Join(os.RemoveAll(files), os.RemoveAll(made)); err != nil {
		return err
	}
	if err := gather(ctx, "/usr", files, size/filled*(filled-1), without); err != nil {
		return err
	}
	f, err := os.Create(made)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		return err
	}
	mkfs := exec.CommandContext(ctx, "mkfs.ext4", "-q", "-F", "-m", "0", "-U", "0fa11bac-0000-4000-8000-000000000001", "-d", files, made)
	if said, err := mkfs.CombinedOutput(); err != nil {
		return fmt.Errorf("mkfs.ext4: %w: %s", err, said)
	}
	// mkfs.ext4 leaves unwritten extents, which count as holes until somebody has read them. The copy has holes that stay holes.
	if err := errors.Join(Sync(made), Copy(made, unfinished)); err != nil {
		return err
	}
	return os.Rename(unfinished, path)
}

// gather puts files from the tree at from into a new tree at to, in the order of their names, until they would take budget bytes. Files that cannot be read, and what
// is not a regular file, are left out; so is every so manieth file, where without is not 0.
func gather(ctx context.Context, from, to string, budget int64, without int) error {
	inodes, seen := budget/bytesOfInode, 0
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return nil
		}
		at := filepath.Join(to, strings.TrimPrefix(path, from))
		if d.IsDir() {
			inodes--
			return os.MkdirAll(at, 0o755)
		}
		info, err := d.Info()
		if err != nil || !info.Mode().IsRegular() {
			return nil
		}
		if seen++; without > 0 && seen%without == 0 {
			return nil
		}
		takes := (info.Size() + block - 1) &^ (block - 1)
		if takes > budget {
			return nil // a smaller one may still fit
		}
		if inodes--; inodes < 0 {
			return fs.SkipAll
		}
		if os.Link(path, at) != nil { // another file system, or another's file
			if Copy(path, at) != nil {
				return os.RemoveAll(at)
			}
		}
		budget -= takes
		return nil
	})
}

// Copy copies a file with its holes into a new one, durably.
func Copy(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	return CopyPart(in, 0, info.Size(), to)
}

// CopyPart copies length bytes at off of a file into a new one, with their holes, durably.
func CopyPart(in *os.File, off, length int64, to string) error {
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := out.Truncate(length); err != nil {
		return err
	}
	data, err := dataIn(in, off, off+length)
	if err != nil {
		return err
	}
	for _, x := range data {
		if _, err := io.Copy(io.NewOffsetWriter(out, x.Off-off), io.NewSectionReader(in, x.Off, x.Len())); err != nil {
			return err
		}
	}
	return out.Sync()
}

// CopyOver copies some extents of a file over those of another one, durably.
func CopyOver(from, to string, all []replication.Extent) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer out.Close()
	for _, x := range all {
		if _, err := io.Copy(io.NewOffsetWriter(out, x.Off), io.NewSectionReader(in, x.Off, x.Len())); err != nil {
			return err
		}
	}
	return out.Sync()
}

// Sync makes a file's content durable.
func Sync(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
