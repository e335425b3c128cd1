package retention

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"failback/replication"
	"failback/replication/block"
)

// operation is one of the things that a journal does, from a state that is always the same.
type operation struct {
	name   string
	before func(*world) error
	do     func(*world) error
	least  int // changes of volume and disks that it must have: else it is not what it says
}

// operations are all that change a journal or its disks; TestCreateIsDurable and TestRetireRemovesTheJournal have the first and the last.
var operations = []operation{
	{"Baseline", (*world).anew, (*world).point, 20},
	{"Begin", (*world).aged, (*world).begin, 3},
	{"Arrival", (*world).begun, (*world).ship, 5},
	{"ArrivalOfEqual", (*world).compared, (*world).ship, 10},
	{"List", (*world).shipped, (*world).list, 3},
	{"DropCycle", (*world).shipped, func(w *world) error { return w.j.Drop("test") }, 5},
	{"BeginAfterDrop", (*world).leftovers, (*world).begin, 3},
	{"Advance", (*world).aged, func(w *world) error { return w.moveTo(w.listed[len(w.listed)-1].ID) }, 12},
	{"Rewind", (*world).aged, func(w *world) error { return w.moveTo(w.listed[0].ID) }, 8},
	{"FinishMove", (*world).halfway, func(w *world) error { return w.moveTo(w.j.Unfinished().To) }, 3},
	{"TakeMoveBack", (*world).halfway, func(w *world) error { return w.moveTo(w.j.Unfinished().From) }, 3},
	{"DropPoints", (*world).aged, func(w *world) error { return w.dropped(w.listed[1].ID, w.listed[3].ID) }, 3},
	{"RewriteClass", (*world).gapped, func(w *world) error { return w.rewritten(KeepSpares, segDir) }, 8},
	{"RewriteClassWithoutCold", (*world).gapped, func(w *world) error { return w.rewritten(DropCold, segDir) }, 8},
	{"RewriteClassWithoutSpares", (*world).gapped, func(w *world) error { return w.rewritten(DropSpares, segDir) }, 8},
	{"RewriteSave", (*world).gapped, func(w *world) error { return w.rewritten(KeepSpares, saveDir) }, 8},
	{"RewriteSaveWithoutSpares", (*world).gapped, func(w *world) error { return w.rewritten(DropSpares, saveDir) }, 4},
	{"RewritePack", (*world).packed, func(w *world) error { return w.rewritten(KeepSpares, packDir) }, 8},
	{"RewritePackWithoutSpares", (*world).packed, func(w *world) error { return w.rewritten(DropSpares, packDir) }, 4},
	{"RewriteWhenFull", (*world).gapped, func(w *world) error {
		w.m.fullFrom = w.m.ops + 2
		err := w.rewritten(KeepSpares, segDir)
		if w.m.fullFrom = 0; errors.Is(err, ErrNoSpace) {
			return nil
		}
		return err
	}, 3},
	{"Shorten", (*world).aged, func(w *world) error { w.j.t.logBytes = 1; return w.j.Shorten() }, 6},
	{"Pin", (*world).aged, func(w *world) error { return w.pin(w.listed[1].ID, true, time.Time{}) }, 3},
	{"Mark", (*world).aged, func(w *world) error {
		p := w.listed[1].ID
		return errors.Join(w.j.MarkVerified(p, replication.Verify{Equal: true}), w.j.MarkSuspect(p, "test"), w.j.MarkDrilled(p, replication.Drilled{Outcome: replication.DrillPassed}))
	}, 9},
	{"Adopt", (*world).aged, func(w *world) error {
		return errors.Join(one(w.j.Adopt(7)), w.j.RecordContentIDs(make([]uint32, len(w.sizes))), w.j.RecordFingerprints(make([]string, len(w.sizes))))
	}, 9},
	{"Join", (*world).aged, (*world).join, 3},
	{"CycleOfJoining", func(w *world) error { return errors.Join(w.aged(), w.join()) }, (*world).point, 20},
	{"MoveBeforeBirth", (*world).grown, func(w *world) error { return w.moveTo(w.listed[0].ID) }, 8},
	{"Grow", (*world).aged, (*world).enlargeOne, 3},
	{"CycleAfterGrowing", func(w *world) error { return errors.Join(w.aged(), w.enlargeOne()) }, (*world).point, 8},
	{"MoveBeforeGrowing", func(w *world) error { return errors.Join(w.aged(), w.enlargeOne(), w.point(), w.point()) }, func(w *world) error { return w.moveTo(w.listed[0].ID) }, 8},
	{"Leave", (*world).aged, func(w *world) error { return w.leave(0) }, 3},
	{"LeaveWithCycleOpen", (*world).shipped, func(w *world) error { return w.leave(1) }, 8},
	{"CycleAfterLeaving", func(w *world) error { return errors.Join(w.aged(), w.leave(0)) }, (*world).point, 8},
	{"MoveBeforeLeaving", func(w *world) error { return errors.Join(w.aged(), w.leave(0), w.point(), w.point()) }, func(w *world) error { return w.moveTo(w.listed[0].ID) }, 5},
	{"RewriteAfterLeaving", func(w *world) error { return errors.Join(w.gapped(), w.leave(0)) }, func(w *world) error { return w.rewritten(DropSpares, segDir) }, 8},
	{"Open", (*world).gapped, func(w *world) error { return w.again() }, 1},
	{"OpenTornCycle", (*world).torn, func(w *world) error { return w.again() }, 8},
}

