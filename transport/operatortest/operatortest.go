package operatortest

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"failback/replication"
	"failback/replication/link"
	"failback/transport"
)

// Fake answers each call with the function of its name; a call whose function is nil is a problem of code "not-staged".
type Fake struct {
	OnCheck       func(planYAML []byte, path replication.PathAsk) (replication.Checked, error)
	OnReprotect   func(planYAML []byte) (replication.GroupID, bool, error)
	OnAdopt       func(r replication.AdoptRequest) (replication.Adoption, error)
	OnApply       func(r replication.ApplyRequest) (replication.Applied, error)
	OnStatus      func(group replication.GroupID) (replication.Status, error)
	OnEvents      func(ctx context.Context, r replication.EventsRequest, tell func(replication.Event) error) error
	OnSupport     func(group replication.GroupID, give func(name string, content []byte) error) error
	OnCut         func(group replication.GroupID, app bool) (replication.PointID, error)
	OnBackup      func() ([]byte, error)
	OnPoints      func(group replication.GroupID) (replication.PointID, []replication.Point, error)
	OnMove        func(ctx context.Context, group replication.GroupID, r replication.MoveRequest, progress func(replication.MoveStatus)) (replication.PointID, error)
	OnPlanMove    func(group replication.GroupID, r replication.MoveRequest) (replication.MovePlan, error)
	OnCancelMove  func(group replication.GroupID, finish bool, progress func(replication.MoveStatus)) (replication.PointID, error)
	OnVerify      func(group replication.GroupID, point replication.PointID, progress func([]replication.Ledger)) (replication.PointID, replication.Verify, []replication.DiskID, error)
	OnScrub       func(group replication.GroupID, rate int64, wait bool, progress func(replication.ScrubStatus)) (replication.ScrubStatus, error)
	OnExport      func(group replication.GroupID, point replication.PointID, disk string) (link.Content, error)
	OnDrill       func(ctx context.Context, group replication.GroupID, r replication.DrillRequest, started func(replication.DrillStatus)) (string, error)
	OnEndDrill    func(mountpoint string, force bool) (replication.GroupID, replication.DrillStatus, error)
	OnRecordDrill func(group replication.GroupID, point replication.PointID, outcome replication.DrillOutcome, note string) (replication.Drilled, error)
	OnResync      func(r replication.ResyncRequest) (replication.ResyncStatus, error)
	OnPin         func(group replication.GroupID, pin replication.Pin) (replication.Point, error)
	OnUnpin       func(group replication.GroupID, point replication.PointID) (replication.Point, error)
	OnCommit      func(group replication.GroupID, r replication.CommitRequest, progress func(replication.CutoverStatus)) (replication.PointID, error)
	OnForecast    func(group replication.GroupID, r replication.CommitRequest) (replication.Forecast, error)
	OnJobs        func(group replication.GroupID) ([]replication.Job, error)
	OnCancelJob   func(id uint64) error
	OnUndo        func(group replication.GroupID, toOriginal bool, progress func(replication.CutoverStatus)) (replication.PointID, error)
	OnFinish      func(group replication.GroupID) (replication.PointID, error)
	OnUnprotect   func(group replication.GroupID, keepJournal, giveUpOriginal bool) (replication.PointID, string, error)
	OnVolumes     func() ([]replication.Volume, error)
	OnToken       func(name string, life time.Duration, replace bool) (link.Token, time.Time, error)
	OnThrottle    func(replication.ThrottleChange) (replication.ThrottleStatus, error)
	OnRebind      func(name, key string) (string, error)
	OnForget      func(name string) (string, error)
}

var errNotStaged = &replication.Problem{Code: "not-staged", Message: "the test does not expect this call", Remedy: "stage it"}

// Check implements transport.Operations, as do the methods below.
func (f *Fake) Check(_ context.Context, planYAML []byte, path replication.PathAsk) (replication.Checked, error) {
	if f.OnCheck == nil {
		return replication.Checked{}, errNotStaged
	}
	return f.OnCheck(planYAML, path)
}

// Reprotect calls OnReprotect.
func (f *Fake) Reprotect(_ context.Context, planYAML []byte) (replication.GroupID, bool, error) {
	if f.OnReprotect == nil {
		return "", false, errNotStaged
	}
	return f.OnReprotect(planYAML)
}

// Apply calls OnApply.
func (f *Fake) Apply(_ context.Context, r replication.ApplyRequest) (replication.Applied, error) {
	if f.OnApply == nil {
		return replication.Applied{}, errNotStaged
	}
	return f.OnApply(r)
}

// Adopt calls OnAdopt.
func (f *Fake) Adopt(_ context.Context, r replication.AdoptRequest) (replication.Adoption, error) {
	if f.OnAdopt == nil {
		return replication.Adoption{}, errNotStaged
	}
	return f.OnAdopt(r)
}

// Status calls OnStatus.
func (f *Fake) Status(_ context.Context, group replication.GroupID) (replication.Status, error) {
	if f.OnStatus == nil {
		return replication.Status{}, errNotStaged
	}
	return f.OnStatus(group)
}

