package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// volume is a file system on a loop device.
type volume struct {
	image, dir string
	size       int64

	there sync.RWMutex // held for writing while it is not mounted: what lies below its mount point is another file system
}

func makeVolume(dir, name, fs string, size int64) (*volume, error) {
	v := &volume{image: filepath.Join(dir, name+".img"), dir: filepath.Join(dir, name), size: size}
	f, err := os.Create(v.image)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.Truncate(size), f.Close(), os.MkdirAll(v.dir, 0o700)); err != nil {
		return nil, err
	}
	for _, args := range [][]string{{"mkfs." + fs, "-q", v.image}, {"mount", "-o", "loop", v.image, v.dir}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%v: %w: %s", args, err, out)
		}
	}
	return v, nil
}

// powerFails has the file system forget what it has not written: its journal is not flushed, nothing that is dirty in memory reaches the device any more, and every call fails from then on. What a device does with its own
// cache is not in it: what was given to it stays.
func (v *volume) powerFails() error {
	d, err := os.Open(v.dir)
	if err != nil {
		return err
	}
	defer d.Close()
	const (
		goingDown  = 0x8004587d // FS_IOC_GOINGDOWN, which ext4 and xfs have
		noLogFlush = 2
	)
	if err := unix.IoctlSetPointerInt(int(d.Fd()), goingDown, noLogFlush); err != nil {
		return fmt.Errorf("shut %s down: %w", v.dir, err)
	}
	return nil
}

// again mounts the file system anew, as a machine does that comes up: it recovers by its journal.
func (v *volume) again() error {
	v.there.Lock()
	defer v.there.Unlock()
	var out []byte
	var err error
	for range 100 { // somebody may be about to close a file
		if out, err = exec.Command("umount", v.dir).CombinedOutput(); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	for tries := 0; err == nil; tries++ { // it lives on where a mount namespace that was copied from ours has it still, and would be mounted again as it is
		var loop []byte
		if loop, err = exec.Command("losetup", "-j", v.image).Output(); err == nil && len(loop) == 0 {
			break
		}
		if tries == 100 {
			return fmt.Errorf("%s is unmounted here, and still in use in another mount namespace", v.image)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err == nil {
		out, err = exec.Command("mount", "-o", "loop", v.image, v.dir).CombinedOutput()
	}
	if err != nil {
		return fmt.Errorf("mount %s again: %w: %s", v.dir, err, out)
	}
	return nil
}

func (v *volume) close() error {
	out, err := exec.Command("umount", v.dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("umount %s: %w: %s", v.dir, err, out)
	}
	return os.Remove(v.image)
}

// filler takes the free space of a volume away, for a moment, and gives it back.
type filler struct {
	v *volume
	r *rand.Rand
}

func (f *filler) path() string { return filepath.Join(f.v.dir, "filler") }

// fill leaves between nothing and 4 MiB free, and returns what it took.
func (f *filler) fill() (int64, error) {
	f.v.there.RLock()
	defer f.v.there.RUnlock()
	var st syscall.Statfs_t
	if err := syscall.Statfs(f.v.dir, &st); err != nil {
		return 0, err
	}
	if int64(st.Blocks)*st.Bsize > f.v.size { // never that of the machine
		return 0, fmt.Errorf("%s is not the volume that was mounted there", f.v.dir)
	}
	file, err := os.OpenFile(f.path(), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	want := int64(st.Bfree)*st.Bsize - f.r.Int64N(4<<20)
	for want > 0 {
		err := syscall.Fallocate(int(file.Fd()), 0, 0, want)
		if err == nil {
			return want, nil
		}
		if !errors.Is(err, syscall.ENOSPC) {
			return 0, err
		}
		want -= 256 << 10
	}
	return 0, nil
}

func (f *filler) empty() error {
	f.v.there.RLock()
	defer f.v.there.RUnlock()
	err := os.Remove(f.path())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// between sleeps for some time up to most.
func between(r *rand.Rand, least, most time.Duration) {
	time.Sleep(least + time.Duration(r.Int64N(int64(most-least))))
}
