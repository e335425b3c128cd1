package mastertarget

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"failback/blockio"
	"failback/replication"
	"failback/replication/plan"
	"failback/retention"
)

// joins adds a disk to the sources, and returns the plan with it: in the middle of machine a.
func (p *pair) joins() []byte {
	const size = 1<<20 + 512*9
	p.sizes, p.names = append(p.sizes, size), append(p.names, "a/new")
	b := make([]byte, size)
	fill(p.r, b[300<<10:700<<10])
	p.live = append(p.live, b)
	p.write(3)
	at := bytes.Index(p.plan, []byte("      - {id: two,"))
	return bytes.Join([][]byte{p.plan[:at], fmt.Appendf(nil, "      - {id: new, source: 'image:%s', target: %s}\n", p.src(3), p.dst(3)), p.plan[at:]}, nil)
}

// begin protects the group and makes two points.
func (p *pair) begin() {
	p.t.Helper()
	if _, _, err := p.master.Reprotect(context.Background(), p.plan); err != nil {
		p.t.Fatal(err)
	}
	p.listed(1)
	p.keep(1)
	p.another()
}

// another makes a point.
func (p *pair) another() replication.PointID {
	p.t.Helper()
	p.change()
	id, err := p.master.Cut(context.Background(), "g", false)
	for tries := 0; err != nil && tries < 20; tries++ { // the link failed in the middle of it
		id, err = p.master.Cut(context.Background(), "g", false)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	p.keep(id)
	p.listed(id)
	return id
}

// TestDiskJoins: a disk that joins has content from its first point on, whatever fails or is started anew meanwhile; the others' changes are journaled as ever.
func TestDiskJoins(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			p := newPair(t, seed)
			ctx := context.Background()
			p.link.set([]int{0, 40}[seed%2])
			p.begin()
			if seed > 1 { // held
				if _, err := p.master.Move(ctx, "g", replication.MoveRequest{To: 1}, func(replication.MoveStatus) {}); err != nil {
					t.Fatal(err)
				}
			}
			text := p.joins()
			shown, err := p.master.Apply(ctx, replication.ApplyRequest{Plan: text, DryRun: true})
			if err != nil || shown.Applied || shown.Failed() || len(shown.Changes) != 1 || shown.Changes[0].Subject != "a/new" {
				t.Fatalf("dry run: %+v, %v", shown, err)
			}
			if _, err := os.Stat(p.dst(3)); !os.IsNotExist(err) {
				t.Fatalf("a dry run has made the target: %v", err)
			}
			if _, err := p.master.Apply(ctx, replication.ApplyRequest{Plan: text, From: "another"}); err == nil {
				t.Fatal("applied, although another plan was shown")
			}
			done, err := p.master.Apply(ctx, replication.ApplyRequest{Plan: text, From: shown.From})
			if err != nil || !done.Applied {
				t.Fatalf("apply: %+v, %v", done, err)
			}
			p.contents("joined")
			if seed%2 == 1 {
				p.close()
				p.open()
			}
			born := p.another()
			p.contents("born")
			s, err := p.master.Status(ctx, "g")
			if err != nil || len(s.Groups[0].Disks) != 4 || s.Groups[0].Disks[3].Joined != born || s.Groups[0].Disks[3].Disk != "a/new" || s.Groups[0].Disks[1].Disk != "a/two" || s.Groups[0].Disks[1].Joined != 0 {
				t.Errorf("status: %+v, %v", s, err)
			}
			if seed == 0 && strings.Contains(strings.Join(s.Groups[0].Notices, " "), "comparing") {
				t.Errorf("the others were compared: %q", s.Groups[0].Notices)
			}
			for range 3 {
				p.another()
				p.move()
			}
			m, err := p.master.PlanMove(ctx, "g", replication.MoveRequest{To: 1})
			if head, _, _ := p.master.Points(ctx, "g"); head != 1 && (err != nil || len(m.Unborn) != 1 || m.Unborn[0] != (replication.UnbornDisk{Disk: "a/new", Joined: born})) {
				t.Errorf("a move to point 1: %+v, %v", m, err)
			}
			if _, carriedOn, err := p.master.Reprotect(ctx, text); err != nil || !carriedOn {
				t.Errorf("reprotect by the plan in force: %v, %v", carriedOn, err)
			}
			p.close()
			p.open()
			p.listed(born)
			p.contents("opened anew")
			p.link.set(0)
			p.another()
			if _, v, differing, err := p.master.Verify(ctx, "g", 0, func([]replication.Ledger) {}); err != nil || !v.Equal {
				t.Errorf("verify: %+v %v %v", v, differing, err)
			}
			p.contents("in the end")
			p.close()
		})
	}
}

