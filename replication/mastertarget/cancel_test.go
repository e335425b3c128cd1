package mastertarget

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"failback/blockio"
	"failback/replication"
)

// moveGate stops the reads or the writes of a move, until it is opened.
type moveGate struct {
	mu     sync.Mutex
	reads  chan struct{} // closed to let go of those that wait; nil: open
	writes chan struct{}
	inside chan struct{} // gets one when somebody waits
}

type gatedTarget struct {
	blockio.Target
	g *moveGate
}

func (t gatedTarget) ReadAt(b []byte, off int64) (int, error) {
	t.g.pass(&t.g.reads)
	return t.Target.ReadAt(b, off)
}

func (t gatedTarget) WriteAt(b []byte, off int64) (int, error) {
	t.g.pass(&t.g.writes)
	return t.Target.WriteAt(b, off)
}

func (t gatedTarget) Zero(off, n int64) error {
	t.g.pass(&t.g.writes)
	return t.Target.Zero(off, n)
}

func (g *moveGate) pass(which *chan struct{}) {
	g.mu.Lock()
	c := *which
	g.mu.Unlock()
	if c == nil {
		return
	}
	select {
	case g.inside <- struct{}{}:
	default:
	}
	<-c
}

func (g *moveGate) shut(which *chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	*which = make(chan struct{})
	select {
	case <-g.inside:
	default:
	}
}

func (g *moveGate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range []*chan struct{}{&g.reads, &g.writes} {
		if *c != nil {
			close(*c)
			*c = nil
		}
	}
}

// answer is what a call came to.
type answer struct {
	head replication.PointID
	err  error
}

func called(call func() (replication.PointID, error)) chan answer {
	c := make(chan answer, 1)
	go func() {
		head, err := call()
		c <- answer{head, err}
	}()
	return c
}

// disksShow compares the disks with what was kept of a point.
func (p *pair) disksShow(id replication.PointID) {
	p.t.Helper()
	g, err := p.master.group("g")
	if err != nil {
		p.t.Fatal(err)
	}
	if err := g.waitReady(context.Background()); err != nil {
		p.t.Fatal(err)
	}
	for i, want := range p.kept[id] {
		got := make([]byte, len(want))
		if _, err := g.targets[i].ReadAt(got, 0); err != nil && err != io.EOF {
			p.t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			p.t.Fatalf("disk %d does not show point %d", i, id)
		}
	}
}

