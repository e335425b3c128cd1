package source

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"failback/replication"
)

// Spec is one disk of a group, as the plan has it. See the package's Commands.
type Spec struct {
	Disk     replication.Disk // No, ID; Size 0 = not known yet
	Path     string           // regular file or block device, absolute
	Snapshot string           // command (run by /bin/sh -c) that makes a stable view and prints its path as the last line of standard output; "" = none given
	Release  string           // command that lets go of a view; "" = nothing to do
	Changes  string           // command that prints "offset length" lines of what changed between two points; "" = find by hashing
}

// The errors that a caller can act on.
var (
	ErrGone        = errors.New("source is gone")        // a source or view has shrunk, vanished or become another: Cut again, which tells what is wrong if it still is
	ErrNotHeld     = errors.New("point is not held")     // the point was never cut here, or has been let go of
	ErrNotReleased = errors.New("view is not let go of") // a release command failed; the view is kept for another try, all else was done
	ErrSealed      = errors.New("table is sealed")       // a sealed table does not change
)

// The kinds of views, as Kind tells them.
const (
	KindReflink = "reflink" // a clone of the file
	KindCommand = "command" // made by the snapshot command
	KindNone    = "none"    // the live file or device: not stable
)

const (
	viewsName  = "views"
	maxHeld    = 64   // points that are held at once
	maxPending = 4096 // views whose release command fails
)

// Images are the disks of one group, and the points of them that are held. All methods are safe for concurrent use; Cut, Release and Forget wait for
// each other.
type Images struct {
	dir     string
	group   replication.GroupID
	specs   []Spec // by disk number; never changed
	log     *slog.Logger
	process string        // names this Open
	lock    *os.File      // holds the OFD lock
	step    func(string)  // called after each durable step: the tests' crash
	wait    time.Duration // for the command of a killed process, before another is started

	op sync.Mutex // held by what changes the state, for as long as it takes

	mu     sync.Mutex // guards what follows
	state  state
	tables map[tableKey]*Table // of a disk by its place in the point's cut
	kinds  map[replication.DiskNo]string
	failed error // a state that could not be saved, or the end: nothing more is done
}

type tableKey struct {
	point replication.PointID
	place replication.DiskNo
}

// Open takes up the state directory of a group, which is made if it is not there, and locks it. What an earlier process left half made is let go of.
// Specs are the group's disks, numbered from 0; of a point that was cut when it had others, they are told apart by their names. A disk whose path is not that of the last point's cut is cut untracked.
func Open(dir string, group replication.GroupID, specs []Spec, log *slog.Logger) (*Images, error) {
	return open(dir, group, specs, log, func(string) {})
}

func open(dir string, group replication.GroupID, specs []Spec, log *slog.Logger, step func(string)) (*Images, error) {
	specs = slices.Clone(specs)
	slices.SortFunc(specs, func(a, b Spec) int { return int(a.Disk.No) - int(b.Disk.No) })
	if err := checkSpecs(group, specs); err != nil {
		return nil, fmt.Errorf("open image source: %w", err)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open image source: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open image source: %w", err)
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, fmt.Errorf("open image source: %w", err)
	}
	f, err := lockDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open image source: %w", err)
	}
	s := &Images{
		dir: dir, group: group, specs: specs, log: log.With("group", group), process: randomName(), lock: f, step: step, wait: orphanWait,
		tables: make(map[tableKey]*Table), kinds: make(map[replication.DiskNo]string),
	}
	if err := s.takeUp(); err != nil {
		f.Close()
		return nil, fmt.Errorf("open image source: %w", err)
	}
	return s, nil
}

func checkSpecs(group replication.GroupID, specs []Spec) error {
	if err := replication.ValidName(string(group)); err != nil {
		return err
	}
	if len(specs) == 0 || len(specs) > replication.MaxDisks {
		return fmt.Errorf("group %s has %d disks, must have 1 to %d", group, len(specs), replication.MaxDisks)
	}
	paths := make(map[string]replication.DiskID)
	ids := make(map[replication.DiskID]bool)
	for i, sp := range specs {
		switch other, twice := paths[sp.Path]; {
		case sp.Disk.No != replication.DiskNo(i):
			return fmt.Errorf("disks of group %s are not numbered from 0: %d is missing or twice", group, i)
		case sp.Disk.ID == "" || ids[sp.Disk.ID]:
			return fmt.Errorf("disk %d of group %s: the name %q is empty, or another's", i, group, sp.Disk.ID)
		case !filepath.IsAbs(sp.Path):
			return fmt.Errorf("disk %s: source path %q is not absolute", sp.Disk.ID, sp.Path)
		case twice:
			return fmt.Errorf("disks %s and %s have the same source %s", other, sp.Disk.ID, sp.Path)
		case sp.Release != "" && sp.Snapshot == "":
			return fmt.Errorf("disk %s has a release command but no snapshot command", sp.Disk.ID)
		}
		paths[sp.Path], ids[sp.Disk.ID] = sp.Disk.ID, true
	}
	return nil
}

