package mastertarget

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"failback/replication"
	"failback/replication/link"
	"failback/replication/preflight"
	"failback/replication/processserver"
)

// second connects a process server ps2, with a state directory of its own, until the returned function is called.
func (p *pair) second() (end func()) {
	p.t.Helper()
	w, err := processserver.New(processserver.Config{Dir: filepath.Join(p.dir, "ps2"), Lanes: 3, Workers: 3, Level: p.level}, p.link)
	if err != nil {
		p.t.Fatal(err)
	}
	bye, err := p.master.Connected(link.Peer{Name: "ps2", Minor: link.ProtocolMinor}, w)
	if err != nil {
		p.t.Fatal(err)
	}
	return func() {
		bye()
		w.Close()
	}
}

// forgotten waits until a process server keeps nothing of the group.
func (p *pair) forgotten(server string) {
	p.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		_, err := os.Stat(filepath.Join(p.dir, server, ".instances", "g"))
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		if time.Now().After(end) {
			p.t.Fatalf("process server %s has not forgotten the group: %v", server, err)
		}
	}
}

// compared says whether status tells that the last point was made by comparing.
func (p *pair) compared() bool {
	return strings.Contains(strings.Join(p.state().Notices, " "), "by comparing whole disks")
}

// TestGroupMovesToAnotherServer: all points stay, the next one is compared, those after it are not, and the old server has released the group; so also where the master target is killed as soon as the move is durable. It moves back with other
// paths of its sources.
func TestGroupMovesToAnotherServer(t *testing.T) {
	t.Parallel()
	x := &images{}
	p := newPairWith(t, 81, Config{reached: func(step string) {
		if step == "moves" {
			x.take(step)
		}
	}})
	x.p = p
	ctx := context.Background()
	p.begin()
	move := replication.ApplyRequest{Group: "g", MoveTo: "ps2"}
	p.master.began = p.master.began.Add(-time.Hour) // who wants to be here is
	shown, err := p.master.Apply(ctx, replication.ApplyRequest{Group: "g", MoveTo: "ps2", DryRun: true})
	if err != nil || !shown.Failed() || !hasCode(shown.Findings, preflight.CodeNeverSeen) {
		t.Errorf("to a process server that is not there: %+v, %v", shown, err)
	}
	end := p.second()
	if shown, err = p.master.Apply(ctx, replication.ApplyRequest{Group: "g", MoveTo: "ps2", DryRun: true}); err != nil || shown.Applied || shown.Failed() || len(shown.Changes) != 1 || shown.Changes[0].Key != "process_server" {
		t.Fatalf("dry run: %+v, %v", shown, err)
	}
	other := bytes.Replace(p.plan, []byte("process_server: ps\n"), []byte("process_server: ps2\npriority: 30\n"), 1)
	_, err = p.master.Apply(ctx, replication.ApplyRequest{Group: "g", MoveTo: "ps2", Plan: other})
	isProblem(t, "a move that changes other things", err, preflight.CodeApply)
	_, err = p.master.Apply(ctx, replication.ApplyRequest{Plan: bytes.Replace(other, []byte("priority: 30\n"), nil, 1)})
	isProblem(t, "another process server by apply", err, preflight.CodeApply)

	was := p.state().Generation
	x.on = true
	if done, err := p.master.Apply(ctx, move); err != nil || !done.Applied {
		t.Fatalf("move: %+v, %v", done, err)
	}
	p.forgotten("ps")
	if again, err := p.master.Apply(ctx, move); err != nil || again.Applied || len(again.Changes) != 0 {
		t.Errorf("the same once more: %+v, %v", again, err)
	}
	p.another()
	if s := p.state(); s.ProcessServer != "ps2" || s.Generation <= was || !p.compared() {
		t.Errorf("after the move: %+v, generation before %d", s, was)
	}
	p.another()
	if p.compared() {
		t.Error("the point after the next one is compared too")
	}
	p.contents("moved")

	// Back, where it sees the sources elsewhere.
	if err := os.Symlink(filepath.Join(p.dir, "src"), filepath.Join(p.dir, "elsewhere")); err != nil {
		t.Fatal(err)
	}
	back := bytes.ReplaceAll(p.plan, []byte(filepath.Join(p.dir, "src")), []byte(filepath.Join(p.dir, "elsewhere")))
	if done, err := p.master.Apply(ctx, replication.ApplyRequest{MoveTo: "ps", Plan: back}); err != nil || !done.Applied || len(done.Changes) != 4 {
		t.Fatalf("move back: %+v, %v", done, err)
	}
	p.forgotten("ps2")
	p.another()
	p.another()
	if p.compared() {
		t.Error("the server that has the group again compares each time")
	}
	p.contents("moved back")
	if _, v, _, err := p.master.Verify(ctx, "g", 0, func([]replication.Ledger) {}); err != nil || !v.Equal {
		t.Errorf("verify: %+v, %v", v, err)
	}
	end()
	p.close()

	// As it was when the move was durable, and nothing had been done about it.
	for id := range p.kept {
		if id > 2 {
			delete(p.kept, id)
		}
	}
	x.on = false
	x.put(0)
	p.open() // the old one connects first
	p.forgotten("ps")
	defer p.second()()
	p.another()
	if s := p.state(); s.ProcessServer != "ps2" || s.Generation <= was || s.Last != 3 {
		t.Errorf("killed in the middle of the move: %+v", s)
	}
	p.contents("killed in the middle of the move")
	p.close()
}

