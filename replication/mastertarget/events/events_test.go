package events

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"failback/replication"
)

func opened(t *testing.T, dir string) *Log {
	t.Helper()
	l, err := Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if l.next > 1<<40 { // a new one: count from 1 here
		l.next = 1
	}
	return l
}

// settled waits until the events up to a number are on the disk.
func settled(t *testing.T, l *Log, no uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	enough := errors.New("enough")
	err := l.Read(ctx, replication.EventsRequest{After: no - 1, Follow: true}, func(replication.Event) error { return enough })
	if !errors.Is(err, enough) {
		t.Fatalf("event %d: %v", no, err)
	}
}

func read(t *testing.T, l *Log, r replication.EventsRequest) (all []replication.Event) {
	t.Helper()
	if err := l.Read(context.Background(), r, func(e replication.Event) error { all = append(all, e); return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestEventsSurviveAndRise(t *testing.T) {
	dir := t.TempDir()
	l := opened(t, dir)
	l.Append(replication.Event{Kind: replication.EventPoint, Group: "erp", Point: 3, Message: "point 3"})
	alert := replication.Alert{Rule: "rpo", Group: "erp", Subject: "erp", Level: replication.Warned}
	l.SetAlerts([]replication.Alert{alert}, replication.Event{Kind: replication.EventAlert, Group: "erp", Rule: "rpo", Level: replication.Warned})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = opened(t, dir)
	l.Append(replication.Event{Kind: replication.EventStarted})
	settled(t, l, 3)
	got := read(t, l, replication.EventsRequest{})
	if len(got) != 3 || got[0].No != 1 || got[0].Point != 3 || got[0].Level != replication.Healthy || got[0].Subject != "erp" || got[1].Rule != "rpo" || got[2].No != 3 || got[2].Time.IsZero() {
		t.Errorf("got %+v", got)
	}
	if a := l.Alerts(); len(a) != 1 || a[0] != alert {
		t.Errorf("alerts: got %+v, want %+v", a, alert)
	}
}

func TestReadGivesWhatIsAskedFor(t *testing.T) {
	l := opened(t, t.TempDir())
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for i := range 6 {
		l.Append(replication.Event{Group: replication.GroupID([]string{"erp", "web"}[i%2]), Time: noon.Add(time.Duration(i) * time.Minute)})
	}
	settled(t, l, 6)
	for _, c := range []struct {
		r    replication.EventsRequest
		want string
	}{
		{replication.EventsRequest{}, "[1 2 3 4 5 6]"},
		{replication.EventsRequest{Group: "web"}, "[2 4 6]"},
		{replication.EventsRequest{Group: "erp", Since: noon.Add(time.Minute)}, "[3 5]"},
		{replication.EventsRequest{After: 4}, "[5 6]"},
		{replication.EventsRequest{After: 9}, "[]"},
	} {
		nos := []uint64{}
		for _, e := range read(t, l, c.r) {
			nos = append(nos, e.No)
		}
		if got := fmt.Sprint(nos); got != c.want {
			t.Errorf("%+v: got %s, want %s", c.r, got, c.want)
		}
	}
}

func TestFollowTellsWhatComes(t *testing.T) {
	l := opened(t, t.TempDir())
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	came, ended := make(chan replication.Event), make(chan error, 1)
	go func() {
		ended <- l.Read(ctx, replication.EventsRequest{Follow: true}, func(e replication.Event) error { came <- e; return nil })
	}()
	for i := range 3 {
		l.Append(replication.Event{Message: fmt.Sprint(i)})
		if e := <-came; e.Message != fmt.Sprint(i) {
			t.Errorf("got %q, want %d", e.Message, i)
		}
	}
	l.Close()
	if err := <-ended; err != nil {
		t.Errorf("the log is closed: got %v", err)
	}
}

func TestOnlySoManyAreKept(t *testing.T) {
	l := opened(t, t.TempDir())
	const more = 700
	for i := range Kept + more {
		l.Append(replication.Event{})
		if i%queued == queued-1 { // which a disk takes
			settled(t, l, uint64(i+1))
		}
	}
	settled(t, l, Kept+more)
	got := read(t, l, replication.EventsRequest{})
	if len(got) != Kept || got[0].No != more+1 || l.Lost() != 0 {
		t.Errorf("%d are kept from %d on, %d lost; want %d from %d on", len(got), got[0].No, l.Lost(), Kept, more+1)
	}
}

func TestDamagedFilesArePutAside(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, FileName)
	l := opened(t, dir)
	for range 300 {
		l.Append(replication.Event{Message: "this is an event"})
	}
	settled(t, l, 300)
	l.Close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	inside := slices.Clone(whole)
	for i := 2 * os.Getpagesize(); i < len(inside); i++ { // behind the two meta pages
		inside[i] = 0xa5
	}
	for i, damaged := range [][]byte{[]byte("this is no log of events, although it is a file"), inside, whole[:2*os.Getpagesize()], []byte(strings.ReplaceAll(string(whole), `"message":"this`, `"message":,this`))} {
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := Open(dir, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatalf("damage %d: %v", i, err)
		}
		if l.next < 1<<40 {
			t.Errorf("damage %d: the new log begins at %d, which the one before may have come to", i, l.next)
		}
		l.Append(replication.Event{})
		settled(t, l, 1)
		l.Close()
		aside := path + ".damaged"
		if i > 0 {
			aside += fmt.Sprintf(".%d", i+1)
		}
		if got, err := os.ReadFile(aside); err != nil || len(got) < len(damaged) {
			t.Errorf("damage %d: %d bytes are put aside, %v", i, len(got), err)
		}
	}
}

func TestFileThatCantBeOpenedStays(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, FileName), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a directory is taken for a log")
	}
	if _, err := os.Stat(filepath.Join(dir, FileName+".damaged")); err == nil {
		t.Error("what is not damaged is put aside")
	}
}
