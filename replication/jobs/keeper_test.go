package jobs

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"failback/replication"
)

// staged is an engine whose moves, verifications and commits go on until the test says so.
type staged struct {
	Engine
	mu    sync.Mutex
	group replication.GroupStatus
	gone  bool
	idle  bool       // nothing begins
	end   chan error // of the call under way
}

func (s *staged) Status(context.Context, replication.GroupID) (replication.Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return replication.Status{}, &replication.Problem{Code: "no-such-group"}
	}
	return replication.Status{Groups: []replication.GroupStatus{s.group}}, nil
}

func (s *staged) is(change func(*replication.GroupStatus)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.group)
}

func (s *staged) wait(ctx context.Context) error {
	select {
	case err := <-s.end:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *staged) Reprotect(context.Context, []byte) (replication.GroupID, bool, error) {
	return "g", false, nil
}

func (s *staged) Move(ctx context.Context, _ replication.GroupID, r replication.MoveRequest, progress func(replication.MoveStatus)) (replication.PointID, error) {
	progress(replication.MoveStatus{Phase: "write", Done: 1, Total: 4, Left: time.Minute})
	return r.To, s.wait(ctx)
}

func (s *staged) CancelMove(context.Context, replication.GroupID, bool, func(replication.MoveStatus)) (replication.PointID, error) {
	s.end <- &replication.Problem{Code: replication.CodeMoveCancelled, Message: "taken back"}
	return 1, nil
}

func (s *staged) Commit(ctx context.Context, _ replication.GroupID, _ replication.CommitRequest, progress func(replication.CutoverStatus)) (replication.PointID, error) {
	if !s.idle {
		progress(replication.CutoverStatus{Doing: "making the last point"})
	}
	return 7, s.wait(ctx)
}

func (s *staged) Undo(context.Context, replication.GroupID, bool, func(replication.CutoverStatus)) (replication.PointID, error) {
	if s.idle {
		return 0, &replication.Problem{Code: replication.CodeNotCommitted}
	}
	s.end <- &replication.Problem{Code: replication.CodeUndone, Message: "taken back"}
	return 1, nil
}

func (s *staged) Verify(ctx context.Context, _ replication.GroupID, p replication.PointID, progress func([]replication.Ledger)) (replication.PointID, replication.Verify, []replication.DiskID, error) {
	progress([]replication.Ledger{{Done: 1, Total: 2}, {Done: 1, Total: 2}})
	return p, replication.Verify{Equal: true}, nil, s.wait(ctx)
}

func (s *staged) Unprotect(context.Context, replication.GroupID, bool, bool) (replication.PointID, string, error) {
	return 0, "", &replication.Problem{Code: "busy", Message: "not now"}
}

func (s *staged) Resync(context.Context, replication.ResyncRequest) (replication.ResyncStatus, error) {
	return replication.ResyncStatus{Asked: true}, nil
}

// world is a keeper that can be started anew.
type world struct {
	*testing.T
	dir    string
	engine *staged
	keeper *Keeper
}

func newWorld(t *testing.T) *world {
	w := &world{T: t, dir: t.TempDir(), engine: &staged{end: make(chan error, 1), group: replication.GroupStatus{Group: "g", State: replication.StateProtected, Head: 3, Last: 3}}}
	w.open()
	t.Cleanup(func() { w.keeper.Close() })
	return w
}

func (w *world) open() {
	w.Helper()
	var err error
	if w.keeper, err = open(w.dir, w.engine, slog.New(slog.DiscardHandler), 5*time.Millisecond); err != nil {
		w.Fatal(err)
	}
}

func (w *world) again() {
	w.Helper()
	if err := w.keeper.Close(); err != nil {
		w.Fatal(err)
	}
	w.open()
}

// last waits until the last job is in a state.
func (w *world) last(want replication.JobState) replication.Job {
	w.Helper()
	var j replication.Job
	for range 2000 {
		all, err := w.keeper.Jobs(w.Context(), "g")
		if err != nil {
			w.Fatal(err)
		}
		if len(all) > 0 {
			if j = all[len(all)-1]; j.State == want && (want != replication.JobRunning || j.Doing != "" || j.Resumed) {
				return j
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	w.Fatalf("the last job is not %s: %+v", want, j)
	return j
}

func (w *world) move() (wait func() error) {
	done, keeper := make(chan error, 1), w.keeper
	go func() {
		_, err := keeper.Move(w.Context(), "g", replication.MoveRequest{To: 2}, func(replication.MoveStatus) {})
		done <- err
	}()
	return func() error { return <-done }
}

func TestJobEndsAsItsWorkDoes(t *testing.T) {
	w := newWorld(t)
	ended := w.move()
	if j := w.last(replication.JobRunning); j.Kind != replication.JobRewind || j.Point != 2 || j.Doing != "write" || j.Done != 1 || j.Total != 4 || j.Left != time.Minute || j.Began.IsZero() {
		t.Errorf("running: %+v", j)
	}
	w.engine.end <- nil
	if err := ended(); err != nil {
		t.Fatal(err)
	}
	if j := w.last(replication.JobDone); j.Result == "" || j.Ended.IsZero() || j.Doing != "" {
		t.Errorf("done: %+v", j)
	}
	if _, _, err := w.keeper.Unprotect(t.Context(), "g", false, false); err == nil {
		t.Error("a refusal was lost")
	}
	if j := w.last(replication.JobFailed); j.Problem == nil || j.Problem.Code != "busy" {
		t.Errorf("failed: %+v", j)
	}
	w.again()
	if all, err := w.keeper.Jobs(t.Context(), ""); err != nil || len(all) != 2 || all[0].State != replication.JobDone || all[1].Problem == nil {
		t.Errorf("remembered: %+v, %v", all, err)
	}
}

func TestJobOutlivesWhoAsked(t *testing.T) {
	w := newWorld(t)
	ctx, leave := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		_, err := w.keeper.Move(ctx, "g", replication.MoveRequest{To: 2}, func(replication.MoveStatus) {})
		gone <- err
	}()
	w.last(replication.JobRunning)
	leave()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("who asked was told %v", err)
	}
	w.last(replication.JobRunning)
	w.engine.end <- nil
	w.last(replication.JobDone)
}

// TestWhatHasNotBegunEndsWithWhoAsked: a commit that waits for its process server is not to stop a machine when nobody is there any more.
func TestWhatHasNotBegunEndsWithWhoAsked(t *testing.T) {
	w := newWorld(t)
	w.engine.idle = true
	ctx, leave := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		_, err := w.keeper.Commit(ctx, "g", replication.CommitRequest{}, func(replication.CutoverStatus) {})
		gone <- err
	}()
	for all := []replication.Job(nil); len(all) == 0; all, _ = w.keeper.Jobs(t.Context(), "") {
		time.Sleep(time.Millisecond)
	}
	leave()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("who asked was told %v", err)
	}
	w.last(replication.JobCancelled)

	go w.keeper.Commit(t.Context(), "g", replication.CommitRequest{}, func(replication.CutoverStatus) {})
	id := uint64(0)
	for id == 0 {
		if all, _ := w.keeper.Jobs(t.Context(), ""); len(all) == 2 {
			id = all[1].ID
		}
		time.Sleep(time.Millisecond)
	}
	if err := w.keeper.CancelJob(t.Context(), id); err != nil {
		t.Errorf("cancel what has not begun: %v", err)
	}
	w.last(replication.JobCancelled)
}

