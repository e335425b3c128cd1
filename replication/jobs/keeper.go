package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"failback/replication"
	"failback/replication/backup"
)

// Engine is what does the jobs, see transport.Operations.
type Engine interface {
	Status(ctx context.Context, id replication.GroupID) (replication.Status, error)
	Reprotect(ctx context.Context, planYAML []byte) (replication.GroupID, bool, error)
	Move(ctx context.Context, id replication.GroupID, r replication.MoveRequest, progress func(replication.MoveStatus)) (replication.PointID, error)
	CancelMove(ctx context.Context, id replication.GroupID, finish bool, progress func(replication.MoveStatus)) (replication.PointID, error)
	Resync(ctx context.Context, r replication.ResyncRequest) (replication.ResyncStatus, error)
	Verify(ctx context.Context, id replication.GroupID, point replication.PointID, progress func([]replication.Ledger)) (replication.PointID, replication.Verify, []replication.DiskID, error)
	Commit(ctx context.Context, id replication.GroupID, r replication.CommitRequest, progress func(replication.CutoverStatus)) (replication.PointID, error)
	Undo(ctx context.Context, id replication.GroupID, toOriginal bool, progress func(replication.CutoverStatus)) (replication.PointID, error)
	FinishCutover(ctx context.Context, id replication.GroupID) (replication.PointID, error)
	Unprotect(ctx context.Context, id replication.GroupID, keepJournal, giveUpOriginal bool) (replication.PointID, string, error)
}

// Keeper keeps the jobs of an engine. It has its methods that take long in their place, and is safe for concurrent use.
type Keeper struct {
	engine Engine
	store  *store
	log    *slog.Logger
	poll   time.Duration // between two looks at a group
	ctx    context.Context
	end    context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	running map[uint64]*job
}

// job is one that runs.
type job struct {
	keeper *Keeper
	stop   context.CancelCauseFunc

	mu        sync.Mutex
	now       replication.Job
	cancelled bool // an operator had it taken back
}

// Causes of the end of a job.
var (
	errCancelled = errors.New("cancelled by failback jobs cancel")
	errLeft      = errors.New("who asked for it went before it had begun")
)

// Open returns a keeper with the jobs that are in dir. Jobs that ran when the process before this one ended go on, as far as the engine does.
func Open(dir string, engine Engine, log *slog.Logger) (*Keeper, error) {
	return open(dir, engine, log, time.Second)
}

func open(dir string, engine Engine, log *slog.Logger, poll time.Duration) (*Keeper, error) {
	s, err := openStore(filepath.Join(dir, storeName))
	if err != nil {
		return nil, err
	}
	if err := backup.RemoveLeft(dir, storeName); err != nil {
		log.Warn("what a restore has left can't be removed", "err", err)
	}
	b := &Keeper{engine: engine, store: s, log: log, poll: poll, running: map[uint64]*job{}}
	b.ctx, b.end = context.WithCancel(context.Background())
	all, err := s.all()
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, one := range all {
		if one.State != replication.JobRunning {
			continue
		}
		one.Resumed = true
		j, ctx := b.take(one)
		b.wg.Go(func() { j.ended(b.resume(ctx, j)) })
	}
	return b, nil
}

// Stop has the jobs that run go on without being looked at: their ends are the next process's to see.
func (b *Keeper) Stop() { b.end() }

// Close is Stop, and forgets of the jobs that run only that they do. The engine is to be closed after it.
func (b *Keeper) Close() error {
	b.end()
	b.wg.Wait()
	return b.store.close()
}

// begin notes a job. That it can't be noted is no reason not to do it.
func (b *Keeper) begin(kind replication.JobKind, group replication.GroupID, point replication.PointID, detail string) (*job, context.Context) {
	now := replication.Job{Kind: kind, Group: group, Point: point, Detail: detail, State: replication.JobRunning, Began: time.Now().UTC()}
	b.mu.Lock() // whoever sees it can cancel it
	defer b.mu.Unlock()
	if err := b.store.put(&now); err != nil {
		now.ID = 0
		b.log.Warn("a job can't be noted", "kind", kind, "group", group, "err", err)
	}
	return b.take(now)
}

// take has a job among those that run. The caller holds mu.
func (b *Keeper) take(now replication.Job) (*job, context.Context) {
	j := &job{keeper: b, now: now}
	ctx, stop := context.WithCancelCause(b.ctx)
	j.stop = stop
	b.running[now.ID] = j
	return j, ctx
}