// lockDir locks the directory by its file "lock".
func lockDir(dir string) (*os.File, error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lock(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	ours, err := f.Stat()
	if err == nil {
		var there os.FileInfo
		if there, err = os.Stat(path); err == nil && !os.SameFile(ours, there) {
			err = errLocked // the group was forgotten in between
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

// takeUp loads the state and clears away what is not in it.
func (s *Images) takeUp() error {
	st, err := loadState(s.dir, s.group)
	if err != nil {
		return err
	}
	s.state = st
	for _, c := range st.Cuts {
		if !c.Making {
			continue
		}
		for _, d := range c.Disks {
			if d.Kind == KindCommand {
				s.log.Warn("a snapshot command was cut off: it may have left a snapshot that is not known", "point", c.Point, "disk", d.Disk.ID)
			}
		}
		if err := s.drop(c); err != nil {
			return err
		}
	}
	if err := s.sweep(); err != nil {
		return err
	}
	if err := s.removeClones(); err != nil {
		s.log.Warn("clones of an earlier process are not removed", "err", err)
	}
	s.tryKinds()
	return nil
}

// sweep removes files of points that are not held.
func (s *Images) sweep() error {
	keep := make(map[string]bool) // by name only: the directory may have been reached by another path then
	for _, c := range s.state.Cuts {
		for _, d := range c.Disks {
			keep[filepath.Base(s.file(c.Point, d.Disk.No, "tab"))] = true
			keep[filepath.Base(s.file(c.Point, d.Disk.No, "chg"))] = true
			keep[filepath.Base(d.View)] = true
		}
	}
	for _, p := range s.state.Pending {
		keep[filepath.Base(p.View)] = true
	}
	for _, pattern := range []string{"*-*.tab", "*-*.chg", "*.new", viewsName + "/*", "*-*.run"} {
		names, err := filepath.Glob(filepath.Join(escapeGlob(s.dir), pattern))
		if err != nil {
			return err
		}
		for _, name := range names {
			if keep[filepath.Base(name)] || strings.HasSuffix(name, ".run") && runs(name) {
				continue
			}
			if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("clear away: %w", err)
			}
		}
	}
	return nil
}

// escapeGlob makes a path match itself only.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// runs says whether a command that an earlier process started still holds its lock file.
func runs(path string) bool {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	return lock(f) != nil
}

func randomName() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// file returns the path of a file of one disk, by its place in the cut, at one point.
func (s *Images) file(point replication.PointID, place replication.DiskNo, ext string) string {
	return filepath.Join(s.dir, fmt.Sprintf("%d-%d.%s", point, place, ext))
}

// update changes the state, durably. The state that change gets is its own, the cuts in it are not. A state that could not be saved may or may not be on
// disk: nothing more is done with it until the next Open.
func (s *Images) update(change func(*state)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return s.failed
	}
	st := s.state
	st.Cuts, st.Pending = slices.Clone(st.Cuts), slices.Clone(st.Pending)
	change(&st)
	slices.SortFunc(st.Cuts, func(a, b *cut) int { return int(int64(a.Point) - int64(b.Point)) })
	if err := saveState(s.dir, st); err != nil {
		s.failed = err
		return err
	}
	s.state = st
	s.step("state saved")
	return nil
}

// usable returns why nothing can be done any more, or nil.
func (s *Images) usable() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// Err returns why nothing more can be done, or not with one of the tables, until the group is closed and opened again; nil if all is well.
func (s *Images) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return s.failed
	}
	for _, t := range s.tables {
		if err := t.failure(); err != nil {
			return err
		}
	}
	return nil
}

// cutOf returns the cut of a point, held or being made, or nil.
func (s *Images) cutOf(point replication.PointID) *cut {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cutOfLocked(point)
}

