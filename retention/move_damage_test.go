package retention

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// watchedDisk is a disk that calls on when it is read next, once.
type watchedDisk struct {
	fileDisk
	on func()
}

func (d *watchedDisk) ReadAt(p []byte, off int64) (int, error) {
	if on := d.on; on != nil {
		d.on = nil
		on()
	}
	return d.fileDisk.ReadAt(p, off)
}

// damagedWhileSaving has a scrub find, while a move saves, that the journal does not hold what the move took for a spare: only the disk does, and the move writes over it.
func damagedWhileSaving(t *testing.T) error {
	s := newStand(t, 1<<20)
	s.j.t.savesAhead = 1
	p := s.cycle(8<<10, 64<<10, 0)
	s.must(s.j.Move(t.Context(), []Disk{s.disk}, p, nil))
	before := make([]byte, s.disk.size)
	s.must(one(s.disk.File.ReadAt(before, 0)))
	q := s.cycle(16<<10, 64<<10, 0) // over the same, and over what only the disk holds
	names, err := filepath.Glob(filepath.Join(s.j.dir, "seg", fmt.Sprintf("%d-*.seg", p)))
	s.must(err)
	b, err := os.ReadFile(names[0])
	s.must(err)
	b[fileHeaderSize+entryFixed+16*extentSize+600] ^= 1
	s.must(os.WriteFile(names[0], b, 0o600))

	quarantined := 0
	d := &watchedDisk{s.disk, func() {
		f, err := s.j.Scrub(t.Context(), ScrubOptions{})
		s.must(err)
		quarantined = f.Quarantined
	}}
	s.must(s.j.Move(t.Context(), []Disk{d}, q, nil))
	if quarantined == 0 {
		t.Fatal("nothing was found while the move saved: this test does not test it")
	}
	r, err := s.j.Reader(p, 0, s.disk)
	if err != nil {
		return err
	}
	defer r.Close()
	got := make([]byte, s.disk.size)
	if _, err := r.ReadAt(got, 0); err != nil {
		return err
	} else if !bytes.Equal(got, before) {
		return errors.New("the point shows other bytes than it had")
	}
	return nil
}

func TestDamageFoundWhileAMoveSaves(t *testing.T) {
	if err := damagedWhileSaving(t); err != nil {
		t.Error(err)
	}
}

var _ Disk = (*watchedDisk)(nil)