// anew is a journal without a point.
func (w *world) anew() error {
	err := w.start()
	w.m.onOp = nil
	return err
}

// point makes a cycle, from its begin to the list.
func (w *world) point() error {
	if w.cycle == nil {
		if err := w.begin(); err != nil {
			return err
		}
	}
	for w.cycle != nil {
		if err := w.ship(); err != nil {
			return err
		}
		if err := w.closeLanes(); err != nil {
			return err
		}
		if err := w.list(); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) closeLanes() error {
	lanes := make([]*Arrival, 0, len(w.j.open.arrivals))
	for a := range w.j.open.arrivals {
		lanes = append(lanes, a)
	}
	slices.SortFunc(lanes, func(a, b *Arrival) int { return int(a.lane.Attempt) - int(b.lane.Attempt) })
	for _, a := range lanes {
		if err := a.Close(); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) moveTo(p replication.PointID) error {
	return w.j.Move(context.Background(), w.m.targets(), p, nil)
}

// aged is a journal with some points, saves, and the head in their middle.
func (w *world) aged() error {
	if err := w.anew(); err != nil {
		return err
	}
	for n := range 7 {
		if err := w.point(); err != nil {
			return err
		}
		if n == 3 || n == 5 {
			if err := w.moveTo(w.listed[n-1].ID); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *world) begun() error { return errors.Join(w.aged(), w.begin()) }

// compared is begun, with a cycle that compares.
func (w *world) compared() error {
	if err := w.aged(); err != nil {
		return err
	}
	for {
		if err := w.begin(); err != nil || w.cycle.Mode == replication.Compare {
			return err
		}
		if err := w.j.Drop("not a compare"); err != nil {
			return err
		}
	}
}

// shipped has a cycle that can be listed.
func (w *world) shipped() error {
	if err := w.compared(); err != nil {
		return err
	}
	for {
		if err := errors.Join(w.ship(), w.closeLanes()); err != nil {
			return err
		}
		if !slices.ContainsFunc(w.stale, func(s *replication.Set) bool { return s.Bytes() > 0 }) {
			return nil
		}
	}
}

// leftovers has the files of a cycle that was dropped, as a crash left them.
func (w *world) leftovers() error {
	if err := w.shipped(); err != nil {
		return err
	}
	w.cycle = nil
	w.m.cutAt = w.m.ops + 4 // the record is durable, its files are there
	_ = w.j.Drop("test")
	return w.again()
}

// torn has a cycle whose lanes were cut off, in part unsynced.
func (w *world) torn() error {
	if err := w.begun(); err != nil {
		return err
	}
	w.m.cutAt = w.m.ops + 9
	_ = w.ship()
	return nil
}

// again ends the process and opens the journal.
func (w *world) again() error {
	w.j.files.forget("")
	at := w.m.cutAt
	if w.m.kill(); at > w.m.ops {
		w.m.cutAt = at
	}
	j, err := open(w.m.volume(), worldDir, "web", w.t)
	if err == nil {
		w.j = j
	}
	return err
}

// halfway is in the middle of a move.
func (w *world) halfway() error {
	if err := w.aged(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	n := 0
	err := w.j.Move(ctx, w.m.targets(), w.listed[len(w.listed)-1].ID, func(p MoveProgress) {
		if p.Phase == PhaseWrite {
			if n++; n == 3 {
				cancel()
			}
		}
	})
	if !errors.Is(err, context.Canceled) || w.j.Unfinished() == nil {
		return fmt.Errorf("no unfinished move: %w", err)
	}
	return nil
}

func (w *world) dropped(ids ...replication.PointID) error {
	w.gone = ids
	if err := w.j.DropPoints(ids, "test"); err != nil {
		return err
	}
	w.gone = nil
	w.forget(ids)
	return nil
}

// gapped lacks some points: versions are dead, and classes have several segments.
func (w *world) gapped() error {
	if err := w.aged(); err != nil {
		return err
	}
	return w.dropped(w.listed[1].ID, w.listed[2].ID)
}

// packed has a pack with the content of a class, and one of a save.
func (w *world) packed() error {
	if err := w.gapped(); err != nil {
		return err
	}
	return errors.Join(w.rewritten(KeepSpares, segDir), w.rewritten(KeepSpares, saveDir))
}

// rewritten rewrites files of a kind: of segments and packs, those of the class that has most of them.
func (w *world) rewritten(spares Spares, dir string) error {
	use, err := w.j.Use(context.Background(), nil)
	if err != nil {
		return err
	}
	classes := map[[2]replication.PointID][]string{}
	var most []string
	for _, f := range use.Files {
		if strings.HasPrefix(f.Name, dir+"/") {
			c := [2]replication.PointID{f.First, f.Last}
			if classes[c] = append(classes[c], f.Name); len(classes[c]) > len(most) && (f.First == f.Last || len(classes[c]) == 1) {
				most = classes[c]
			}
		}
	}
	_, err = w.j.Rewrite(context.Background(), most, RewriteOptions{Spares: spares})
	return err
}

// TestCrashAtEveryOperation ends the process, or the power, at each write, sync, creation, renaming and removal of everything that a journal does, and in some rounds again while it is opened. What
// was not synced stays, goes, or is torn. The journal then has what was listed, byte by byte, and goes on. FAILBACK_ROUNDS sets how often each.
func TestCrashAtEveryOperation(t *testing.T) {
	rounds, stride := 1, 1
	if n, err := strconv.Atoi(os.Getenv("FAILBACK_ROUNDS")); err == nil {
		rounds = n
	} else if slow > 1 {
		rounds, stride = 1, 5
	}
	crashes := 0
	for n, o := range operations {
		t.Run(o.name, func(t *testing.T) {
			for k := 1 + n%stride; ; k += stride {
				for round := range rounds {
					ended, err := o.crash(uint64(1+n%2), k, k+round) // one world without and one with a reserve
					if err != nil {
						t.Fatalf("crash at change %d, round %d: %v", k, round, err)
					}
					if ended && k <= o.least && stride == 1 {
						t.Errorf("%d changes, want %d at least", k-1, o.least)
					}
					if ended {
						return
					}
					crashes++
				}
			}
		})
	}
	t.Logf("%d crashes", crashes)
}

// crash ends a world at the k-th change of the operation, and sees whether it outlives that. ended: the operation has fewer changes.
func (o *operation) crash(seed uint64, k, round int) (ended bool, err error) {
	w := newWorld(seed)
	w.reach, w.frail = 12, false
	if err := o.before(w); err != nil {
		return false, err
	}
	w.m.onOp = nil
	w.m.cutAt = w.m.ops + k
	if err := o.do(w); !w.m.off {
		return true, err
	}
	return false, w.outlives(uint64(k), round)
}

// outlives goes on after a crash, and looks at everything.
func (w *world) outlives(k uint64, round int) error {
	w.m.onOp = nil
	w.j.files.forget("")
	w.m.r = rand.New(rand.NewPCG(k, uint64(round)))
	w.r = rand.New(rand.NewPCG(k, uint64(round)+100))
	if round%3 == 0 {
		w.m.kill()
	} else {
		w.m.reboot()
	}
	if err := w.inspected(); err != nil {
		return err
	}
	if round%4 == 1 {
		w.cut(12)
	}
	if err := w.start(); err != nil {
		return err
	}
	w.m.cutAt, w.m.onOp = 0, nil
	for i := range 3 {
		if err := w.step(); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
	}
	for range 2 { // the one that may be open, and another
		if err := errors.Join(w.closeLanes(), w.point()); err != nil {
			return err
		}
	}
	if err := w.moveTo(w.listed[len(w.listed)-1].ID); err != nil {
		return err
	}
	if err := w.check("gone on"); err != nil {
		return err
	}
	if err := w.j.Check(context.Background()); err != nil {
		return err
	}
	return w.j.Close()
}

// sealedWhole ends the power at each operation of the sealing of a file, in many ways: an index that is found afterwards tells of nothing that is not there.
func sealedWhole(t *testing.T, rounds uint64) error {
	for round := range rounds {
		for k := 1; ; k++ {
			w := plainWorld(t, 12)
			name := w.j.path(segDir, "9-1-1-0-1"+segSuffix)
			x, err := createWriter(w.j.vol, name, fileHeader{kind: segmentFile, journal: w.j.journal, point: 9, generation: 1, session: 1, attempt: 1, group: w.j.id.Group}, &w.j.t)
			if err != nil {
				return err
			}
			for n := range 3 {
				raw := bytes.Repeat([]byte{byte(n), 7}, replication.Page)
				b := block.Block{Kind: block.Data, Extents: []replication.Extent{{Off: int64(n) * 2 * replication.Page, End: int64(n+1) * 2 * replication.Page}}, Raw: len(raw), CRC: block.Checksum(raw), Codec: block.None, Payload: raw}
				if err := x.append(&b, 9); err != nil {
					return err
				}
				if n == 0 { // the header is durable
					if err := x.sync(); err != nil {
						return err
					}
				}
			}
			if err := syncDir(w.j.vol, w.j.path(segDir)); err != nil {
				return err
			}
			w.m.cutAt = w.m.ops + k
			_, err = w.j.sealWriter(x)
			if !w.m.off {
				if err != nil {
					return err
				}
				break
			}
			w.m.r, w.m.cutAt = rand.New(rand.NewPCG(round, uint64(k))), 0
			w.m.reboot()
			s, err := openSealed(newHandles(w.m.volume(), 4), name, &w.j.id, w.j.journal)
			if err != nil || s.verifyIndex(&w.j.id) != nil {
				continue
			}
			for n := range s.foot.chunks {
				es, err := s.chunk(nil, n, make([]byte, chunkSize))
				for _, e := range es {
					if _, _, err := s.block(e.at, &w.j.id); err != nil {
						return fmt.Errorf("the power failed at operation %d, and an index tells of %v: %w", k, e.ext, err)
					}
				}
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func TestSealedFilesAreWhole(t *testing.T) {
	if err := sealedWhole(t, 40); err != nil {
		t.Error(err)
	}
}
