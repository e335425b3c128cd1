package mastertarget

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"failback/blockio"
	"failback/replication"
	"failback/replication/preflight"
	"failback/retention"
)

func silent(replication.CutoverStatus) {}

// protected makes a group with some points.
func (p *pair) protected(points replication.PointID) {
	p.t.Helper()
	if _, _, err := p.master.Reprotect(context.Background(), p.plan); err != nil {
		p.t.Fatal(err)
	}
	p.listed(1)
	p.keep(1)
	for id := replication.PointID(2); id <= points; id++ {
		p.change()
		p.made()
	}
}

func (p *pair) made() replication.PointID {
	p.t.Helper()
	id, err := p.master.Cut(context.Background(), "g", false)
	if err != nil {
		p.t.Fatal(err)
	}
	p.keep(id)
	p.listed(id)
	return id
}

func (p *pair) commit(r replication.CommitRequest) replication.PointID {
	p.t.Helper()
	head, err := p.master.Commit(context.Background(), "g", r, silent)
	if err != nil {
		p.t.Fatal(err)
	}
	if p.kept[head] == nil {
		p.keep(head)
	}
	return head
}

func (p *pair) undo() replication.PointID {
	p.t.Helper()
	head, err := p.master.Undo(context.Background(), "g", false, silent)
	if err != nil {
		p.t.Fatal(err)
	}
	return head
}

// state returns the status of the group.
func (p *pair) state() replication.GroupStatus {
	p.t.Helper()
	s, err := p.master.Status(context.Background(), "g")
	if err != nil || len(s.Groups) != 1 {
		p.t.Fatalf("%+v, error %v", s, err)
	}
	return s.Groups[0]
}

// machineSees compares the targets, opened as anybody can who finds them, with what was kept of a point.
func (p *pair) machineSees(id replication.PointID) {
	p.t.Helper()
	for i, want := range p.kept[id] {
		d, err := blockio.OpenTarget(p.dst(i), blockio.TargetOptions{})
		if err != nil {
			p.t.Fatalf("disk %d of a committed group: %v", i, err)
		}
		got := make([]byte, len(want))
		if _, err := d.ReadAt(got, 0); err != nil && err != io.EOF {
			p.t.Fatal(err)
		}
		if at := differs(got, want); at >= 0 {
			p.t.Fatalf("disk %d does not show point %d at %d", i, id, at)
		}
		d.Close()
	}
}

func isProblem(t *testing.T, what string, err error, code string) {
	t.Helper()
	var p *replication.Problem
	if !errors.As(err, &p) || p.Code != code || p.Remedy == "" {
		t.Errorf("%s: got %v, want a problem %q with a remedy", what, err, code)
	}
}