// forgetful is a puppet that knows its cuts from others', and tells what it was to forget.
type forgetful struct {
	*puppet
	forgot chan link.Spec
}

func (f forgetful) Forget(_ context.Context, s link.Spec) error {
	f.forgot <- s
	return nil
}

// Cut tracks what has changed since a cut of its own.
func (f forgetful) Cut(ctx context.Context, s link.Spec, point replication.PointID, base link.Base) (link.Cut, error) {
	c, err := f.puppet.Cut(ctx, s, point, base)
	c.Tracked = c.Tracked && strings.HasPrefix(base.Snapshot, f.snapshot)
	return c, err
}

// TestServerThatWasLeftIsFenced: a cycle that is open is begun again at the new server, by comparing; what the old one still sends is refused; each server that was left is told to forget the group when it comes back, once.
func TestServerThatWasLeftIsFenced(t *testing.T) {
	e, p := stage(t)
	ctx := context.Background()
	baseline(t, e, p)
	s := cut(t, e, p)
	join := func(name string) (forgetful, func()) {
		f := forgetful{newPuppet(), make(chan link.Spec, 8)}
		f.snapshot = name
		bye, err := e.Connected(link.Peer{Name: name, Minor: link.ProtocolMinor}, f)
		if err != nil {
			t.Fatal(err)
		}
		return f, bye
	}
	move := func(to string) error {
		_, err := e.Apply(ctx, replication.ApplyRequest{Group: "g", MoveTo: to})
		return err
	}
	two, leave := join("ps2")
	two.size.Store(puppetSize + 512)
	isProblem(t, "to a server that sees another disk", move("ps2"), preflight.CodeSizeDiffers)
	two.size.Store(puppetSize)
	if err := move("ps2"); err != nil {
		t.Fatal(err)
	}
	now := <-two.ships
	if now.Point != s.Point || now.Mode != replication.Compare || now.Session.Generation <= s.Session.Generation {
		t.Errorf("the cycle that was open: got %+v, was %+v", now.Shipment, s.Shipment)
	}
	for what, err := range map[string]error{
		"coverage": e.Coverage(ctx, link.Fence{Session: s.Session, Point: s.Point}, nil),
		"finish":   func() error { _, err := e.Finish(ctx, link.Fence{Session: s.Session, Point: s.Point}, nil); return err }(),
		"lane":     func() error { _, err := e.Lane(ctx, laneOf(s, attempts())); return err }(),
	} {
		isProblem(t, what+" of the server that was left", err, link.CodeStale)
	}
	leave()
	three, _ := join("ps3")
	if err := move("ps3"); err != nil {
		t.Fatal(err)
	}
	again := <-three.ships
	again.done <- errCut
	gone, _ := join("ps2")
	if f := <-gone.forgot; f.Session.Group != "g" || f.Instance != now.Instance || len(f.Disks) != 1 || f.Disks[0].Disk.Size != puppetSize {
		t.Errorf("told to forget %+v", f)
	}
	left := func() (n int) {
		if err := each(e.cat, bucketFarewells, func(replication.GroupID, farewell) error { n++; return nil }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for end := time.Now().Add(time.Minute); left() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d orders to forget the group are left", left())
		}
	}
	if _, err := e.Commit(cancelled(), "g", replication.CommitRequest{NotBefore: time.Now().Add(time.Hour)}, silent); err == nil {
		t.Fatal("committed")
	}
	isProblem(t, "while a commit waits", move("ps2"), replication.CodeCutover)
}

// interrupted is a puppet before whose first answer about its sources something happens.
type interrupted struct {
	*puppet
	meanwhile func()
}

func (a interrupted) Probe(ctx context.Context, s link.Spec) (link.Survey, error) {
	a.meanwhile()
	return a.puppet.Probe(ctx, s)
}

// TestApplyKeepsWhatWasSetMeanwhile: a priority that is set while a plan's differences are looked at stays.
func TestApplyKeepsWhatWasSetMeanwhile(t *testing.T) {
	e, p := stage(t)
	baseline(t, e, p)
	const priority = 42
	set := sync.OnceFunc(func() {
		if _, err := e.Throttle(t.Context(), replication.ThrottleChange{Group: "g", Priority: priority}); err != nil {
			t.Error(err)
		}
	})
	if _, err := e.Connected(link.Peer{Name: "ps2", Minor: link.ProtocolMinor}, interrupted{p, set}); err != nil {
		t.Fatal(err)
	}
	if done, err := e.Apply(t.Context(), replication.ApplyRequest{Group: "g", MoveTo: "ps2"}); err != nil || !done.Applied {
		t.Fatalf("move: %+v, %v", done, err)
	}
	if err := each(e.cat, bucketGroups, func(id replication.GroupID, r groupRecord) error {
		if r.Priority != priority {
			t.Errorf("the catalogue has priority %d, want %d", r.Priority, priority)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// cancelled is a context that has ended: who asks with it does not wait.
func cancelled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
