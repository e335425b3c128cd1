package volume

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
)

// probeName is the form of the names of a probe's files. Nothing else has such names: a group's name does not begin with a dot.
var probeName = regexp.MustCompile(`^\.failback-probe-[0-9a-f]{16}(-old)?$`)

// probeSize is the size of a probe's files, in bytes.
const probeSize = 4096

// Probe tries in dir what a journal needs of its file system: to write a file, sync it, rename it over another, sync the directory, and find it there. It leaves
// nothing behind; what a probe that was killed has left is removed.
func Probe(dir string) (err error) {
	for range 3 { // another probe may sweep a file that it finds before it is locked
		if err = probe(dir, func(string) {}); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return err
}

// probe calls step before each of its steps, by the step's name.
func probe(dir string, step func(name string)) (err error) {
	if err := sweep(dir); err != nil {
		return err
	}
	var random [8]byte
	rand.Read(random[:])
	name := filepath.Join(dir, ".failback-probe-"+hex.EncodeToString(random[:]))
	old := name + "-old"
	defer func() {
		for _, n := range []string{name, old} {
			if e := os.Remove(n); e != nil && !errors.Is(e, fs.ErrNotExist) {
				err = errors.Join(err, e)
			}
		}
		if err == nil {
			step("sync removal")
			err = syncDir(dir)
		}
	}()
	content := bytes.Repeat(random[:], probeSize/len(random))
	step("write old")
	replaced, err := writeProbe(old, make([]byte, probeSize))
	if err != nil {
		return err
	}
	defer replaced.Close()
	step("write new")
	f, err := writeProbe(name, content)
	if err != nil {
		return err
	}
	defer f.Close()
	step("sync directory")
	if err := syncDir(dir); err != nil {
		return err
	}
	step("rename")
	if err := renameOpen(name, old, f, replaced); err != nil {
		return err
	}
	step("sync rename")
	if err := syncDir(dir); err != nil {
		return err
	}
	step("read")
	if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is still there after it was renamed: %v", name, err)
	}
	if got, err := os.ReadFile(old); err != nil {
		return err
	} else if !bytes.Equal(got, content) {
		return fmt.Errorf("%s does not hold what was renamed to it", old)
	}
	step("remove")
	return nil
}

// writeProbe makes a file and makes it durable. It stays open and locked, so that no other probe takes it for a leftover.
func writeProbe(name string, content []byte) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err = LockFile(f); err == nil {
		_, err = f.Write(content)
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// sweep removes what probes have left that were killed.
func sweep(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !probeName.MatchString(e.Name()) || !e.Type().IsRegular() {
			continue
		}
		name := filepath.Join(dir, e.Name())
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			continue // gone meanwhile, or not ours
		}
		if st, err := f.Stat(); err == nil && st.Size() <= probeSize && LockFile(f) == nil {
			_ = os.Remove(name) // what stays is tried again
		}
		f.Close()
	}
	return nil
}