// ended notes how a job has ended; where the keeper itself ends, it has not.
func (j *job) ended(result string, err error) {
	defer j.stop(nil)
	b := j.keeper
	b.mu.Lock() // whoever sees that it has ended can't cancel it
	defer b.mu.Unlock()
	j.mu.Lock()
	now := &j.now
	now.Doing, now.Done, now.Total, now.Left = "", 0, 0, 0
	now.Ended, now.State, now.Result = time.Now().UTC(), replication.JobDone, result
	var p *replication.Problem
	switch {
	case err == nil:
	case errors.As(err, &p) && (p.Code == replication.CodeMoveCancelled || p.Code == replication.CodeUndone), errors.Is(err, errCancelled), errors.Is(err, errLeft), errors.Is(err, errLost) && j.cancelled:
		now.State = replication.JobCancelled
	case errors.Is(err, errLost):
		now.State = replication.JobLost
	default:
		now.State, now.Problem = replication.JobFailed, replication.AsProblem(err)
	}
	note := *now
	j.mu.Unlock()
	delete(b.running, note.ID)
	if b.ctx.Err() != nil && err != nil { // it ended because we do: the next process sees what becomes of it
		return
	}
	if note.ID == 0 {
		return
	}
	if err := b.store.put(&note); err != nil {
		b.log.Warn("the end of a job can't be noted", "job", note.ID, "err", err)
	}
}

// tell says how far a job is.
func (j *job) tell(doing string, done, total int64, left time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.now.Doing, j.now.Done, j.now.Total, j.now.Left = doing, done, total, left
}

func (j *job) read() replication.Job {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.now
}

// Jobs implements transport.Operations: those of a group, or all, the earliest first.
func (b *Keeper) Jobs(_ context.Context, group replication.GroupID) ([]replication.Job, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	all, err := b.store.all()
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(j replication.Job) bool { return group != "" && j.Group != group })
	for i := range all {
		if j := b.running[all[i].ID]; j != nil {
			all[i] = j.read()
		}
	}
	return all, nil
}

// CancelJob implements transport.Operations. It returns when what was asked for is taken back, or will be.
func (b *Keeper) CancelJob(ctx context.Context, id uint64) error {
	b.mu.Lock()
	j := b.running[id]
	b.mu.Unlock()
	if j == nil {
		return &replication.Problem{Code: replication.CodeNoJob, Message: fmt.Sprintf("no job %d is running", id), Remedy: "`failback jobs` lists the jobs"}
	}
	now := j.read()
	var err error
	switch now.Kind {
	case replication.JobVerify:
		j.stop(errCancelled)
	case replication.JobRewind, replication.JobAdvance:
		err = b.takeBack(j, replication.CodeNoMove, func() error {
			_, err := b.engine.CancelMove(ctx, now.Group, false, func(replication.MoveStatus) {})
			return err
		})
	case replication.JobCommit:
		err = b.takeBack(j, replication.CodeNotCommitted, func() error {
			_, err := b.engine.Undo(ctx, now.Group, false, func(replication.CutoverStatus) {})
			return err
		})
	case replication.JobResync:
		err = &replication.Problem{Code: replication.CodeNoJob, Message: fmt.Sprintf("job %d can't be cancelled: a point is being made of it", id), Remedy: "none needed: it sends what differs, and gives up no point"}
	case replication.JobReprotect:
		err = &replication.Problem{Code: replication.CodeNoJob, Message: fmt.Sprintf("job %d makes the first point of group %s", id, now.Group), Remedy: fmt.Sprintf("`failback unprotect %s` ends the group", now.Group)}
	default:
		err = &replication.Problem{Code: replication.CodeNoJob, Message: fmt.Sprintf("job %d can't be cancelled: %s is not taken back in the middle", id, now.Kind), Remedy: "wait until it has ended"}
	}
	return err
}

// takeBack has the engine take a job back. nothing is the code of its answer where there is nothing to take back: then the job has not begun, and is ended before it does, or has begun just now.
func (b *Keeper) takeBack(j *job, nothing string, engine func() error) error {
	j.mu.Lock()
	j.cancelled = true
	j.mu.Unlock()
	isNothing := func(err error) bool {
		var p *replication.Problem
		return errors.As(err, &p) && p.Code == nothing
	}
	err := engine()
	if isNothing(err) {
		j.stop(errLeft)
		if err = engine(); isNothing(err) {
			return nil
		}
	}
	if err != nil {
		j.mu.Lock()
		j.cancelled = false
		j.mu.Unlock()
	}
	return err
}
