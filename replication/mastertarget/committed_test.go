package mastertarget

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"failback/blockio"
	"failback/replication"
	"failback/retention"
)

// weakNotes fails to note some steps, as often as it is told.
type weakNotes struct {
	left  atomic.Int32
	fails func(*retention.Cutover) bool
}

func (w *weakNotes) note(at *retention.Cutover) error {
	if w.fails(at) && w.left.Add(-1) >= 0 {
		return errors.New("it can't be noted")
	}
	return nil
}

// TestGiveUpThatCantBeNoted: a commit that is given up stays so: nothing of it runs again until that is noted, and who asked for it is told why.
func TestGiveUpThatCantBeNoted(t *testing.T) {
	t.Parallel()
	w := &weakNotes{fails: func(at *retention.Cutover) bool { return at == nil }}
	p := newPairWith(t, 31, Config{notes: w.note})
	p.protected(2)
	ran := filepath.Join(p.dir, "ran")
	w.left.Store(2)
	_, err := p.master.Commit(context.Background(), "g", replication.CommitRequest{Stop: "echo x >> " + ran + "; exit 3"}, silent)
	isProblem(t, "stop-command", err, replication.CodeStopCommand)
	if b, _ := os.ReadFile(ran); string(b) != "x\n" {
		t.Errorf("the stop-command ran %d times", len(b)/2)
	}
	if err == nil || !strings.Contains(replication.AsProblem(err).Remedy, "start the machine at the source again") {
		t.Errorf("a stop-command that failed may have stopped it: %v", err)
	}
	if s := p.state(); s.Cutover != nil || s.State != replication.StateProtected || w.left.Load() > 0 {
		t.Errorf("given up: %+v", s)
	}
	p.close()
}

// TestUndoRefusedLeavesNothingPending: once an undo was asked for, the after-command does not run by itself, neither now nor at a later start, though the undo is refused; the same commit again runs it.
func TestUndoRefusedLeavesNothingPending(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	var p *pair
	var asked atomic.Bool
	p = newPairWith(t, 32, Config{reached: func(step string) {
		if step == "committed" && asked.CompareAndSwap(false, true) {
			f, err := os.OpenFile(p.dst(1), os.O_WRONLY, 0)
			if err != nil {
				panic(err)
			}
			if _, err := f.WriteAt([]byte("a machine was here"), 4096); err != nil {
				panic(err)
			}
			f.Close()
			if _, err := p.master.wish("g", &undoWish{}); err != nil {
				panic(err)
			}
		}
	}})
	p.protected(2)
	ran := filepath.Join(p.dir, "ran")
	r := replication.CommitRequest{Point: 2, After: "echo x >> " + ran}
	_, err := p.master.Commit(ctx, "g", r, silent)
	isProblem(t, "a commit whose after-command did not run", err, replication.CodeAfterCommand)
	for range 2 {
		if s := p.state(); s.State != replication.StateCommitted || s.Cutover.Ended != afterNotRun {
			t.Fatalf("%+v, cutover %+v", s, s.Cutover)
		}
		p.close()
		p.open()
		if err := p.master.wait(ctx, func() bool { return p.state().State == replication.StateCommitted }); err != nil {
			t.Fatal(err)
		}
	}
	_, err = p.master.Undo(ctx, "g", false, silent)
	isProblem(t, "undo", err, codeTargetChanged)
	if _, err := os.Stat(ran); err == nil {
		t.Error("the after-command ran, and nobody had asked for it")
	}
	other := r
	other.Point = 0
	_, err = p.master.Commit(ctx, "g", other, silent)
	isProblem(t, "another commit", err, replication.CodeCommitted)
	if head, err := p.master.Commit(ctx, "g", r, silent); err != nil || head != 2 {
		t.Errorf("the same commit again: at %d, %v", head, err)
	}
	if b, _ := os.ReadFile(ran); string(b) != "x\n" {
		t.Errorf("the after-command left %q", b)
	}
	p.close()
}

