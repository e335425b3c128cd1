package blockio

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// replaceFile puts content in the place of the file at path, durably, so that a crash leaves one or the other. Owner and
// permissions are kept. The caller holds the lock of the disk, so the name of the temporary file can be a fixed one: what a
// crash left of it is removed.
func replaceFile(path string, content []byte) (err error) {
	was, err := os.Stat(path)
	if err != nil {
		return err
	}
	dir, base := filepath.Split(path)
	temp := filepath.Join(dir, "."+base+".failback-new")
	if err := os.Remove(temp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(temp)
		}
	}()
	err = writeAndSync(f, content, was)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", temp, err)
	}
	if err = os.Rename(temp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// writeAndSync fills f, and gives it the owner and the permissions of the file was, if there is one.
func writeAndSync(f *os.File, content []byte, was os.FileInfo) error {
	if was != nil {
		if err := copyOwner(f, was); err != nil {
			return err
		}
	}
	if _, err := f.Write(content); err != nil {
		return err
	}
	return f.Sync()
}
