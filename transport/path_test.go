package transport

import (
	"context"
	"errors"
	"testing"
	"time"

	failbackpb "failback/proto"
	"failback/replication"
	"failback/replication/link"
	"failback/transport/pki"
)

// prober returns both sides of a process server that is connected.
func prober(t *testing.T) (*ReplicationClient, link.Prober) {
	t.Helper()
	a := &authority{}
	address, certs := serve(t, a)
	c := dial(t, address, certs, pki.ProcessServer)
	ctx, leave := context.WithCancel(context.Background())
	gone := make(chan error, 1)
	go func() { gone <- c.Work(ctx, "ps1", "home", "test", hand{}, func(string, time.Duration) {}) }()
	t.Cleanup(func() { leave(); <-gone })
	return c, (<-a.connected).(link.Prober)
}

func TestPathIsMeasured(t *testing.T) {
	_, p := prober(t)
	for range 2 { // it may be repeated
		got, err := p.Path(t.Context(), replication.PathAsk{Each: 200 * time.Millisecond, MaxBytes: 32 << 20})
		if err != nil {
			t.Fatal(err)
		}
		if got.Connections != pathLanes || got.RTT <= 0 || got.Connect <= 0 || got.Handshake <= 0 || got.Skew.Abs() > time.Second || got.Vanished != 0 {
			t.Errorf("got %+v", got)
		}
		for _, r := range []replication.PathRate{got.Up, got.Down} {
			if r.Bytes < 0 || r.Bytes > 32<<20 || r.Rate < 0 || r.Rate > 0 && r.Bytes == 0 || r.Lasted <= 0 { // a busy machine may carry nothing in that time
				t.Errorf("got %+v", r)
			}
		}
	}
}

func TestPathThatWasNotOrderedIsRefused(t *testing.T) {
	c, p := prober(t)
	probe, err := c.probe(t.Context(), 0, pathConnect)
	if err != nil {
		t.Fatal(err)
	}
	defer probe.close()
	want := func(name string, err error) {
		t.Helper()
		if p := ProblemOf(err); p == nil || p.Code != link.CodePathOrder {
			t.Errorf("%s: got %v want %s", name, err, link.CodePathOrder)
		}
	}
	once := func(path uint64, bytes, wanted int) error {
		s, err := probe.stream(t.Context(), path)
		if err != nil {
			return err
		}
		_, _, err = s.once(bytes, wanted)
		return err
	}
	want("no order", once(1, 0, 0))

	w := p.(*remoteWorker)
	name, done, err := w.paths.open(t.Context(), w.key, replication.PathAsk{MaxBytes: 100})
	if err != nil {
		t.Fatal(err)
	}
	if err := once(name, 1, 1); err != nil {
		t.Errorf("an order: %v", err)
	}
	want("more wanted than a message holds", once(name, 0, pathPadding+1))
	w.paths.now[name].up.Store(10)
	want("more than was ordered", once(name, 11, 0))
	w.paths.now[name].up.Store(10)
	w.paths.now[name].key = "another"
	want("another's order", once(name, 0, 0))
	w.paths.now[name].key = w.key
	if _, err := p.Path(t.Context(), replication.PathAsk{Each: time.Second}); ProblemOf(err) == nil || ProblemOf(err).Code != link.CodePathBusy {
		t.Errorf("a second order: got %v want %s", err, link.CodePathBusy)
	}
	s, err := probe.stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.once(0, 0); err != nil {
		t.Fatal(err)
	}
	done()
	_, err = s.Recv()
	want("the order is over", err)
	w.paths.now[name] = &pathOrder{ctx: t.Context(), key: w.key}
	w.paths.now[name].streams.Store(pathStreams)
	want("too many streams", once(name, 0, 0))
}

func TestPathOrderOutOfBoundsIsRefused(t *testing.T) {
	c := &ReplicationClient{}
	for _, o := range []*failbackpb.PathOrder{{EachNanos: 1}, {MaxBytes: 1}, {EachNanos: -1, MaxBytes: 1}, {EachNanos: 1, MaxBytes: replication.MaxPathBytes + 1}} {
		if _, err := c.measure(t.Context(), o); err == nil || errors.As(err, new(*replication.Problem)) {
			t.Errorf("%v: got %v", o, err)
		}
	}
}
