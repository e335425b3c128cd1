package source

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"failback/replication"
)

// clone is a reflink clone on its way.
type clone struct {
	src, dst *os.File
	path     string // of dst
	source   string // path of src
	before   identity
}

// cloneDir is where a source's clones go when they cannot be in the state directory.
func cloneDir(source string, group replication.GroupID) string {
	return filepath.Join(filepath.Dir(source), ".failback-"+string(group))
}

// clonePaths returns where a clone of the source may be, in the order of trying.
func (s *Images) clonePaths(source, snapshot string, disk replication.DiskNo) []string {
	name := fmt.Sprintf("%s-%d", snapshot, disk)
	if real, err := filepath.EvalSymlinks(source); err == nil {
		source = real
	}
	return []string{filepath.Join(s.dir, viewsName, name), filepath.Join(cloneDir(source, s.group), name)}
}

// prepareClone finds the first path where the file system can clone the source, and leaves an open file there. It returns nil, and why, where there is none. Other
// failures, such as a full disk, are errors.
func prepareClone(source string, paths []string) (c *clone, why error, err error) {
	src, id, _, err := openDisk(source)
	if err != nil {
		return nil, nil, err
	}
	for _, path := range paths {
		dst, err := tryCloneAt(path, src, id.Size)
		switch {
		case err == nil:
			return &clone{src: src, dst: dst, path: path, source: source, before: id}, nil, nil
		case cannot(err) || errors.Is(err, os.ErrPermission) || isReadOnly(err):
			why = errors.Join(why, err)
		default:
			src.Close()
			return nil, nil, err
		}
	}
	src.Close()
	return nil, why, nil
}

func tryCloneAt(path string, src *os.File, size int64) (*os.File, error) {
	dir := filepath.Dir(path)
	if err := os.Mkdir(dir, 0o700); err == nil {
		if err := syncDir(filepath.Dir(dir)); err != nil {
			return nil, fmt.Errorf("make directory for clones: %w", err)
		}
	} else if !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("make directory for clones: %w", err)
	}
	dst, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make clone: %w", err)
	}
	if err := tryClone(dst, src, size); err != nil {
		dst.Close()
		if rerr := removeClone(path); rerr != nil {
			return nil, rerr
		}
		return nil, fmt.Errorf("clone %s to %s: %w", src.Name(), path, err)
	}
	return dst, nil
}

// shoot takes the clone: the instant of the view.
func (c *clone) shoot() error {
	if err := cloneFile(c.dst, c.src); err != nil {
		return fmt.Errorf("clone %s to %s: %w", c.source, c.path, err)
	}
	return nil
}

// finish checks the clone and makes it durable.
func (c *clone) finish() (id identity, err error) {
	defer c.close()
	if err := c.dst.Chmod(0o400); err != nil {
		return id, fmt.Errorf("protect clone: %w", err)
	}
	if err := c.dst.Sync(); err != nil {
		return id, fmt.Errorf("sync clone: %w", err)
	}
	if id, err = identify(c.dst); err != nil {
		return id, fmt.Errorf("check clone: %w", err)
	}
	if id.Size != c.before.Size {
		return id, fmt.Errorf("%w: %s had %d bytes, its clone has %d", ErrGone, c.source, c.before.Size, id.Size)
	}
	now, err := os.Stat(c.source)
	if err != nil {
		return id, fmt.Errorf("%w: after cloning: %w", ErrGone, err)
	}
	if fi, err := c.src.Stat(); err != nil || !os.SameFile(fi, now) {
		return id, fmt.Errorf("%w: %s became another file while it was cloned", ErrGone, c.source)
	}
	if err := syncDir(filepath.Dir(c.path)); err != nil {
		return id, fmt.Errorf("sync clone: %w", err)
	}
	return id, nil
}

func (c *clone) close() {
	c.src.Close()
	c.dst.Close()
}

// removeClone removes a clone, and the hidden directory when it was the last. A clone that is gone is no error.
func removeClone(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove clone: %w", err)
	}
	os.Remove(filepath.Dir(path)) // fails while there are others
	return nil
}

// ProbeKind says how views of a disk would be made, by trying: in a directory of its own below dir, or beside the source. Nothing is left behind.
func ProbeKind(dir string, sp Spec) string {
	if sp.Snapshot != "" {
		return KindCommand
	}
	probing.Lock()
	defer probing.Unlock()
	own := filepath.Join(dir, ".probe")
	defer os.RemoveAll(own)
	if err := os.MkdirAll(own, 0o700); err != nil {
		return KindNone
	}
	s := &Images{dir: own, group: probeGroup(dir)} // not the group's: its views are let alone
	if !s.reflinks(0, sp.Path) {
		return KindNone
	}
	return KindReflink
}

// probing is held by the one probe under way: all have the same names, so that the next one removes what a killed process left.
var probing sync.Mutex

// probeGroup returns a group's name for the probes with this state directory: other process servers may try clones at the same place.
func probeGroup(dir string) replication.GroupID {
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	sum := sha256.Sum256([]byte(dir))
	return replication.GroupID("probe-" + hex.EncodeToString(sum[:8]))
}

// reflinks says whether a clone of the source can be made now.
func (s *Images) reflinks(disk replication.DiskNo, source string) bool {
	if fi, err := os.Stat(source); err != nil || !fi.Mode().IsRegular() {
		return false
	}
	paths := s.clonePaths(source, "probe", disk)
	for _, path := range paths {
		if removeClone(path) != nil { // a killed process may have left it
			return false
		}
	}
	c, _, err := prepareClone(source, paths)
	if err != nil || c == nil {
		return false
	}
	c.close()
	removeClone(c.path)
	return true
}