// TestCommit gives the disks to their machine, with all that belongs to it, takes them back, and gives them again.
func TestCommit(t *testing.T) {
	t.Parallel()
	p := newPair(t, 21)
	ctx := context.Background()
	p.protected(3)
	_, err := p.master.FinishCutover(ctx, "g")
	isProblem(t, "finish before", err, replication.CodeNotCommitted)
	_, err = p.master.Undo(ctx, "g", false, silent)
	isProblem(t, "undo before", err, replication.CodeNotCommitted)

	// What the machine writes until the stop-command has ended is in the point.
	p.change()
	was := p.live[1]
	p.live[1] = bytes.Clone(was)
	fill(p.r, p.live[1][8192:40000])
	late := filepath.Join(p.dir, "late")
	if err := os.WriteFile(late, p.live[1], 0o600); err != nil {
		t.Fatal(err)
	}
	said := filepath.Join(p.dir, "after")
	head := p.commit(replication.CommitRequest{Stop: fmt.Sprintf("cp %s %s", late, p.src(1)), After: fmt.Sprintf("echo $1 $2 $FAILBACK_GROUP $FAILBACK_POINT >> %s", said), Verify: true})
	if head != 4 { // none was made ahead of it: the sources are read in whole
		t.Fatalf("committed at point %d", head)
	}
	committed := func(where string) {
		t.Helper()
		s := p.state()
		if s.State != replication.StateCommitted || s.Cutover == nil || s.Cutover.Step != "committed" || s.Cutover.Point != head || s.Cutover.Next == "" || s.Head != head || s.Problem != nil {
			t.Fatalf("%s: %+v, cutover %+v, problem %v", where, s, s.Cutover, s.Problem)
		}
		p.machineSees(head)
	}
	committed("committed")
	if b, _ := os.ReadFile(said); string(b) != "g 4 g 4\n" {
		t.Errorf("the after-command was told %q", b)
	}
	if _, points, err := p.master.Points(ctx, "g"); err != nil || len(points) != 4 || points[3].Verified == nil {
		t.Errorf("points of a committed group: %+v, error %v", points, err)
	}
	p.refused()
	p.close()
	p.open()
	if err := p.master.wait(ctx, func() bool { return p.state().State == replication.StateCommitted }); err != nil {
		t.Fatal(err)
	}
	committed("opened anew")
	p.refused()
	if b, _ := os.ReadFile(said); string(b) != "g 4 g 4\n" {
		t.Errorf("the after-command ran again: %q", b)
	}

	if head := p.undo(); head != 4 || p.state().Held {
		t.Errorf("undone, the disks stand at %d: %+v", head, p.state())
	}
	p.contents("undone")
	p.change()
	p.made()
	if s := p.state(); s.Cutover != nil || s.State != replication.StateProtected {
		t.Errorf("undone: %+v", s)
	}
	p.contents("replicating again")

	// An earlier point; the later ones stay, and the disks follow again afterwards.
	if head = p.commit(replication.CommitRequest{Point: 2}); head != 2 {
		t.Fatalf("committed at point %d", head)
	}
	committed("an earlier point")
	if head := p.undo(); head != 5 {
		t.Errorf("the disks, which followed, stand at %d after undoing", head)
	}
	p.contents("undone from an earlier point")

	// Disks that were held go back to where they were, and are held there.
	if _, err := p.master.Move(ctx, "g", replication.MoveRequest{To: 1}, func(replication.MoveStatus) {}); err != nil {
		t.Fatal(err)
	}
	head = p.commit(replication.CommitRequest{Point: 3})
	committed("from held disks")
	if head := p.undo(); head != 1 || !p.state().Held {
		t.Errorf("the disks, which were held at 1, stand at %d: held %v", head, p.state().Held)
	}
	p.disksShow(1)
	p.contents("undone to held disks")
	_, err = p.master.Undo(ctx, "g", true, silent)
	isProblem(t, "undo twice", err, replication.CodeNotCommitted)

	head = p.commit(replication.CommitRequest{})
	committed("for good")
	_, err = p.master.Undo(ctx, "g", true, silent)
	isProblem(t, "to a point 0 that is not there", err, "no-such-point")
	if at, err := p.master.FinishCutover(ctx, "g"); err != nil || at != head {
		t.Fatalf("finished at %d: %v", at, err)
	}
	p.machineSees(head)
	if _, err := os.Stat(filepath.Join(p.dir, "ret", "g")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the journal is there still: %v", err)
	}
	if s, _ := p.master.Status(ctx, ""); len(s.Groups) != 0 {
		t.Errorf("the group is there still: %+v", s.Groups)
	}
	p.close()
}