// TestJournalHasTheNewerPlan: power failed when a disk had joined the journal, and the catalogue did not know yet.
func TestJournalHasTheNewerPlan(t *testing.T) {
	t.Parallel()
	p := newPair(t, 1)
	p.begin()
	self := p.master.self.ID
	p.close()
	text := p.joins()
	now, err := plan.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	now.Number([]replication.DiskID{"a/one", "a/two", "b/one"})
	if err := blockio.Create(p.dst(3), blockio.FormatVMFS, p.sizes[3]); err != nil {
		t.Fatal(err)
	}
	if err := retention.Join(filepath.Join(p.dir, "ret", "g"), "g", self, []replication.Disk{{No: 3, ID: "a/new", Size: p.sizes[3]}}, settingsOf(now, false)); err != nil {
		t.Fatal(err)
	}
	p.open()
	p.listed(2)
	p.another()
	p.contents("born")
	p.close()
	p.open() // by the catalogue
	p.listed(3)
	g, err := p.master.group("g")
	if err != nil || !samePlan(g.plan, now) || len(g.record.Disks) != 4 {
		t.Errorf("the catalogue has %+v, %v", g.record, err)
	}
	p.another()
	p.contents("in the end")
	p.close()

	// Another master target, with the journal and the disks alone.
	if err := errors.Join(os.RemoveAll(filepath.Join(p.dir, "mt")), os.Mkdir(filepath.Join(p.dir, "mt"), 0o700)); err != nil {
		t.Fatal(err)
	}
	p.open()
	a, err := p.master.Adopt(context.Background(), replication.AdoptRequest{Dir: filepath.Join(p.dir, "ret", "g"), OldHostIsOff: true})
	if err != nil || len(a.Disks) != 4 || a.Disks[3].Disk != "a/new" || !strings.Contains(a.Disks[3].State, "joined at point 3") {
		t.Fatalf("adopt: %+v, %v", a, err)
	}
	p.listed(4)
	p.another()
	p.contents("adopted")
	p.close()
}

// TestApplyRefuses: what can't be changed is refused by name, and then nothing is; what can is in force at once, after a start, and in the journal.
func TestApplyRefuses(t *testing.T) {
	t.Parallel()
	p := newPair(t, 3)
	ctx := context.Background()
	apply := func(text []byte) error {
		_, err := p.master.Apply(ctx, replication.ApplyRequest{Plan: text})
		return err
	}
	if err := apply(p.plan); err == nil || replication.AsProblem(err).Code != "no-such-group" {
		t.Errorf("applied to a group that is not protected: %v", err)
	}
	p.begin()
	edit := func(pairs ...string) []byte { return []byte(strings.NewReplacer(pairs...).Replace(string(p.plan))) }
	machineB := string(p.plan[bytes.Index(p.plan, []byte("  - name: b")):])
	with := p.joins()
	if err := os.WriteFile(p.dst(3), make([]byte, 4096), 0o600); err != nil { // no VMDK
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		text []byte
		want []string
	}{
		"another name":               {edit("id: two", "id: three"), []string{"a/two", "leave", "join"}},
		"all disks less":             {edit("name: a", "name: c", machineB, ""), []string{"all disks", "b/one", "a/two"}},
		"another target":             {edit(p.dst(1), p.dst(1)+"x"), []string{"a/two", "target"}},
		"another source":             {edit(p.src(0)+"'", p.src(0)+"x'"), []string{"a/one", "source"}},
		"another format":             {edit("monolithicSparse", "monolithicFlat"), []string{"b/one", "format"}},
		"another OS":                 {edit("os: linux", "os: windows"), []string{"os", "one OS type"}},
		"process server":             {edit("process_server: ps", "process_server: ps2"), []string{"process_server"}},
		"keep_original late":         {edit("os: linux", "os: linux\nkeep_original: true"), []string{"keep_original"}},
		"a target that is no disk":   {with, []string{p.dst(3)}},
		"a source that is not there": {bytes.Replace(with, []byte(p.src(3)), []byte(p.src(3)+".gone"), 1), []string{"a/new"}},
	} {
		err := apply(c.text)
		if err == nil {
			t.Errorf("%s: applied", name)
			continue
		}
		problem := replication.AsProblem(err)
		for _, word := range c.want {
			if !strings.Contains(problem.Error(), word) {
				t.Errorf("%s: %v, want %q in it", name, problem, word)
			}
		}
		if problem.Remedy == "" {
			t.Errorf("%s: no remedy: %v", name, problem)
		}
	}
	g, err := p.master.group("g")
	if err != nil {
		t.Fatal(err)
	}
	if err := g.waitReady(ctx); err != nil {
		t.Fatal(err)
	}
	if births := g.journal.Births(); len(births) != 3 {
		t.Errorf("refused, and joined: %v", births)
	}
	p.names, p.live, p.sizes = p.names[:3], p.live[:3], p.sizes[:3]
	changed := edit("crash_interval: 1h", "crash_interval: 30m, retention: 3d", "os: linux", "os: linux\npriority: 30\nretention: {hard: 50%}")
	a, err := p.master.Apply(ctx, replication.ApplyRequest{Plan: changed})
	if err != nil || !a.Applied || len(a.Changes) != 4 {
		t.Fatalf("apply: %+v, %v", a, err)
	}
	want, _ := plan.Parse(changed)
	look := func(where string) {
		t.Helper()
		g, err := p.master.group("g")
		if err == nil {
			err = g.waitReady(ctx)
		}
		if err != nil {
			t.Fatalf("%s: %v", where, err)
		}
		if s, _ := g.journal.Settings(); !bytes.Equal(g.plan.Canonical(), want.Canonical()) || s.Plan != string(want.Canonical()) {
			t.Errorf("%s: the plan in force is %s, the journal has %s", where, g.plan.Canonical(), s.Plan)
		}
	}
	look("applied")
	p.another()
	p.contents("applied")
	p.close()
	p.open()
	look("opened anew")
	p.contents("opened anew")
	p.close()
}
