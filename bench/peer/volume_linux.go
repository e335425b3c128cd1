package peer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Volume is a file system of its own on a loop device: for root.
type Volume struct {
	Dir string // where it is mounted

	image string
}

// NewVolume makes a file system, ext4 or btrfs, of so many bytes, in files of directory dir, and mounts it.
func NewVolume(ctx context.Context, dir, fs string, size int64) (v *Volume, err error) {
	v = &Volume{Dir: filepath.Join(dir, fs), image: filepath.Join(dir, fs+".img")}
	f, err := os.Create(v.image)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.Truncate(size), f.Close(), os.MkdirAll(v.Dir, 0o700)); err != nil {
		return nil, err
	}
	for _, args := range [][]string{{"mkfs." + fs, "-q", v.image}, {"mount", "-o", "loop,noatime", v.image, v.Dir}} {
		if err := run(ctx, args...); err != nil {
			return nil, errors.Join(err, os.Remove(v.image))
		}
	}
	return v, nil
}

// Sync makes all of it durable.
func (v *Volume) Sync() error {
	d, err := os.Open(v.Dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return unix.Syncfs(int(d.Fd()))
}

// Used is how many bytes of it are taken.
func (v *Volume) Used() (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(v.Dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Blocks-st.Bfree) * st.Bsize, nil
}

// Close unmounts and removes it.
func (v *Volume) Close() (err error) {
	for range 100 { // somebody may be about to close a file
		if err = run(context.Background(), "umount", v.Dir); err == nil {
			return errors.Join(os.Remove(v.image), os.Remove(v.Dir))
		}
		time.Sleep(50 * time.Millisecond)
	}
	return err
}

// run runs a short command.
func run(ctx context.Context, args ...string) error {
	if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w: %s", args, err, out)
	}
	return nil
}
