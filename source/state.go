package source

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"failback/replication"
)

const (
	stateName    = "state.json"
	stateFormat  = "failback image source"
	stateVersion = 1
	maxState     = 64 << 20 // bounds what is read of a state file: some 300 cuts of 60 disks
)

// state is all that a group's directory knows, as it is on disk. Cuts are immutable once they are in a state.
type state struct {
	Format  string              `json:"format"`
	Version int                 `json:"version"`
	Group   replication.GroupID `json:"group"`
	Cuts    []*cut              `json:"cuts"`    // held, rising
	Pending []pending           `json:"pending"` // views that are to be let go of
}

// cut is one point over all disks.
type cut struct {
	Point    replication.PointID `json:"point"`
	Time     time.Time           `json:"time"`
	TookNs   int64               `json:"took_ns"`  // from the first view to the last: the skew between disks is at most that
	Snapshot string              `json:"snapshot"` // names the cut
	Process  string              `json:"process"`  // names the Open that made it: a cut that is not stable ends with it
	Making   bool                `json:"making"`   // recorded before the first view is made; the cut is not held yet
	Listed   bool                `json:"listed"`   // Release has kept it
	Disks    []diskView          `json:"disks"`    // by number
	Tracking *tracking           `json:"tracking"` // nil: not asked yet

	App      bool   `json:"app,omitempty"`       // machines were kept still until all disks were cut
	NotApp   string `json:"not_app,omitempty"`   // why not, where they were to be
	FrozenNs int64  `json:"frozen_ns,omitempty"` // from the first freeze command's begin to the last thaw command's end
}

// diskView is one disk's view in a cut.
type diskView struct {
	Disk    replication.Disk `json:"disk"`
	Path    string           `json:"path"`    // of the source
	Source  identity         `json:"source"`  // of the source, at the cut
	Kind    string           `json:"kind"`    // empty while not known
	View    string           `json:"view"`    // path
	File    identity         `json:"file"`    // of the view
	Size    int64            `json:"size"`    // bytes
	Clones  []string         `json:"clones"`  // while making: where a clone may be
	Release string           `json:"release"` // the command that was the plan's at the cut
}

// tracking says what a cut answered about changes since a base.
type tracking struct {
	Base replication.PointID `json:"base"`
	Why  string              `json:"why"` // changes are not known because; empty: they are
}

// pending is a view that is to be let go of, and perhaps failed to.
type pending struct {
	Point   replication.PointID `json:"point"`
	Disk    replication.Disk    `json:"disk"`
	Path    string              `json:"path"`
	Kind    string              `json:"kind"`
	View    string              `json:"view"`
	Release string              `json:"release"`
}

func (c *cut) stable() bool {
	return !slices.ContainsFunc(c.Disks, func(d diskView) bool { return d.Kind == KindNone })
}

// place says where in the cut a disk is, by its name: numbers change when others leave the group. -1: the cut does not have it.
func (c *cut) place(disk replication.DiskID) int {
	return slices.IndexFunc(c.Disks, func(d diskView) bool { return d.Disk.ID == disk })
}

// id names what the cut has at a place.
func (c *cut) id(place int) cutID {
	return newCutID(c.Disks[place].Size, c.Point, c.Snapshot)
}

// letGo returns what has to be let go of when the cut is no longer held.
func (c *cut) letGo() (p []pending) {
	seen := make(map[string]bool)
	for _, d := range c.Disks {
		add := func(kind, view string) {
			if seen[view] { // a snapshot command said the same for two disks; the cut failed for it
				return
			}
			seen[view] = true
			p = append(p, pending{Point: c.Point, Disk: d.Disk, Path: d.Path, Kind: kind, View: view, Release: d.Release})
		}
		switch {
		case c.Making && d.View == "":
			for _, path := range d.Clones {
				add(KindReflink, path)
			}
		case d.Kind != KindNone:
			add(d.Kind, d.View)
		}
	}
	return p
}

// loadState reads a group's state; an absent file is an empty state.
func loadState(dir string, group replication.GroupID) (state, error) {
	fresh := state{Format: stateFormat, Version: stateVersion, Group: group}
	path := filepath.Join(dir, stateName)
	if fi, err := os.Stat(path); err == nil && fi.Size() > maxState {
		return state{}, fmt.Errorf("state %s has %d bytes, the most is %d", path, fi.Size(), maxState)
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return fresh, nil
	} else if err != nil {
		return state{}, fmt.Errorf("load state: %w", err)
	}
	var st state
	if err := json.Unmarshal(b, &st); err != nil || st.Format != stateFormat {
		return state{}, &replication.Problem{
			Code:    "source-state",
			Message: path + " is not the state of an image source",
			Remedy:  "move it aside: the next cycle compares, and the views that it named have to be let go of by hand",
			Err:     err,
		}
	}
	if st.Version != stateVersion {
		return state{}, &replication.Problem{
			Code:    "source-state",
			Message: fmt.Sprintf("%s has version %d, this process server knows %d", path, st.Version, stateVersion),
			Remedy:  "run the version of failback that wrote it, or a newer one",
		}
	}
	if st.Group != group {
		return state{}, fmt.Errorf("state %s is of group %q, not %q", path, st.Group, group)
	}
	return st, st.check(path)
}

// check refuses what this package never writes.
func (st *state) check(path string) error {
	last := replication.PointID(0)
	for _, c := range st.Cuts {
		if c == nil || c.Point <= last {
			return fmt.Errorf("state %s: cuts do not rise after point %d", path, last)
		}
		last = c.Point
		for i, d := range c.Disks {
			if d.Disk.No != replication.DiskNo(i) || !c.Making && (d.Size <= 0 || d.Size > replication.MaxDiskSize || d.Kind == "" || d.View == "") {
				return fmt.Errorf("state %s: point %d has no whole view of disk %d", path, c.Point, i)
			}
		}
	}
	return nil
}

// saveState makes the state durable.
func saveState(dir string, st state) error {
	b, err := json.MarshalIndent(st, "", "\t")
	if err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	if err := replaceFile(filepath.Join(dir, stateName), append(b, '\n')); err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	return nil
}

// replaceFile puts a file in the place of another, durably: a crash leaves the one or the other.
func replaceFile(path string, b []byte) (err error) {
	temp := path + ".new"
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}
