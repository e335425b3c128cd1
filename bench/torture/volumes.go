package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"failback/bench/volume"
)

// filler takes the free space of a volume away, for a moment, and gives it back.
type filler struct {
	v *volume.Volume
	r *rand.Rand
}

func (f *filler) path() string { return filepath.Join(f.v.Dir, "filler") }

// fill leaves between nothing and 4 MiB free, and returns what it took.
func (f *filler) fill() (int64, error) {
	f.v.There.RLock()
	defer f.v.There.RUnlock()
	var st syscall.Statfs_t
	if err := syscall.Statfs(f.v.Dir, &st); err != nil {
		return 0, err
	}
	if int64(st.Blocks)*st.Bsize > f.v.Size { // never that of the machine
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
	f.v.There.RLock()
	defer f.v.There.RUnlock()
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
