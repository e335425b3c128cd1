package mastertarget

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"failback/replication"
	"failback/replication/block"
	"failback/replication/link"
)

// noise fills b with bytes that nothing compresses.
func noise(r *rand.Rand, b []byte) {
	for i := range b {
		b[i] = byte(r.Uint32())
	}
}

// spread copies content from anywhere to anywhere else, in whole pages, as machines of one template and files that are moved have it, and returns how much.
func (p *pair) spread(times, most int) (n int64) {
	was := make([][]byte, len(p.live)) // what the base holds
	for i, b := range p.live {
		was[i] = bytes.Clone(b)
	}
	for range times {
		from, to := p.r.IntN(len(p.live)), p.r.IntN(len(p.live))
		length := (2 + p.r.Int64N(int64(most))) * replication.Page
		a := p.r.Int64N(int64(len(p.live[from]))-length) &^ (replication.Page - 1)
		b := p.r.Int64N(int64(len(p.live[to]))-length) &^ (replication.Page - 1)
		n += int64(copy(p.live[to][b:b+length], was[from][a:]))
	}
	for i := range p.live {
		p.write(i)
	}
	return n
}

// repeating returns a pair whose disks have no zeros and much in common. Snapshots are made by a command where they are wanted; changes are found by tables then.
func repeating(t *testing.T, seed uint64, snapshots bool) *pair {
	p := newPair(t, seed)
	pin := block.LevelS2
	p.level = &pin // what is told is hashed too, then
	p.connect()
	for _, b := range p.live {
		noise(p.r, b)
	}
	copy(p.live[1][256<<10:], p.live[0][1<<20:2<<20])
	copy(p.live[2][replication.Page:], p.live[0][2<<20:2<<20+700<<10])
	clear(p.live[0][512<<10 : 600<<10])
	for i := range p.live {
		p.write(i)
	}
	if snapshots {
		command := fmt.Sprintf("snapshot: 'cp $FAILBACK_SOURCE %s/views/$FAILBACK_POINT-${FAILBACK_DISK%%%%/*}-${FAILBACK_DISK##*/} && echo %[1]s/views/$FAILBACK_POINT-${FAILBACK_DISK%%%%/*}-${FAILBACK_DISK##*/}', release: 'rm -f $2'", p.dir)
		p.plan = fmt.Appendf(nil, "group: g\nos: linux\nprocess_server: ps\npolicy: {crash_interval: 1h, app_interval: 1h, rpo_alert: 2h}\n%s\nmachines:\n  - name: a\n    disks:\n      - {id: one, source: 'image:%s', target: %s, %s}\n      - {id: two, source: 'image:%s', target: %s, %s}\n  - name: b\n    disks:\n      - {id: one, source: 'image:%s', target: %s, format: monolithicSparse, %s}\n",
			"", p.src(0), p.dst(0), command, p.src(1), p.dst(1), command, p.src(2), p.dst(2), command)
	}
	return p
}

// lose takes from the process server what it knows: the next point is made by comparing.
func (p *pair) lose() {
	p.bye()
	p.worker.Close()
	p.worker = nil
	if err := os.RemoveAll(filepath.Join(p.dir, "ps")); err != nil {
		p.t.Fatal(err)
	}
	p.connect()
}

// addsUp checks the ledgers of the last cycle.
func (p *pair) addsUp(where string) {
	p.t.Helper()
	s, err := p.master.Status(context.Background(), "g")
	if err != nil {
		p.t.Fatal(err)
	}
	for _, d := range s.Groups[0].Disks {
		if err := d.Ledger.Check(); err != nil {
			p.t.Errorf("%s: %v", where, err)
		}
	}
}

// ledgers returns the sums over the disks of the last cycle.
func (p *pair) ledgers() (sum replication.Ledger) {
	p.t.Helper()
	s, err := p.master.Status(context.Background(), "g")
	if err != nil {
		p.t.Fatal(err)
	}
	for _, d := range s.Groups[0].Disks {
		l := d.Ledger
		sum.Total, sum.Done, sum.Zero, sum.Equal = sum.Total+l.Total, sum.Done+l.Done, sum.Zero+l.Zero, sum.Equal+l.Equal
		sum.Raw, sum.Payload, sum.Repeated = sum.Raw+l.Raw, sum.Payload+l.Payload, sum.Repeated+l.Repeated
	}
	return sum
}

// TestRepeatsAreSentByReference counts what two disks of one template, and a cycle that moves content about, need not send.
func TestRepeatsAreSentByReference(t *testing.T) {
	p := repeating(t, 1, true)
	if _, _, err := p.master.Reprotect(context.Background(), p.plan); err != nil {
		t.Fatal(err)
	}
	p.listed(1)
	p.keep(1)
	p.contents("baseline")
	l := p.ledgers()
	if want := int64(1<<20 + 700<<10); l.Repeated != want {
		t.Errorf("baseline: %d bytes repeated, want %d", l.Repeated, want)
	}
	p.addsUp("baseline")
	p.connect() // what was remembered is found again by the tables
	moved := p.spread(1, 100)
	id, err := p.master.Cut(context.Background(), "g", false)
	if err != nil {
		t.Fatal(err)
	}
	p.keep(id)
	p.listed(id)
	p.contents("cycle")
	if l := p.ledgers(); l.Repeated != moved || l.Raw != 0 {
		t.Errorf("cycle: %d bytes repeated and %d sent, want %d and none", l.Repeated, l.Raw, moved)
	}
	p.lose()
	moved = p.spread(1, 100)
	if id, err = p.master.Cut(context.Background(), "g", false); err != nil {
		t.Fatal(err)
	}
	p.keep(id)
	p.listed(id)
	p.contents("resync")
	if l := p.ledgers(); l.Repeated > moved || l.Repeated+l.Raw != moved || l.Total != l.Equal+l.Raw+l.Repeated {
		t.Errorf("resync: %d bytes moved: %+v", moved, l)
	}
	p.close()
}

