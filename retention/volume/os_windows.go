package volume

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf16"

	"golang.org/x/sys/windows"
)

// DefaultDir is where a retention volume is mounted unless the operator says otherwise.
const DefaultDir = `R:\`

// mounted returns the volumes that have a drive letter or a folder, the network's drives, and the name of the system's volume. Not verified: nothing of this was run.
func mounted() (t Table, root string, err error) {
	var name [windows.MAX_PATH + 1]uint16
	find, err := windows.FindFirstVolume(&name[0], uint32(len(name)))
	if err != nil {
		return nil, "", fmt.Errorf("list volumes: %w", err)
	}
	defer windows.FindVolumeClose(find)
	for err == nil {
		volume := windows.UTF16ToString(name[:])
		for _, path := range pathsOf(&name[0]) {
			t = append(t, describe(volume, path))
		}
		err = windows.FindNextVolume(find, &name[0], uint32(len(name)))
	}
	if !errors.Is(err, windows.ERROR_NO_MORE_FILES) {
		return nil, "", fmt.Errorf("list volumes: %w", err)
	}
	drives, err := windows.GetLogicalDrives()
	if err != nil {
		return nil, "", fmt.Errorf("list drives: %w", err)
	}
	for i := range 26 {
		path := string(rune('A'+i)) + `:\`
		if p, err := windows.UTF16PtrFromString(path); drives&(1<<i) != 0 && err == nil && windows.GetDriveType(p) == windows.DRIVE_REMOTE {
			t = append(t, describe(path, path))
		}
	}
	for i := range t {
		t[i].ID = i + 1
	}
	system, err := windows.GetSystemWindowsDirectory()
	if err != nil {
		return nil, "", fmt.Errorf("find the system's volume: %w", err)
	}
	m, _, err := place(t, system)
	return t, m.FS, err
}

// pathsOf returns where a volume is mounted.
func pathsOf(volume *uint16) []string {
	buf := make([]uint16, 32<<10)
	var n uint32
	if err := windows.GetVolumePathNamesForVolumeName(volume, &buf[0], uint32(len(buf)), &n); err != nil {
		return nil
	}
	return strings.FieldsFunc(string(utf16.Decode(buf[:min(int(n), len(buf))])), func(r rune) bool { return r == 0 })
}

// describe asks for the type of the volume at path. One that does not tell has none.
func describe(volume, path string) Mount {
	m := Mount{FS: strings.ToLower(volume), Root: "/", Path: path, Device: volume}
	p, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return m
	}
	var flags uint32
	var kind [windows.MAX_PATH + 1]uint16
	if windows.GetVolumeInformation(p, nil, 0, nil, nil, &flags, &kind[0], uint32(len(kind))) == nil {
		m.Type = windows.UTF16ToString(kind[:])
		m.ReadOnly = flags&windows.FILE_READ_ONLY_VOLUME != 0
	}
	switch windows.GetDriveType(p) {
	case windows.DRIVE_REMOTE:
		m.Type = "remote"
	case windows.DRIVE_RAMDISK:
		m.Type = "ramdisk"
	}
	return m
}

// place finds the volume that a path lies on.
func place(t Table, path string) (Mount, string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return Mount{}, "", err
	}
	if r, err := filepath.EvalSymlinks(abs); err == nil {
		abs = r
	}
	p, err := windows.UTF16PtrFromString(abs)
	if err != nil {
		return Mount{}, "", err
	}
	buf := make([]uint16, len(abs)+windows.MAX_PATH)
	if err := windows.GetVolumePathName(p, &buf[0], uint32(len(buf))); err != nil {
		return Mount{}, "", fmt.Errorf("find the volume of %s: %w", abs, err)
	}
	top := windows.UTF16ToString(buf)
	for _, m := range t {
		if strings.EqualFold(m.Path, top) {
			return m, "", nil
		}
	}
	return Mount{}, "", fmt.Errorf("%s is on %s, which is none of the volumes that are known", abs, top)
}

// statVolume fills in size and free bytes.
func statVolume(v *seen) error {
	p, err := windows.UTF16PtrFromString(v.Path)
	if err != nil {
		return err
	}
	var free, size uint64
	if err := windows.GetDiskFreeSpaceEx(p, &free, &size, nil); err != nil {
		return fmt.Errorf("look at %s: %w", v.Path, err)
	}
	v.size, v.free = int64(min(size, math.MaxInt64)), int64(min(free, math.MaxInt64))
	return nil
}

// syncDir has nothing to do: NTFS logs its directories, and Go has no handle of one to flush.
func syncDir(string) error { return nil }

// renameOpen closes the files first: Windows does not rename over one that is open.
func renameOpen(from, to string, a, b *os.File) error {
	a.Close()
	b.Close()
	return os.Rename(from, to)
}

// LockFile does nothing here: a file that is open can't be removed, and master targets run on Linux only.
func LockFile(*os.File) error { return nil }

// dirLock is no lock here: journals are written on Linux only.
type dirLock struct{}

func lockDir(dir string, _ bool) (dirLock, error) {
	return dirLock{}, fmt.Errorf("lock %s: %w", dir, errors.ErrUnsupported)
}

func (dirLock) Close() error { return nil }
func (dirLock) Name() string { return "" }
func (dirLock) stays() bool  { return true }