// refused asks a committed group for all that it does not do.
func (p *pair) refused() {
	p.t.Helper()
	ctx := context.Background()
	none := func(replication.MoveStatus) {}
	_, cut := p.master.Cut(ctx, "g", false)
	_, rewind := p.master.Move(ctx, "g", replication.MoveRequest{To: 1}, none)
	_, advance := p.master.Move(ctx, "g", replication.MoveRequest{Advance: true}, none)
	_, plan := p.master.PlanMove(ctx, "g", replication.MoveRequest{To: 1})
	_, cancel := p.master.CancelMove(ctx, "g", false, none)
	_, export := p.master.Export(ctx, "g", 1, "two")
	_, apply := p.master.Apply(ctx, replication.ApplyRequest{Plan: bytes.Replace(p.plan, []byte("1h, app"), []byte("2h, app"), 1)})
	_, _, unprotect := p.master.Unprotect(ctx, "g", false, true)
	_, kept := p.master.FinishCutover(ctx, "other")
	_, scrub := p.master.Scrub(ctx, "g", 0, false, func(replication.ScrubStatus) {})
	_, _, _, verify := p.master.Verify(ctx, "g", 0, func([]replication.Ledger) {})
	_, again := p.master.Commit(ctx, "g", replication.CommitRequest{}, silent)
	_, _, reprotect := p.master.Reprotect(ctx, p.plan)
	_, drill := p.master.Drill(ctx, "g", replication.DrillRequest{Point: 1, Mountpoint: filepath.Join(p.dir, "drill")}, func(replication.DrillStatus) {})
	for what, err := range map[string]error{"cut": cut, "rewind": rewind, "advance": advance, "plan": plan, "cancel": cancel, "export": export, "apply": apply, "unprotect": unprotect, "scrub": scrub, "verify": verify, "commit": again, "reprotect": reprotect} {
		isProblem(p.t, what, err, replication.CodeCommitted)
	}
	isProblem(p.t, "another group", kept, "no-such-group")
	if drill == nil {
		p.t.Error("a drill of a committed group")
	}
	checked, err := p.master.Check(ctx, p.plan, replication.PathAsk{})
	if err != nil || !slices.ContainsFunc(checked.Findings, func(f replication.Finding) bool { return f.Code == replication.CodeCommitted }) {
		p.t.Errorf("check: %+v, error %v", checked.Findings, err)
	}
	other := []byte(strings.ReplaceAll(string(p.plan), "group: g", "group: h"))
	if checked, err := p.master.Check(ctx, other, replication.PathAsk{}); err != nil || !slices.ContainsFunc(checked.Findings, func(f replication.Finding) bool { return f.Code == "target-in-use" }) {
		p.t.Errorf("check of another group with its targets: %+v, error %v", checked.Findings, err)
	}
}

