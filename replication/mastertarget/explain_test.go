package mastertarget

import (
	"context"
	"strings"
	"testing"
	"time"

	"failback/replication"
	"failback/replication/block"
	"failback/replication/link"
)

// TestBottleneckIsTheStageThatTheOthersWaitFor stages ten seconds of a shipment with four lanes.
func TestBottleneckIsTheStageThatTheOthersWaitFor(t *testing.T) {
	const mb = 1e6
	for name, c := range map[string]struct {
		work     work
		rest     work
		limit    float64
		binds    string
		want     string
		because  string
		stageOne string // the busiest
	}{
		"a slow source":                        {work: work{read: 30, hash: 4, compress: 2, send: 1}, want: "source read", because: "wait for the source for 81 %", stageOne: "source read"},
		"hashing":                              {work: work{read: 3, hash: 20, compress: 4, send: 1}, want: "hash", because: "hash for 71 %", stageOne: "hash"},
		"compressing":                          {work: work{read: 3, hash: 4, compress: 20, send: 1}, want: "compress", because: "compress for 71 %", stageOne: "compress"},
		"the link":                             {work: work{read: 3, hash: 4, compress: 5, send: 26, write: 4}, want: "link", because: "lanes for 68 % of their time; it carries 12 MB/s", stageOne: "link"},
		"the throttle":                         {work: work{read: 3, hash: 4, compress: 5, send: 26}, limit: 13 * mb, want: "throttle", because: "it allows 13 MB/s, of which 12 MB/s are used", stageOne: "throttle"},
		"a throttle above the link":            {work: work{read: 3, hash: 4, compress: 5, send: 26}, limit: 40 * mb, want: "link", because: "12 MB/s", stageOne: "link"},
		"a slow target":                        {work: work{read: 3, hash: 4, compress: 5, send: 26, decode: 2, write: 30}, want: "target write", because: "the lanes here are busy for 80 %", stageOne: "target write"},
		"a slow journal":                       {work: work{read: 3, hash: 4, compress: 5, send: 26, decode: 2, journal: 10}, rest: work{journal: 20}, want: "journal", because: "busy for 80 %", stageOne: "journal"},
		"a compare with a slow target":         {work: work{read: 1, hash: 2, target: 9}, want: "target read", because: "for 90 % of the time", stageOne: "target read"},
		"an earlier release, bound by a limit": {binds: "limit", want: "throttle", because: "as the process server judges"},
		"an earlier release, bound by cores":   {binds: "cores", want: "compress", because: "as the process server judges"},
	} {
		t.Run(name, func(t *testing.T) {
			m := measured{seconds: 10, disks: []work{c.work, {}}, rest: c.rest, lanes: 4, rate: 12 * mb, limit: c.limit, binds: c.binds}
			got, because, stages := m.judge(m.whole())
			if got != c.want || !strings.Contains(because, c.because) {
				t.Errorf("got %q, %q; want %q, %q", got, because, c.want, c.because)
			}
			if c.stageOne != "" && (len(stages) == 0 || stages[0].Stage != c.stageOne) {
				t.Errorf("stages: got %+v, want %s first", stages, c.stageOne)
			}
			if on, _, _ := m.judge(m.disks[0]); on != c.want {
				t.Errorf("its disk: got %q, want %q", on, c.want)
			}
			if on, _, _ := m.judge(m.disks[1]); c.binds == "" && on != "" {
				t.Errorf("a disk that nothing is done for: got %q, want nothing", on)
			}
		})
	}
}

// heldLanes keeps frames from arriving until it is opened.
type heldLanes struct {
	link.Authority
	open chan struct{}
}

func (h *heldLanes) Lane(ctx context.Context, l replication.Lane) (link.Lane, error) {
	lane, err := h.Authority.Lane(ctx, l)
	if err != nil {
		return nil, err
	}
	return &heldLane{lane, h.open}, nil
}

type heldLane struct {
	link.Lane
	open chan struct{}
}

func (l *heldLane) Send(f *block.Frame) error {
	<-l.open
	return l.Lane.Send(f)
}

// TestBacklogsSayWhereBytesAre holds a cycle of changes on its way, then rewinds before it: what was read and did not arrive is at the process server, what is durable and not on the disks at the master target.
func TestBacklogsSayWhereBytesAre(t *testing.T) {
	p := newPair(t, 41)
	defer p.close()
	ctx := context.Background()
	if _, _, err := p.master.Reprotect(ctx, p.plan); err != nil {
		t.Fatal(err)
	}
	p.listed(1)
	held := &heldLanes{p.master, make(chan struct{})}
	p.link.Authority = held
	for off := int64(0); off < 256<<10; off++ {
		p.live[0][off] ^= 0x5a
	}
	p.write(0)
	if _, err := p.master.Cut(ctx, "g", false); err != nil {
		t.Fatal(err)
	}
	backlog := func(what string, ok func(replication.Backlog) bool) {
		t.Helper()
		var got replication.Backlog
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			s, err := p.master.Status(ctx, "g")
			if err != nil {
				t.Fatal(err)
			}
			if got = s.Groups[0].Disks[0].Backlog; ok(got) {
				return
			}
		}
		t.Fatalf("%s: got %+v", what, got)
	}
	backlog("read, and held on its way", func(b replication.Backlog) bool {
		return b.ProcessServer == 256<<10 && b.MasterTarget == 0 && b.Source == 0
	})
	if _, err := p.master.Move(ctx, "g", replication.MoveRequest{To: 1}, func(replication.MoveStatus) {}); err != nil { // the disks are held at point 1
		t.Fatal(err)
	}
	close(held.open)
	p.listed(2)
	backlog("listed, and not on the disks", func(b replication.Backlog) bool {
		return b.ProcessServer == 0 && b.MasterTarget == 256<<10 && b.Source == 0
	})
	if _, err := p.master.Move(ctx, "g", replication.MoveRequest{Advance: true}, func(replication.MoveStatus) {}); err != nil {
		t.Fatal(err)
	}
	backlog("all is on the disks", func(b replication.Backlog) bool { return b == replication.Backlog{} })
}

func TestWhatIsEqualIsNotInTheJournal(t *testing.T) {
	d := &replication.DiskStatus{Durable: 100, Ledger: replication.Ledger{Equal: 70}}
	for _, c := range []struct {
		mode replication.Mode
		told bool
		want int64
	}{{replication.Compare, true, 30}, {replication.Compare, false, 100}, {replication.Changes, true, 100}} {
		if got := inJournal(d, c.mode, c.told); got != c.want {
			t.Errorf("%s: got %d, want %d", c.mode, got, c.want)
		}
	}
}
