// Package volume makes file systems on loop devices, as root: with reflinks, of their own size, or to fail their power.
package volume

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Volume is a file system on a loop device.
type Volume struct {
	image string
	Dir   string // where it is mounted
	Size  int64  // bytes of its device

	There sync.RWMutex // held for writing while it is not mounted: what lies below its mount point is another file system
}

// Make makes and mounts a volume below a directory: NAME.img and NAME. It takes root, and the file system's mkfs.
func Make(dir, name, fs string, size int64) (*Volume, error) {
	v := &Volume{image: filepath.Join(dir, name+".img"), Dir: filepath.Join(dir, name), Size: size}
	f, err := os.Create(v.image)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.Truncate(size), f.Close(), os.MkdirAll(v.Dir, 0o700)); err != nil {
		return nil, err
	}
	for _, args := range [][]string{{"mkfs." + fs, "-q", v.image}, {"mount", "-o", "loop", v.image, v.Dir}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%v: %w: %s", args, err, out)
		}
	}
	return v, nil
}

// PowerFails has the file system forget what it has not written: its journal is not flushed, nothing that is dirty in memory reaches the device any more, and every call fails from then on. What a device does with its own
// cache is not in it: what was given to it stays.
func (v *Volume) PowerFails() error {
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

// Again mounts the file system anew, as a machine does that comes up: it recovers by its journal.
func (v *Volume) Again() error {
	v.There.Lock()
	defer v.There.Unlock()
	var out []byte
	var err error
	for range 100 { // somebody may be about to close a file
		if out, err = exec.Command("umount", v.Dir).CombinedOutput(); err == nil {
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
		out, err = exec.Command("mount", "-o", "loop", v.image, v.Dir).CombinedOutput()
	}
	if err != nil {
		return fmt.Errorf("mount %s again: %w: %s", v.Dir, err, out)
	}
	return nil
}

// Close unmounts the volume and removes its image.
func (v *Volume) Close() error {
	out, err := exec.Command("umount", v.Dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("umount %s: %w: %s", v.Dir, err, out)
	}
	return os.Remove(v.image)
}