func TestJobsAreCancelled(t *testing.T) {
	w := newWorld(t)
	ended := w.move()
	id := w.last(replication.JobRunning).ID
	if err := w.keeper.CancelJob(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if err := ended(); err == nil {
		t.Error("who asked was not told")
	}
	w.last(replication.JobCancelled)

	verified := make(chan error)
	go func() {
		_, _, _, err := w.keeper.Verify(t.Context(), "g", 3, func([]replication.Ledger) {})
		verified <- err
	}()
	j := w.last(replication.JobRunning)
	if j.Done != 2 || j.Total != 4 {
		t.Errorf("progress of a verification: %+v", j)
	}
	if err := w.keeper.CancelJob(t.Context(), j.ID); err != nil {
		t.Fatal(err)
	}
	if p := replication.AsProblem(<-verified); p.Code != "cancelled" {
		t.Errorf("who asked was told %+v", p)
	}
	w.last(replication.JobCancelled)

	go w.keeper.Commit(t.Context(), "g", replication.CommitRequest{}, func(replication.CutoverStatus) {})
	if err := w.keeper.CancelJob(t.Context(), w.last(replication.JobRunning).ID); err != nil {
		t.Fatal(err)
	}
	if err := w.keeper.CancelJob(t.Context(), w.last(replication.JobCancelled).ID); replication.AsProblem(err).Code != replication.CodeNoJob {
		t.Errorf("cancelled twice: %v", err)
	}
}

// TestJobsGoOnAfterRestart ends the keeper in the middle of jobs. How they end is read from the group.
func TestJobsGoOnAfterRestart(t *testing.T) {
	for _, c := range []struct {
		name  string
		ask   func(*world)
		while func(*replication.GroupStatus)
		then  func(*world)
		want  replication.JobState
	}{
		{"a rewind that comes to its end", func(w *world) { w.move() },
			func(g *replication.GroupStatus) { g.Move = &replication.MoveStatus{From: 3, To: 2, Phase: "write"} },
			func(w *world) { w.engine.is(func(g *replication.GroupStatus) { g.Move, g.Head = nil, 2 }) }, replication.JobDone},
		{"a rewind that had not begun", func(w *world) { w.move() },
			func(g *replication.GroupStatus) { g.State = replication.StateChecking },
			func(w *world) { w.engine.is(func(g *replication.GroupStatus) { g.State = replication.StateProtected }) }, replication.JobLost},
		{"a commit that comes to its end", commits,
			func(g *replication.GroupStatus) { g.Cutover = &replication.CutoverStatus{Step: "final", After: "x"} },
			func(w *world) {
				w.engine.is(func(g *replication.GroupStatus) {
					g.Cutover = &replication.CutoverStatus{Step: "committed", After: "x", Ended: "done", Point: 7}
				})
			}, replication.JobDone},
		{"a commit that is taken back", commits,
			func(g *replication.GroupStatus) { g.Cutover = &replication.CutoverStatus{Step: "closing"} },
			func(w *world) {
				w.engine.is(func(g *replication.GroupStatus) { g.Cutover = &replication.CutoverStatus{Step: "undoing"} })
			}, replication.JobCancelled},
		{"an after-command that failed", commits,
			func(g *replication.GroupStatus) { g.Cutover = &replication.CutoverStatus{Step: "final", After: "x"} },
			func(w *world) {
				w.engine.is(func(g *replication.GroupStatus) {
					g.Cutover = &replication.CutoverStatus{Step: "committed", After: "x", Ended: "exit status 3", Point: 7}
				})
			}, replication.JobFailed},
		{"a first point", func(w *world) { w.keeper.Reprotect(w.Context(), nil) },
			func(g *replication.GroupStatus) { g.Last, g.State = 0, replication.StateBaseline },
			func(w *world) { w.engine.is(func(g *replication.GroupStatus) { g.Last = 1 }) }, replication.JobDone},
		{"a resync", resyncs,
			func(g *replication.GroupStatus) {
				g.State, g.Resync = replication.StateResyncing, &replication.ResyncStatus{Asked: true}
			},
			func(w *world) { w.engine.is(func(g *replication.GroupStatus) { g.Last, g.Resync = 4, nil }) }, replication.JobDone},
		{"a resync that gave the points up", resyncs,
			func(g *replication.GroupStatus) { g.Last, g.State = 0, replication.StateBaseline },
			func(w *world) { w.engine.is(func(g *replication.GroupStatus) { g.Last = 1 }) }, replication.JobDone},
		{"a first point of a group that ended", func(w *world) { w.keeper.Reprotect(w.Context(), nil) },
			func(g *replication.GroupStatus) { g.Last, g.State = 0, replication.StateBaseline },
			func(w *world) { w.engine.mu.Lock(); w.engine.gone = true; w.engine.mu.Unlock() }, replication.JobLost},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.engine.is(c.while)
			c.ask(w)
			w.last(replication.JobRunning)
			w.again()
			if j := w.last(replication.JobRunning); !j.Resumed {
				t.Errorf("after a restart: %+v", j)
			}
			c.then(w)
			if j := w.last(c.want); j.Result == "" && j.Problem == nil && c.want != replication.JobCancelled {
				t.Errorf("how it ended is not told: %+v", j)
			}
		})
	}
	t.Run("a verification is lost", func(t *testing.T) {
		w := newWorld(t)
		if err := w.keeper.store.put(&replication.Job{Kind: replication.JobVerify, Group: "g", State: replication.JobRunning}); err != nil {
			t.Fatal(err)
		}
		w.again()
		w.last(replication.JobLost)
	})
}

func resyncs(w *world) { w.keeper.Resync(w.Context(), replication.ResyncRequest{Group: "g"}) }

func commits(w *world) {
	keeper := w.keeper
	go keeper.Commit(w.Context(), "g", replication.CommitRequest{}, func(replication.CutoverStatus) {})
}

func TestOldJobsGo(t *testing.T) {
	w := newWorld(t)
	w.keeper.store.db.NoSync = true
	running := replication.Job{Kind: replication.JobVerify, Group: "g", State: replication.JobRunning}
	if err := w.keeper.store.put(&running); err != nil {
		t.Fatal(err)
	}
	for range kept + 5 {
		if err := w.keeper.store.put(&replication.Job{Group: "g", State: replication.JobDone}); err != nil {
			t.Fatal(err)
		}
	}
	all, err := w.keeper.Jobs(t.Context(), "")
	if err != nil || len(all) != kept || all[0].ID != running.ID || all[1].ID <= running.ID+1 {
		t.Errorf("%d jobs, the first %+v, error %v", len(all), all[0], err)
	}
}