// Events calls OnEvents.
func (f *Fake) Events(ctx context.Context, r replication.EventsRequest, tell func(replication.Event) error) error {
	if f.OnEvents == nil {
		return errNotStaged
	}
	return f.OnEvents(ctx, r, tell)
}

// Support calls OnSupport.
func (f *Fake) Support(_ context.Context, group replication.GroupID, give func(name string, content []byte) error) error {
	if f.OnSupport == nil {
		return errNotStaged
	}
	return f.OnSupport(group, give)
}

// Backup calls OnBackup.
func (f *Fake) Backup(context.Context) ([]byte, error) {
	if f.OnBackup == nil {
		return nil, errNotStaged
	}
	return f.OnBackup()
}

// Cut calls OnCut.
func (f *Fake) Cut(_ context.Context, group replication.GroupID, app bool) (replication.PointID, error) {
	if f.OnCut == nil {
		return 0, errNotStaged
	}
	return f.OnCut(group, app)
}

// Points calls OnPoints.
func (f *Fake) Points(_ context.Context, group replication.GroupID) (replication.PointID, []replication.Point, error) {
	if f.OnPoints == nil {
		return 0, nil, errNotStaged
	}
	return f.OnPoints(group)
}

// Move calls OnMove.
func (f *Fake) Move(ctx context.Context, group replication.GroupID, r replication.MoveRequest, progress func(replication.MoveStatus)) (replication.PointID, error) {
	if f.OnMove == nil {
		return 0, errNotStaged
	}
	return f.OnMove(ctx, group, r, progress)
}

// PlanMove calls OnPlanMove.
func (f *Fake) PlanMove(_ context.Context, group replication.GroupID, r replication.MoveRequest) (replication.MovePlan, error) {
	if f.OnPlanMove == nil {
		return replication.MovePlan{}, errNotStaged
	}
	return f.OnPlanMove(group, r)
}

// CancelMove calls OnCancelMove.
func (f *Fake) CancelMove(_ context.Context, group replication.GroupID, finish bool, progress func(replication.MoveStatus)) (replication.PointID, error) {
	if f.OnCancelMove == nil {
		return 0, errNotStaged
	}
	return f.OnCancelMove(group, finish, progress)
}

// Verify calls OnVerify.
func (f *Fake) Verify(_ context.Context, group replication.GroupID, point replication.PointID, progress func([]replication.Ledger)) (replication.PointID, replication.Verify, []replication.DiskID, error) {
	if f.OnVerify == nil {
		return 0, replication.Verify{}, nil, errNotStaged
	}
	return f.OnVerify(group, point, progress)
}

// Scrub calls OnScrub.
func (f *Fake) Scrub(_ context.Context, group replication.GroupID, rate int64, wait bool, progress func(replication.ScrubStatus)) (replication.ScrubStatus, error) {
	if f.OnScrub == nil {
		return replication.ScrubStatus{}, errNotStaged
	}
	return f.OnScrub(group, rate, wait, progress)
}

// Export calls OnExport.
func (f *Fake) Export(_ context.Context, group replication.GroupID, point replication.PointID, disk string) (link.Content, error) {
	if f.OnExport == nil {
		return nil, errNotStaged
	}
	return f.OnExport(group, point, disk)
}

// Drill calls OnDrill.
func (f *Fake) Drill(ctx context.Context, group replication.GroupID, r replication.DrillRequest, started func(replication.DrillStatus)) (string, error) {
	if f.OnDrill == nil {
		return "", errNotStaged
	}
	return f.OnDrill(ctx, group, r, started)
}

// EndDrill calls OnEndDrill.
func (f *Fake) EndDrill(_ context.Context, mountpoint string, force bool) (replication.GroupID, replication.DrillStatus, error) {
	if f.OnEndDrill == nil {
		return "", replication.DrillStatus{}, errNotStaged
	}
	return f.OnEndDrill(mountpoint, force)
}

// RecordDrill calls OnRecordDrill.
func (f *Fake) RecordDrill(_ context.Context, group replication.GroupID, point replication.PointID, outcome replication.DrillOutcome, note string) (replication.Drilled, error) {
	if f.OnRecordDrill == nil {
		return replication.Drilled{}, errNotStaged
	}
	return f.OnRecordDrill(group, point, outcome, note)
}

// Resync calls OnResync.
func (f *Fake) Resync(_ context.Context, r replication.ResyncRequest) (replication.ResyncStatus, error) {
	if f.OnResync == nil {
		return replication.ResyncStatus{}, errNotStaged
	}
	return f.OnResync(r)
}

// Pin calls OnPin.
func (f *Fake) Pin(_ context.Context, group replication.GroupID, pin replication.Pin) (replication.Point, error) {
	if f.OnPin == nil {
		return replication.Point{}, errNotStaged
	}
	return f.OnPin(group, pin)
}

// Unpin calls OnUnpin.
func (f *Fake) Unpin(_ context.Context, group replication.GroupID, point replication.PointID) (replication.Point, error) {
	if f.OnUnpin == nil {
		return replication.Point{}, errNotStaged
	}
	return f.OnUnpin(group, point)
}