func (s *Images) cutOfLocked(point replication.PointID) *cut {
	for _, c := range s.state.Cuts {
		if c.Point == point {
			return c
		}
	}
	return nil
}

// held returns the cut of a point that is held and has the disk, and where in it that is.
func (s *Images) held(point replication.PointID, disk replication.DiskNo) (c *cut, place int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.heldLocked(point, disk)
}

func (s *Images) heldLocked(point replication.PointID, disk replication.DiskNo) (c *cut, place int, err error) {
	if s.failed != nil {
		return nil, 0, s.failed
	}
	if c, place = s.cutOfLocked(point), -1; c != nil && !c.Making && int(disk) < len(s.specs) {
		place = c.place(s.specs[disk].Disk.ID)
	}
	if place < 0 {
		return nil, 0, fmt.Errorf("point %d of disk %d of group %s: %w", point, disk, s.group, ErrNotHeld)
	}
	return c, place, nil
}

// Kind says how the disk's views are made: KindReflink, KindCommand or KindNone. It is what the last cut did; before the first one, what Open found by trying.
func (s *Images) Kind(disk replication.DiskNo) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if kind := s.kinds[disk]; kind != "" {
		return kind
	}
	return KindNone
}

// tryKinds finds out how views can be made.
func (s *Images) tryKinds() {
	for i, sp := range s.specs {
		switch {
		case sp.Snapshot != "":
			s.setKind(sp.Disk.No, KindCommand)
		case s.reflinks(replication.DiskNo(i), sp.Path):
			s.setKind(sp.Disk.No, KindReflink)
		}
	}
}

func (s *Images) setKind(disk replication.DiskNo, kind string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kinds[disk] = kind
}

// NeedsTable says whether the disk's changes are found by hashing: a cut then counts as a base only when its Table is sealed.
func (s *Images) NeedsTable(disk replication.DiskNo) bool {
	return int(disk) < len(s.specs) && s.specs[disk].Changes == ""
}

// View opens the disk as it was at the point. A view that is not what it was at the cut is ErrGone. The caller closes it; it stays readable when the
// point is let go of meanwhile, if a clone, else as the release command has it.
func (s *Images) View(point replication.PointID, disk replication.DiskNo) (*View, error) {
	c, place, err := s.held(point, disk)
	if err != nil {
		return nil, err
	}
	return openView(fmt.Sprintf("disk %s at point %d", c.Disks[place].Disk.ID, point), &c.Disks[place])
}

// Table returns the hashes of the disk at the point, made empty when there are none of this cut yet. Every call returns the same Table; Release, Forget and
// Close close it.
//
// A record says what the view held when it was put. Where the cut is not Stable a disk that was written to meanwhile may hold something else by now, so that
// only the hashes of the very bytes that are shipped may be put.
func (s *Images) Table(point replication.PointID, disk replication.DiskNo) (*Table, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, place, err := s.heldLocked(point, disk)
	if err != nil {
		return nil, err
	}
	t, err := s.openTableLocked(c, place)
	if err == nil {
		return t, nil
	}
	if errors.Is(err, errFormat) {
		s.log.Warn("table is of no use, made again", "point", point, "disk", c.Disks[place].Disk.ID, "err", err)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if t, err = createTable(s.file(point, replication.DiskNo(place), "tab"), c.id(place)); err != nil {
		return nil, err
	}
	s.tables[tableKey{point, replication.DiskNo(place)}] = t
	return t, nil
}

func (s *Images) openTableLocked(c *cut, place int) (*Table, error) {
	key := tableKey{c.Point, replication.DiskNo(place)}
	if t := s.tables[key]; t != nil {
		return t, nil
	}
	t, err := openTable(s.file(c.Point, key.place, "tab"), c.id(place))
	if err != nil {
		return nil, err
	}
	s.tables[key] = t
	return t, nil
}

// Close closes the tables and lets go of the directory. What is held stays held, for the next Open.
func (s *Images) Close() error {
	s.op.Lock()
	defer s.op.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	for _, t := range s.tables {
		err = errors.Join(err, t.close())
	}
	clear(s.tables)
	if s.lock != nil {
		err = errors.Join(err, unlock(s.lock), s.lock.Close())
		s.lock = nil
	}
	if s.failed == nil {
		s.failed = fmt.Errorf("image source of group %s: %w", s.group, os.ErrClosed)
	}
	return err
}