// TestRepeatsTogether makes points whose content repeats over a link that fails, with references that point astray, and either end starting anew: all points are right.
func TestRepeatsTogether(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			p := repeating(t, seed, seed%2 == 0)
			ctx := context.Background()
			p.link.set([]int{0, 0, 80, 80}[seed/2])
			p.link.astray = []int{3, 3, 0, 4}[seed/2]
			if _, _, err := p.master.Reprotect(ctx, p.plan); err != nil {
				t.Fatal(err)
			}
			p.listed(1)
			p.keep(1)
			p.contents("baseline")
			passed := p.link.repeated
			for step := range 8 {
				switch p.r.IntN(7) {
				case 0:
					p.close()
					passed += p.link.repeated
					p.open()
					p.listed(1)
				case 1:
					p.connect()
				case 2:
					p.lose()
				case 3:
					p.move()
				default:
					p.change()
					p.spread(4, 60)
					id, err := p.master.Cut(ctx, "g", false)
					for tries := 0; err != nil; tries++ { // the link failed in the middle of it
						if tries == 20 {
							t.Fatal(err)
						}
						id, err = p.master.Cut(ctx, "g", false)
					}
					p.keep(id)
					p.listed(id)
				}
				p.contents(fmt.Sprintf("step %d", step))
			}
			p.link.set(0)
			if _, v, differing, err := p.master.Verify(ctx, "g", 0, func([]replication.Ledger) {}); err != nil || !v.Equal {
				t.Errorf("verify: %v %v, %d bytes, error %v", v.Equal, differing, v.Differs, err)
			}
			if passed+p.link.repeated == 0 {
				t.Error("nothing was sent by reference")
			}
			p.close()
		})
	}
}

// TestReferencesAreBelievedByTheirHash ships by hand: a reference whose hash is another one's, or that says nothing, is passed over and told; one out of bounds ends its lane.
func TestReferencesAreBelievedByTheirHash(t *testing.T) {
	p := repeating(t, 1, true)
	ctx := context.Background()
	if _, _, err := p.master.Reprotect(ctx, p.plan); err != nil {
		t.Fatal(err)
	}
	p.listed(1)
	g, err := p.master.group("g")
	if err != nil {
		t.Fatal(err)
	}
	c := replication.Cycle{Point: 2, Base: 1, Mode: replication.Changes, Route: replication.Journaled, Kind: replication.Crash, Cut: replication.Cut{Snapshot: "by hand", Stable: true, Sizes: p.sizes}}
	last, _ := g.journal.Last()
	c.BaseChain = last.Chain
	if err := g.journal.Begin(c); err != nil {
		t.Fatal(err)
	}
	session, err := g.grant(c)
	if err != nil {
		t.Fatal(err)
	}
	fence := link.Fence{Session: replication.Session{Group: "g", Generation: g.journal.Generation(), ID: session}, Point: 2}
	const off, n = 1 << 20, 8 * replication.Page
	right := replication.HashRegion(replication.HashPages(nil, p.live[0][off:off+n]))
	repeat := func(to int64, o block.Origin) *block.Frame {
		return &block.Frame{Blocks: []block.Block{{Disk: 1, Kind: block.Repeat, Raw: n, Extents: []replication.Extent{{Off: to, End: to + n}}, Origin: o}}}
	}
	attempt := uint64(0)
	open := func() link.Lane {
		attempt++
		lane, err := p.master.Lane(ctx, replication.Lane{Session: fence.Session, Point: 2, Attempt: attempt})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(lane.Close)
		return lane
	}
	lane, wrong := open(), right
	wrong[15]++
	for i, o := range []block.Origin{{Off: off, Hash: right}, {Off: off, Hash: wrong}, {Off: off + replication.Page, Hash: right}, {Disk: 2, Off: 0, Hash: right}} {
		if err := lane.Send(repeat(int64(i)*n, o)); err != nil {
			t.Fatal(err)
		}
	}
	byValue, err := lane.Flush()
	if err != nil || byValue != 3*n {
		t.Errorf("got %d bytes needed by value, %v, want %d", byValue, err, 3*n)
	}
	if got := g.journal.Durable(1); got != n {
		t.Errorf("%d bytes are durable, want %d", got, n)
	}
	for name, o := range map[string]block.Origin{
		"NoSuchDisk": {Disk: 3, Hash: right}, "PastEnd": {Off: p.sizes[0] &^ (replication.Page - 1), Hash: right}, "Negative": {Off: -replication.Page, Hash: right},
		"OffPages": {Off: 512, Hash: right}, "NoHash": {Off: off},
	} {
		if err := open().Send(repeat(0, o)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	many := &block.Frame{}
	for i := range int64(block.MaxFrameRaw/n + 1) {
		many.Blocks = append(many.Blocks, repeat(i*n, block.Origin{Off: off, Hash: right}).Blocks...)
	}
	if err := open().Send(many); err == nil {
		t.Error("a frame of more than a frame's bytes was taken")
	}
	p.close()
}
