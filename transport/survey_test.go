package transport

import (
	"context"
	"reflect"
	"testing"
	"time"

	"failback/replication"
	"failback/replication/link"
	"failback/transport/pki"
)

// surveyor is a process server that has looked.
type surveyor struct {
	link.Worker
	found link.Survey
}

func (s *surveyor) Probe(context.Context, link.Spec) (link.Survey, error) { return s.found, nil }

// peers is a master target that notes who connects.
type peers struct {
	*authority
	peer chan link.Peer
}

func (p *peers) Connected(who link.Peer, w link.Worker) (func(), error) {
	p.peer <- who
	return p.authority.Connected(who, w)
}

// TestSurveyCrossesUnchanged: what a process server sees of its sources and itself, and the certificates that it showed.
func TestSurveyCrossesUnchanged(t *testing.T) {
	want := link.Survey{Dir: "/var/lib/failback", Disks: []link.Probed{
		{Disk: 0, Size: 1 << 30, Data: 1 << 29, View: "reflink", Place: "x/1/2", OS: "windows", Mark: "NTFS"},
		{Disk: 1, Problem: &replication.Problem{Code: "source", Message: "gone", Remedy: "bring it back"}},
	}, Quiesce: []link.Unrunnable{{Machine: "m", Command: "thaw", Why: "gone"}}}
	a := &peers{&authority{}, make(chan link.Peer, 1)}
	address, certs := serveAs(t, a.authority, a)
	c := dial(t, address, certs, pki.ProcessServer)
	ctx, leave := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		gone <- c.Work(ctx, "ps1", "home", "test", &surveyor{found: want}, func(string, time.Duration) {})
	}()
	defer func() { leave(); <-gone }()
	who, w := <-a.peer, <-a.connected
	got, err := w.Probe(t.Context(), link.Spec{Session: replication.Session{Group: "g"}, Disks: []link.Source{{}, {Disk: replication.Disk{No: 1}}}})
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
	if n := len(who.Certificates); n != 2 || who.Certificates[0].Name == "" || !who.Certificates[0].Until.After(time.Now()) || who.Certificates[1] == who.Certificates[0] {
		t.Errorf("certificates: got %+v, want the process server's and the CA's", who.Certificates)
	}
}