// Commit calls OnCommit.
func (f *Fake) Commit(_ context.Context, group replication.GroupID, r replication.CommitRequest, progress func(replication.CutoverStatus)) (replication.PointID, error) {
	if f.OnCommit == nil {
		return 0, errNotStaged
	}
	return f.OnCommit(group, r, progress)
}

// Forecast calls OnForecast.
func (f *Fake) Forecast(_ context.Context, group replication.GroupID, r replication.CommitRequest) (replication.Forecast, error) {
	if f.OnForecast == nil {
		return replication.Forecast{}, errNotStaged
	}
	return f.OnForecast(group, r)
}

// Jobs calls OnJobs.
func (f *Fake) Jobs(_ context.Context, group replication.GroupID) ([]replication.Job, error) {
	if f.OnJobs == nil {
		return nil, errNotStaged
	}
	return f.OnJobs(group)
}

// CancelJob calls OnCancelJob.
func (f *Fake) CancelJob(_ context.Context, id uint64) error {
	if f.OnCancelJob == nil {
		return errNotStaged
	}
	return f.OnCancelJob(id)
}

// Undo calls OnUndo.
func (f *Fake) Undo(_ context.Context, group replication.GroupID, toOriginal bool, progress func(replication.CutoverStatus)) (replication.PointID, error) {
	if f.OnUndo == nil {
		return 0, errNotStaged
	}
	return f.OnUndo(group, toOriginal, progress)
}

// FinishCutover calls OnFinish.
func (f *Fake) FinishCutover(_ context.Context, group replication.GroupID) (replication.PointID, error) {
	if f.OnFinish == nil {
		return 0, errNotStaged
	}
	return f.OnFinish(group)
}

// Unprotect calls OnUnprotect.
func (f *Fake) Unprotect(_ context.Context, group replication.GroupID, keepJournal, giveUpOriginal bool) (replication.PointID, string, error) {
	if f.OnUnprotect == nil {
		return 0, "", errNotStaged
	}
	return f.OnUnprotect(group, keepJournal, giveUpOriginal)
}

// Volumes calls OnVolumes.
func (f *Fake) Volumes(context.Context) ([]replication.Volume, error) {
	if f.OnVolumes == nil {
		return nil, errNotStaged
	}
	return f.OnVolumes()
}

// Content is a disk's content in memory. Its data is known only where Data says so; nil: everywhere.
type Content struct {
	Bytes  []byte
	Data   []replication.Extent
	FailAt int64 // reads at or above it fail with Err; 0: none do
	Err    error
	Closed bool
}

// ReadAt reads, or fails as staged.
func (c *Content) ReadAt(p []byte, off int64) (int, error) {
	if c.FailAt > 0 && off+int64(len(p)) > c.FailAt {
		return 0, c.Err
	}
	return bytes.NewReader(c.Bytes).ReadAt(p, off)
}

// Size returns the number of bytes.
func (c *Content) Size() int64 { return int64(len(c.Bytes)) }

// NextData returns the next staged range of data.
func (c *Content) NextData(off int64) (start, end int64, err error) {
	data := c.Data
	if data == nil {
		data = []replication.Extent{{Off: 0, End: c.Size()}}
	}
	for _, e := range data {
		if e.End > off {
			return max(e.Off, off), e.End, nil
		}
	}
	return c.Size(), c.Size(), nil
}

// Close notes that it was called.
func (c *Content) Close() error {
	c.Closed = true
	return nil
}

// Serve serves ops on a unix socket until the test ends, and returns its address.
func Serve(t testing.TB, ops transport.Operations) (address string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "fb") // a test's own directory may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	address = "unix:" + filepath.Join(dir, "op.sock")
	l, err := transport.ListenOperator(address)
	if err != nil {
		t.Fatal(err)
	}
	s := transport.NewOperatorServer(ops, nil, slog.New(slog.NewTextHandler(io.Discard, nil)))
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() { s.Stop(); <-served })
	return address
}

// Token calls OnToken.
func (f *Fake) Token(_ context.Context, name string, life time.Duration, replace bool) (link.Token, time.Time, error) {
	if f.OnToken == nil {
		return link.Token{}, time.Time{}, errNotStaged
	}
	return f.OnToken(name, life, replace)
}

// Throttle calls OnThrottle.
func (f *Fake) Throttle(_ context.Context, c replication.ThrottleChange) (replication.ThrottleStatus, error) {
	if f.OnThrottle == nil {
		return replication.ThrottleStatus{}, errNotStaged
	}
	return f.OnThrottle(c)
}

// Rebind calls OnRebind.
func (f *Fake) Rebind(_ context.Context, name, key string) (string, error) {
	if f.OnRebind == nil {
		return "", errNotStaged
	}
	return f.OnRebind(name, key)
}

// ForgetServer calls OnForget.
func (f *Fake) ForgetServer(_ context.Context, name string) (string, error) {
	if f.OnForget == nil {
		return "", errNotStaged
	}
	return f.OnForget(name)
}
