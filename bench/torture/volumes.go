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

	"failback/bench/loop"
)

// volume is a file system of its own that can be taken away.
type volume struct {
	*loop.Volume
	size int64

	there sync.RWMutex // held for writing while it is not mounted: what lies below its mount point is another file system
}

func makeVolume(dir, name, fs string, size int64) (*volume, error) {
	v, err := loop.New(dir, name, fs, size)
	return &volume{Volume: v, size: size}, err
}

// powerFails has the file system forget what it has not written: its journal is not flushed, nothing that is dirty in memory reaches the device any more, and every call fails from then on. What a device does with its own
// cache is not in it: what was given to it stays.
func (v *volume) powerFails() error {
	d, err := os.Open(v.Dir)
	if err != nil {
		return err
	}
	defer d.Close()
	const (
		goingDown  = 0x8004587d // FS_IOC_GOINGDOWN, which ext4 and xfs have
		noLogFlush = 2
	)
	if err := unix.IoctlSetPointerInt(int(d.Fd()), goingDown, noLogFlush); err != nil {
		return fmt.Errorf("shut %s down: %w", v.Dir, err)
	}
	return nil
}

// again mounts the file system anew, as a machine does that comes up: it recovers by its journal.
func (v *volume) again() error {
	v.there.Lock()
	defer v.there.Unlock()
	err := v.Unmount()
	for tries := 0; err == nil; tries++ { // it lives on where a mount namespace that was copied from ours has it still, and would be mounted again as it is
		var loop []byte
		if loop, err = exec.Command("losetup", "-j", v.Image).Output(); err == nil && len(loop) == 0 {
			break
		}
		if tries == 100 {
			return fmt.Errorf("%s is unmounted here, and still in use in another mount namespace", v.Image)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err == nil {
		err = v.Mount()
	}
	if err != nil {
		return fmt.Errorf("mount %s again: %w", v.Dir, err)
	}
	return nil
}

// filler takes the free space of a volume away, for a moment, and gives it back.
type filler struct {
	v *volume
	r *rand.Rand
}

func (f *filler) path() string { return filepath.Join(f.v.Dir, "filler") }

// fill leaves between nothing and 4 MiB free, and returns what it took.
func (f *filler) fill() (int64, error) {
	f.v.there.RLock()
	defer f.v.there.RUnlock()
	var st syscall.Statfs_t
	if err := syscall.Statfs(f.v.Dir, &st); err != nil {
		return 0, err
	}
	if int64(st.Blocks)*st.Bsize > f.v.size { // never that of the machine
		return 0, fmt.Errorf("%s is not the volume that was mounted there", f.v.Dir)
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
