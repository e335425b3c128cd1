package loop

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Volume is a file system on a loop device.
type Volume struct {
	Dir   string // where it is mounted
	Image string // its file
}

// New makes a file system, of a kind for which there is a mkfs program, of so many bytes, in a file of directory dir, and mounts it at dir/name.
func New(dir, name, fs string, size int64) (*Volume, error) {
	v := &Volume{Dir: filepath.Join(dir, name), Image: filepath.Join(dir, name+".img")}
	f, err := os.Create(v.Image)
	if err != nil {
		return nil, err
	}
	err = errors.Join(f.Truncate(size), f.Close(), os.MkdirAll(v.Dir, 0o700))
	if err == nil {
		err = run("mkfs."+fs, "-q", v.Image)
	}
	if err == nil {
		err = v.Mount()
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(v.Image))
	}
	return v, nil
}

// Mount mounts it.
func (v *Volume) Mount() error { return run("mount", "-o", "loop", v.Image, v.Dir) }

// Unmount unmounts it; it waits some seconds for whoever is about to close a file.
func (v *Volume) Unmount() (err error) {
	for range 100 {
		if err = run("umount", v.Dir); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	return err
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

// Used is how many bytes of it are taken, once all is written.
func (v *Volume) Used() (int64, error) {
	var st unix.Statfs_t
	if err := errors.Join(v.Sync(), unix.Statfs(v.Dir, &st)); err != nil {
		return 0, err
	}
	return int64(st.Blocks-st.Bfree) * st.Bsize, nil
}

// Close unmounts and removes it.
func (v *Volume) Close() error {
	if err := v.Unmount(); err != nil {
		return err
	}
	return errors.Join(os.Remove(v.Image), os.Remove(v.Dir))
}

func run(args ...string) error {
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w: %s", args, err, out)
	}
	return nil
}