// TestWhileACommitIsUnderWay: its point stays, no drill begins that would have it given up once the source is stopped, and who asks for another point takes no part.
func TestWhileACommitIsUnderWay(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	p := newPair(t, 33)
	p.protected(3)
	begun, on := filepath.Join(p.dir, "begun"), filepath.Join(p.dir, "go")
	r := replication.CommitRequest{Point: 2, Stop: fmt.Sprintf("touch %s; while ! test -e %s; do sleep 0.05; done", begun, on)}
	commit := called(func() (replication.PointID, error) { return p.master.Commit(ctx, "g", r, silent) })
	for {
		if _, err := os.Stat(begun); err == nil {
			break
		}
		select {
		case a := <-commit:
			t.Fatalf("%+v", a)
		case <-time.After(10 * time.Millisecond):
		}
	}
	g, err := p.master.group("g")
	if err != nil {
		t.Fatal(err)
	}
	if err := g.drop([]replication.PointID{2}, "policy asked before"); !errors.Is(err, retention.ErrInUse) {
		t.Errorf("the point of a commit is dropped: %v", err)
	}
	if g.pointsInUse()[2] == "" {
		t.Error("policy does not know that the point is needed")
	}
	_, err = p.master.register(&running{group: "g", request: replication.DrillRequest{Point: 1, Mountpoint: filepath.Join(p.dir, "drill")}})
	isProblem(t, "a drill", err, replication.CodeCutover)
	other := r
	other.Point = 0
	_, err = p.master.Commit(ctx, "g", other, silent)
	isProblem(t, "a commit to another point", err, replication.CodeCutover)
	_, err = p.master.Undo(ctx, "g", true, silent)
	isProblem(t, "undo to the original", err, replication.CodeCutover)
	if err := os.WriteFile(on, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if a := <-commit; a.err != nil || a.head != 2 {
		t.Errorf("committed at %d: %v", a.head, a.err)
	}
	p.close()
}

// TestUndoOutlastsMissingTarget: an undo that was accepted is carried out when the targets are there again; that one is missing at a start does not have the group committed, or its after-command run.
func TestUndoOutlastsMissingTarget(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	x := &images{}
	p := newPairWith(t, 34, Config{reached: x.take})
	x.p = p
	p.protected(2)
	ran := filepath.Join(p.dir, "ran")
	p.commit(replication.CommitRequest{After: "echo x >> " + ran})
	x.on = true
	p.undo()
	x.on = false
	p.close()
	x.put(slices.Index(x.steps, "undoing"))
	away := p.dst(1) + ".away"
	if err := os.Rename(p.dst(1), away); err != nil {
		t.Fatal(err)
	}
	p.open()
	if err := p.master.wait(ctx, func() bool { return p.state().Problem != nil || p.state().State == replication.StateCommitted }); err != nil {
		t.Fatal(err)
	}
	if s := p.state(); s.State != replication.StateError || s.Problem == nil || s.Problem.Code == replication.CodeCommitted {
		t.Errorf("%+v, problem %v", s, s.Problem)
	}
	if err := os.Rename(away, p.dst(1)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := p.master.wait(ctx, func() bool { s := p.state(); return s.Cutover == nil && s.Generation > 0 && s.Problem == nil }); err != nil {
		t.Fatalf("%+v", p.state())
	}
	p.contents("undone")
	if b, _ := os.ReadFile(ran); string(b) != "x\n" {
		t.Errorf("the after-command left %q", b)
	}
	p.close()
}

// shyTarget fails to take a content id once.
type shyTarget struct {
	blockio.Target
	once func() bool
}

func (t shyTarget) SetContentID(id uint32) error {
	if t.once() {
		return errors.New("it can't be written")
	}
	return t.Target.SetContentID(id)
}

// TestFingerprintsOutlastAnOpeningThatFails: a disk without content id is held against what it looked like until a session has begun, be it at the second attempt.
func TestFingerprintsOutlastAnOpeningThatFails(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	var fails atomic.Bool
	var p *pair
	p = newPairWith(t, 35, Config{wrap: func(path string, target blockio.Target) blockio.Target {
		return shyTarget{target, func() bool {
			if path != p.dst(0) || !fails.CompareAndSwap(true, false) {
				return false
			}
			f, err := os.OpenFile(p.dst(1), os.O_WRONLY, 0)
			if err == nil {
				_, err = f.WriteAt([]byte("a machine was here"), 4096)
				err = errors.Join(err, f.Close())
			}
			if err != nil {
				panic(err)
			}
			return true
		}}
	}})
	p.protected(2)
	p.close()
	fails.Store(true)
	p.open()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := p.master.wait(ctx, func() bool {
		s := p.state()
		return !fails.Load() && (s.Problem != nil && s.Problem.Code == codeTargetChanged || s.Problem == nil && s.State != replication.StateChecking)
	}); err != nil {
		t.Fatalf("%+v", p.state())
	}
	if s := p.state(); s.State != replication.StateError || s.Problem == nil || s.Problem.Code != codeTargetChanged {
		t.Errorf("a disk that was written to between two attempts: %+v", s)
	}
	p.close()
}