// TestUndoOfWritten: once somebody wrote to a target, of whichever kind, undo is refused, and touches nothing; once that is reverted, it is done.
func TestUndoOfWritten(t *testing.T) {
	t.Parallel()
	p := newPair(t, 22)
	ctx := context.Background()
	p.protected(2)
	head := p.commit(replication.CommitRequest{})
	snapshot := filepath.Join(p.dir, "platform")
	p.run("cp", "-a", filepath.Join(p.dir, "ds"), snapshot)
	for i := range p.names {
		d, err := blockio.OpenTarget(p.dst(i), blockio.TargetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(d.SetContentID(blockio.NewContentID()), write(d, 512, []byte("a machine was here")), d.Sync(), d.Close()); err != nil {
			t.Fatal(err)
		}
		_, err = p.master.Undo(ctx, "g", false, silent)
		isProblem(t, fmt.Sprintf("undo with disk %d written", i), err, "target-changed")
		if s := p.state(); s.State != replication.StateCommitted {
			t.Errorf("state %s after an undo that was refused", s.State)
		}
		if err := os.RemoveAll(filepath.Join(p.dir, "ds")); err != nil {
			t.Fatal(err)
		}
		p.run("cp", "-a", snapshot, filepath.Join(p.dir, "ds"))
	}
	held, err := blockio.OpenTarget(p.dst(0), blockio.TargetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.master.Undo(ctx, "g", false, silent)
	isProblem(t, "undo with a disk in use", err, "target-in-use")
	held.Close()
	if got := p.undo(); got != head {
		t.Errorf("undone to %d", got)
	}
	p.contents("undone")
	p.close()
}

func write(d io.WriterAt, off int64, b []byte) error {
	block := make([]byte, 4096)
	copy(block, b)
	_, err := d.WriteAt(block, off)
	return err
}

// TestCommitGivenUp: what goes wrong before the disks are moved leaves all as it was, and says so.
func TestCommitGivenUp(t *testing.T) {
	t.Parallel()
	p := newPair(t, 23)
	ctx := context.Background()
	p.protected(2)
	try := func(r replication.CommitRequest) error {
		_, err := p.master.Commit(ctx, "g", r, silent)
		return err
	}
	isProblem(t, "no such point", try(replication.CommitRequest{Point: 9}), "no-such-point")
	isProblem(t, "verify an earlier one", try(replication.CommitRequest{Point: 1, Verify: true}), replication.CodeCutover)
	err := try(replication.CommitRequest{Stop: "echo it does not stop >&2; exit 3"})
	isProblem(t, "stop-command", err, replication.CodeStopCommand)
	if !strings.Contains(err.Error(), "it does not stop") {
		t.Errorf("the stop-command said nothing: %v", err)
	}
	if s := p.state(); s.Cutover != nil || s.State != replication.StateProtected || len(s.Notices) == 0 {
		t.Errorf("given up: %+v", s)
	}
	p.change()
	p.made()
	p.contents("given up")

	// One that waits is taken back, also after a restart; and replication goes on meanwhile.
	r := replication.CommitRequest{NotBefore: time.Now().Add(time.Hour).Round(0)}
	first := called(func() (replication.PointID, error) { return p.master.Commit(ctx, "g", r, silent) })
	if err := p.master.wait(ctx, func() bool { s := p.state(); return s.Cutover != nil && s.Cutover.Doing != "" }); err != nil {
		t.Fatal(err)
	}
	isProblem(t, "another commit", try(replication.CommitRequest{}), replication.CodeCutover)
	_, _, err = p.master.Unprotect(ctx, "g", false, false)
	isProblem(t, "unprotect", err, replication.CodeCutover)
	p.change()
	p.made()
	p.close()
	if a := <-first; a.err == nil {
		t.Error("a commit that waits for an hour came to its end")
	}
	p.open()
	if err := p.master.wait(ctx, func() bool { s := p.state(); return s.Cutover != nil && s.Cutover.Doing != "" }); err != nil {
		t.Fatal(err)
	}
	again := called(func() (replication.PointID, error) { return p.master.Commit(ctx, "g", r, silent) })
	p.change()
	p.made()
	if head := p.undo(); head == 0 {
		t.Error("undone at no point")
	}
	a := <-again // it came too late to take part, or was told
	if a.err != nil {
		isProblem(t, "the commit that was taken back", a.err, replication.CodeUndone)
	}
	p.contents("taken back")

	// The after-command's failure is told; the group is committed.
	isProblem(t, "after-command", try(replication.CommitRequest{After: "exit 9"}), replication.CodeAfterCommand)
	if s := p.state(); s.State != replication.StateCommitted || !strings.Contains(s.Cutover.Ended, "exit status 9") {
		t.Errorf("after-command failed: %+v", s.Cutover)
	}
	p.undo()
	p.contents("undone")
	p.close()
}

// images are what is there when a process is killed at some step.
type images struct {
	p     *pair
	mu    sync.Mutex
	on    bool
	steps []string
}

var imaged = []string{"mt", "ret", "ds", "src", "ps", "views"}

func (x *images) take(step string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.on {
		return
	}
	dir := filepath.Join(x.p.dir, "image", fmt.Sprint(len(x.steps)))
	x.steps = append(x.steps, step)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		panic(err)
	}
	for _, d := range imaged {
		if out, err := exec.Command("cp", "-a", filepath.Join(x.p.dir, d), dir).CombinedOutput(); err != nil && !strings.Contains(string(out), "No such file") {
			panic(string(out))
		}
	}
}

// put puts an image in the place of what is there. Nobody has it open.
func (x *images) put(i int) {
	x.p.t.Helper()
	for _, d := range imaged {
		if err := os.RemoveAll(filepath.Join(x.p.dir, d)); err != nil {
			x.p.t.Fatal(err)
		}
		x.p.run("cp", "-a", filepath.Join(x.p.dir, "image", fmt.Sprint(i), d), x.p.dir)
	}
}

// refusesWritten: where the master target was killed after an undo had looked at the disks, and before it took them, and somebody wrote to one meanwhile, the group is committed still.
func (x *images) refusesWritten(t *testing.T, undoing int) {
	x.put(undoing)
	p := x.p
	p.run("sh", "-c", fmt.Sprintf("printf 'a machine was here' | dd of=%s bs=512 seek=9 conv=notrunc status=none", p.dst(1)))
	was, err := os.ReadFile(p.dst(1))
	if err != nil {
		t.Fatal(err)
	}
	p.open()
	if err := p.master.wait(context.Background(), func() bool { s := p.state(); return s.Cutover != nil && s.State != replication.StateChecking }); err != nil {
		t.Fatal(err)
	}
	if s := p.state(); s.State != replication.StateCommitted || s.Cutover.Step != "committed" {
		t.Errorf("written to between the look and the opening: %+v, cutover %+v", s, s.Cutover)
	}
	_, err = p.master.Undo(context.Background(), "g", false, silent)
	isProblem(t, "undo after that", err, "target-changed")
	p.close()
	if now, err := os.ReadFile(p.dst(1)); err != nil || !bytes.Equal(now, was) {
		t.Errorf("what was written to the disk was written over: %v", err)
	}
}

// TestUndoToOriginal brings the disks of a committed group to what they were before it was protected, and holds them there.
func TestUndoToOriginal(t *testing.T) {
	t.Parallel()
	p := newPair(t, 25)
	p.plan = append([]byte("keep_original: true\n"), p.plan...)
	p.protected(2)
	p.kept[0] = nil
	for _, n := range p.sizes { // the targets were created
		p.kept[0] = append(p.kept[0], make([]byte, n))
	}
	p.commit(replication.CommitRequest{})
	head, err := p.master.Undo(context.Background(), "g", true, silent)
	if err != nil || head != 0 || !p.state().Held {
		t.Fatalf("undone to %d, held %v, error %v", head, p.state().Held, err)
	}
	p.disksShow(0)
	p.contents("undone to the original")
	p.close()
}

// TestCutoverKilled kills the master target at each step of a commit, of an undo and of finishing: the next one goes on from there, and no point is lost.
func TestCutoverKilled(t *testing.T) {
	t.Parallel()
	x := &images{}
	p := newPairWith(t, 24, Config{reached: x.take})
	x.p = p
	ctx := context.Background()
	p.protected(3)
	if _, err := p.master.Move(ctx, "g", replication.MoveRequest{To: 1}, func(replication.MoveStatus) {}); err != nil {
		t.Fatal(err)
	}
	p.change()
	x.on = true
	r := replication.CommitRequest{Stop: "true", After: "true"}
	p.commit(r)
	commits := len(x.steps)
	p.undo()
	undos := len(x.steps)
	x.on = false
	p.commit(r)
	x.on = true
	if _, err := p.master.FinishCutover(ctx, "g"); err != nil {
		t.Fatal(err)
	}
	x.on = false
	p.close()
	for _, want := range []string{"final", "stopped", "cut", "closing", "moved", "closed", "committed", "begun", "after", "unwritten", "undoing", "taken", "back", "held", "finishing", "removed"} {
		if !slices.Contains(x.steps, want) {
			t.Errorf("no step %s among %v", want, x.steps)
		}
	}
	x.refusesWritten(t, slices.Index(x.steps, "undoing"))
	for i, step := range x.steps {
		for id := range p.kept { // of another world
			if id > 4 {
				delete(p.kept, id)
			}
		}
		x.put(i)
		p.open()
		settled := func(done func(s replication.GroupStatus) bool) {
			t.Helper()
			ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
			defer cancel()
			if err := p.master.wait(ctx, func() bool { return done(p.state()) }); err != nil {
				t.Fatalf("killed at %s: %+v, cutover %+v", step, p.state(), p.state().Cutover)
			}
		}
		switch {
		case i >= undos:
			ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
			if err := p.master.wait(ctx, func() bool { s, _ := p.master.Status(ctx, ""); return len(s.Groups) == 0 }); err != nil {
				t.Fatalf("killed at %s: the group is there still", step)
			}
			cancel()
			if _, err := os.Stat(filepath.Join(p.dir, "ret", "g")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("killed at %s: the journal is there still: %v", step, err)
			}
		case i >= commits && step != "unwritten":
			settled(func(s replication.GroupStatus) bool { return s.Cutover == nil && s.Generation > 0 && s.Problem == nil })
		default:
			settled(func(s replication.GroupStatus) bool {
				return s.State == replication.StateCommitted && s.Cutover.Ended == "done"
			})
			head := p.state().Head
			if p.kept[head] == nil {
				p.keep(head)
			}
			p.machineSees(head)
			p.undo()
		}
		if i < undos {
			if s := p.state(); s.Head != 1 || !s.Held {
				t.Errorf("killed at %s: undone, the disks stand at %d, held %v", step, s.Head, s.Held)
			}
			p.disksShow(1)
			if _, points, _ := p.master.Points(ctx, "g"); len(points) < 4 { // the last one was never made
				t.Errorf("killed at %s: %d points", step, len(points))
			}
			p.contents("killed at " + step)
		}
		p.close()
	}
}

// TestCommittedIsAdopted: another master target takes a committed group over as it stands, without looking at its disks; the old one is refused, and the new one undoes it.
func TestCommittedIsAdopted(t *testing.T) {
	t.Parallel()
	p := newPair(t, 26)
	ctx := context.Background()
	p.protected(2)
	head := p.commit(replication.CommitRequest{})
	p.anotherMaster("old")
	if checked, err := p.master.Check(ctx, p.plan, replication.PathAsk{}); err != nil || !hasCode(checked.Findings, preflight.CodeTakenOver) && !hasCode(checked.Findings, replication.CodeCommitted) {
		t.Errorf("check where the group is not known: %+v, error %v", checked.Findings, err)
	}
	held, err := blockio.OpenTarget(p.dst(0), blockio.TargetOptions{}) // by the machine
	if err != nil {
		t.Fatal(err)
	}
	a, err := p.master.Adopt(ctx, replication.AdoptRequest{Dir: filepath.Join(p.dir, "ret", "g"), OldHostIsOff: true})
	if err != nil || !a.Adopted {
		t.Fatalf("adopt: %+v, error %v", a, err)
	}
	if s := p.state(); s.State != replication.StateCommitted || s.Cutover.Point != head {
		t.Errorf("adopted: %+v", s)
	}
	held.Close()
	if got := p.undo(); got != head {
		t.Errorf("undone to %d", got)
	}
	p.contents("adopted, and undone")
	p.change()
	p.made()
	p.contents("replicating")
	p.commit(replication.CommitRequest{Point: 1})
	if err := os.WriteFile(filepath.Join(p.dir, "ret", "g", "notes"), []byte("mine"), 0o600); err != nil { // of somebody else
		t.Fatal(err)
	}
	_, err = p.master.FinishCutover(ctx, "g")
	isProblem(t, "finish with a file in the way", err, "journal")
	p.close()
	p.open() // tries again, and says so
	if err := os.Remove(filepath.Join(p.dir, "ret", "g", "notes")); err != nil {
		t.Fatal(err)
	}
	if err := p.master.wait(ctx, func() bool {
		s, _ := p.master.Status(ctx, "")
		return len(s.Groups) == 0 || s.Groups[0].State == replication.StateError
	}); err != nil {
		t.Fatal(err)
	}
	if s, _ := p.master.Status(ctx, ""); len(s.Groups) > 0 {
		if _, err := p.master.FinishCutover(ctx, "g"); err != nil {
			t.Errorf("finish again: %v", err)
		}
	}
	p.machineSees(1)
	p.close()
}

// weakTarget fails to sync once.
type weakTarget struct {
	blockio.Target
	fails *atomic.Bool
}

func (t weakTarget) Sync() error {
	if t.fails.CompareAndSwap(true, false) {
		return fmt.Errorf("sync: %w", blockio.ErrPoisoned)
	}
	return t.Target.Sync()
}

// TestCommitOverStorageThatFails: a sync that fails while the disks are brought to the point has the group opened anew, and the commit goes on.
func TestCommitOverStorageThatFails(t *testing.T) {
	t.Parallel()
	var fails atomic.Bool
	p := newPairWith(t, 27, Config{wrap: func(_ string, t blockio.Target) blockio.Target { return weakTarget{t, &fails} }})
	p.protected(3)
	for range 2 {
		if _, err := p.master.Move(context.Background(), "g", replication.MoveRequest{Advance: true}, func(replication.MoveStatus) {}); err != nil { // they may be a little behind
			t.Fatal(err)
		}
		fails.Store(true)
		head := p.commit(replication.CommitRequest{Point: 1})
		if fails.Load() || head != 1 {
			t.Errorf("committed at %d; a sync failed: %v", head, !fails.Load())
		}
		p.machineSees(1)
		fails.Store(true)
		if got := p.undo(); got != 3 {
			t.Errorf("undone to %d", got)
		}
		p.contents("undone")
	}
	p.close()
}

// TestUndoWhileTheDisksMove takes a commit back whose move has begun to write: the disks go back, and the one who waits for the commit is told.
func TestUndoWhileTheDisksMove(t *testing.T) {
	t.Parallel()
	x := &moveGate{inside: make(chan struct{}, 1)}
	defer x.open()
	w := &weakNotes{fails: func(at *retention.Cutover) bool { return at != nil && at.Step == retention.CutoverUndoing }} // the undo is not lost
	w.left.Store(2)
	p := newPairWith(t, 28, Config{notes: w.note, wrap: func(_ string, t blockio.Target) blockio.Target { return gatedTarget{t, x} }})
	ctx := context.Background()
	p.protected(3)
	if _, err := p.master.Move(ctx, "g", replication.MoveRequest{Advance: true}, func(replication.MoveStatus) {}); err != nil {
		t.Fatal(err)
	}
	x.shut(&x.writes)
	commit := called(func() (replication.PointID, error) {
		return p.master.Commit(ctx, "g", replication.CommitRequest{Point: 1}, silent)
	})
	<-x.inside
	_, err := p.master.Move(ctx, "g", replication.MoveRequest{To: 2}, func(replication.MoveStatus) {})
	isProblem(t, "a move meanwhile", err, replication.CodeCutover)
	_, err = p.master.CancelMove(ctx, "g", false, func(replication.MoveStatus) {})
	isProblem(t, "cancel the move", err, replication.CodeCutover)
	_, err = p.master.Cut(ctx, "g", false)
	isProblem(t, "cut", err, replication.CodeCutover)
	undo := called(func() (replication.PointID, error) {
		return p.master.Undo(ctx, "g", false, func(replication.CutoverStatus) { x.open() })
	})
	if a := <-undo; a.err != nil || a.head != 3 {
		t.Errorf("undone to %d: %v", a.head, a.err)
	}
	a := <-commit
	isProblem(t, "the commit", a.err, replication.CodeUndone)
	p.disksShow(3)
	p.contents("undone in the middle")
	p.change()
	p.made()
	p.close()
}