// TestMovesAreCancelled takes moves back, and has them finished, while they save, while they write, and after the master target was started anew in the middle.
func TestMovesAreCancelled(t *testing.T) {
	t.Parallel()
	x := &moveGate{inside: make(chan struct{}, 1)}
	defer x.open()
	p := newPairWith(t, 8, Config{wrap: func(_ string, t blockio.Target) blockio.Target { return gatedTarget{t, x} }})
	ctx := context.Background()
	none := func(replication.MoveStatus) {}
	group := func() *group {
		t.Helper()
		g, err := p.master.group("g")
		if err == nil {
			err = g.waitReady(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	move := func(to replication.PointID, advance bool) chan answer {
		m := p.master
		return called(func() (replication.PointID, error) {
			return m.Move(ctx, "g", replication.MoveRequest{To: to, Advance: advance}, none)
		})
	}
	cancel := func(finish bool) chan answer {
		m := p.master
		return called(func() (replication.PointID, error) { return m.CancelMove(ctx, "g", finish, none) })
	}
	// finished asks for the end of the move that waits at the gate, and opens that when the call waits for it.
	finished := func() chan answer {
		m := p.master
		return called(func() (replication.PointID, error) {
			return m.CancelMove(ctx, "g", true, func(replication.MoveStatus) { x.open() })
		})
	}
	// stopped waits until a cancel has come to the move that waits at the gate, and opens it.
	stopped := func() {
		t.Helper()
		g := group()
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
			g.mu.Lock()
			there := g.cancelling
			g.mu.Unlock()
			if there {
				break
			}
			if time.Now().After(end) {
				t.Fatal("no cancel")
			}
		}
		x.open()
	}
	want := func(what string, c chan answer, head replication.PointID, held bool, code string) {
		t.Helper()
		a := <-c
		if code != "" {
			if problemCode(a.err) != code {
				t.Errorf("%s: got %+v, want a problem of code %s", what, a, code)
			}
			return
		}
		if g := group(); a.err != nil || a.head != head || g.held() != held {
			t.Errorf("%s: got %+v, held %v; want head %d, held %v", what, a, g.held(), head, held)
		}
		p.disksShow(head)
	}

	if _, _, err := p.master.Reprotect(ctx, p.plan); err != nil {
		t.Fatal(err)
	}
	p.listed(1)
	p.keep(1)
	want("nothing moves", cancel(false), 0, false, replication.CodeNoMove)
	want("hold", move(1, false), 1, true, "")
	for i := range p.live { // first touches: they have to be saved
		for k := range p.live[i] {
			p.live[i][k] = byte(k%251 + 1)
		}
		p.write(i)
	}
	id, err := p.master.Cut(ctx, "g", false)
	if err != nil {
		t.Fatal(err)
	}
	p.keep(id)
	p.listed(id)

	// While it saves: nothing has happened.
	x.shut(&x.reads)
	m := move(0, true)
	<-x.inside
	if s := group().status(); s.Move == nil || s.Move.Phase != "save" || s.Move.From != 1 || s.Move.To != 2 || s.Move.Left <= 0 {
		t.Errorf("status while it saves: %+v", s.Move)
	}
	want("another move", move(1, false), 0, false, "busy")
	c := cancel(false)
	stopped()
	want("move that is taken back", m, 0, false, replication.CodeMoveCancelled)
	want("taken back while it saved", c, 1, true, "")

	// While it writes: finished, though nobody waits for it but the one who asked for that.
	x.shut(&x.writes)
	m = move(0, true)
	<-x.inside
	if s := group().status(); s.Move == nil || s.Move.Phase != "write" {
		t.Errorf("status while it writes: %+v", s.Move)
	}
	c = finished()
	want("move that is finished", m, 2, false, "")
	want("finished", c, 2, false, "")
	want("too late", cancel(false), 0, false, replication.CodeNoMove)

	// While it writes: back, and following as before.
	x.shut(&x.writes)
	m = move(1, false)
	<-x.inside
	c = cancel(false)
	want("cancel while cancelling", func() chan answer {
		stoppedBefore := cancel
		for g := group(); ; time.Sleep(time.Millisecond) {
			g.mu.Lock()
			there := g.cancelling
			g.mu.Unlock()
			if there {
				return stoppedBefore(true)
			}
		}
	}(), 0, false, "busy")
	stopped()
	want("rewind that is taken back", m, 0, false, replication.CodeMoveCancelled)
	want("taken back while it wrote", c, 2, false, "")

	// After a restart in the middle: taken back, and following as before; then once more, and finished.
	for _, finish := range []bool{false, true} {
		x.shut(&x.writes)
		m = move(1, false)
		<-x.inside
		closing := make(chan struct{})
		go func() {
			defer close(closing)
			p.close()
		}()
		time.AfterFunc(50*time.Millisecond, x.open) // the write that is under way ends; whether others come after it does not matter
		<-closing
		<-m
		x.shut(&x.writes)
		p.open()
		g := group()
		if g.journal.Unfinished() == nil {
			t.Fatal("the move was not cut off")
		}
		<-x.inside // it is finished by itself
		if finish {
			want("finished after a restart", finished(), 1, true, "")
		} else {
			c = cancel(false)
			stopped()
			want("taken back after a restart", c, 2, false, "")
		}
	}
	p.contents("at the end")

	// Disks that follow are held where they were.
	x.shut(&x.writes)
	if _, err := p.master.Move(ctx, "g", replication.MoveRequest{To: 1}, none); err != nil { // let go, without moving
		t.Fatal(err)
	}
	g := group()
	if err := g.hold(false, nil); err != nil {
		t.Fatal(err)
	}
	p.master.changed()
	<-x.inside
	c = cancel(false)
	stopped()
	want("they followed", c, 1, true, "")
	p.close()
}

func problemCode(err error) string {
	var p *replication.Problem
	if errors.As(err, &p) && p.Message != "" && p.Remedy != "" {
		return p.Code
	}
	return fmt.Sprint(err)
}

// TestUnprotectInTheMiddleOfADamagedMove: the files of both ends of a move that was cut off are gone. It is refused, and says the way out: with the journal kept. The journal has the points and the move still, and the same plan takes it up again.
func TestUnprotectInTheMiddleOfADamagedMove(t *testing.T) {
	t.Parallel()
	x := &moveGate{inside: make(chan struct{}, 1)}
	defer x.open()
	p := newPairWith(t, 96, Config{wrap: func(_ string, t blockio.Target) blockio.Target { return gatedTarget{t, x} }})
	ctx := context.Background()
	for i, live := range p.live { // no zeros: those a damaged file tells nevertheless
		for k := range live {
			live[k] = byte(p.r.Uint32())
		}
		p.write(i)
	}
	if _, _, err := p.master.Reprotect(ctx, p.plan); err != nil {
		t.Fatal(err)
	}
	p.listed(1)
	if _, err := p.master.Move(ctx, "g", replication.MoveRequest{To: 1}, func(replication.MoveStatus) {}); err != nil {
		t.Fatal(err)
	}
	p.cut()
	x.shut(&x.writes)
	m := called(func() (replication.PointID, error) {
		return p.master.Move(ctx, "g", replication.MoveRequest{To: 2, Advance: true}, func(replication.MoveStatus) {})
	})
	<-x.inside
	ending := p.master.ctx.Done()
	go func() {
		<-ending
		x.open()
	}()
	p.close()
	<-m
	for _, pattern := range []string{"seg/2-*.seg", "save/*.sav"} {
		names, err := filepath.Glob(filepath.Join(p.dir, "ret", "g", pattern))
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v, %v", pattern, names, err)
		}
		for _, n := range names {
			if err := os.Remove(n); err != nil {
				t.Fatal(err)
			}
		}
	}
	p.open()
	g, err := p.master.group("g")
	if err == nil {
		err = g.waitReady(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = p.master.Unprotect(ctx, "g", false, false)
	if said := replication.AsProblem(err); err == nil || !strings.Contains(said.Message, "finish the move to point 2") || !strings.Contains(said.Remedy, "failback unprotect g --keep-journal") {
		t.Errorf("without the journal: %+v", said)
	}
	head, dir, err := p.master.Unprotect(ctx, "g", true, false)
	if err != nil || head != replication.NoPoint || dir != filepath.Join(p.dir, "ret", "g") {
		t.Fatalf("with the journal kept: head %d, %q, %v", head, dir, err)
	}
	kept, err := unfinished(dir)
	if err != nil || kept == nil || kept.To != 2 {
		t.Errorf("the journal has the move %+v, %v", kept, err)
	}
	if _, _, err := p.master.Reprotect(ctx, p.plan); err != nil {
		t.Fatal(err)
	}
	p.listed(2)
	p.close()
}
