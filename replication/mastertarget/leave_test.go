package mastertarget

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"failback/replication"
	"failback/replication/link"
	"failback/replication/plan"
	"failback/retention"
)

// goneDisk is a disk that left, with its content at the points that have it.
type goneDisk struct {
	name, target string
	kept         map[replication.PointID][]byte
}

// leaves takes a disk out of the test's disks, and returns it.
func (p *pair) leaves(i int) goneDisk {
	g := goneDisk{p.names[i], p.dst(i), map[replication.PointID][]byte{}}
	if p.places == nil {
		for k := range p.names {
			p.places = append(p.places, k)
		}
	}
	for id, disks := range p.kept {
		if i < len(disks) {
			g.kept[id] = disks[i]
			p.kept[id] = slices.Delete(slices.Clone(disks), i, i+1)
		}
	}
	p.names, p.live, p.sizes, p.places = slices.Delete(p.names, i, i+1), slices.Delete(p.live, i, i+1), slices.Delete(p.sizes, i, i+1), slices.Delete(p.places, i, i+1)
	return g
}

// withoutDisk is the plan without the test's i-th disk; the last one is all that its machine has.
func (p *pair) withoutDisk(i int) []byte {
	from, to := [][]byte{[]byte("      - {id: one"), []byte("      - {id: two"), []byte("  - name: b")}, [][]byte{[]byte("      - {id: two"), []byte("  - name: b"), nil}
	a := bytes.Index(p.plan, from[i])
	b := len(p.plan)
	if to[i] != nil {
		b = bytes.Index(p.plan, to[i])
	}
	return slices.Concat(p.plan[:a], p.plan[b:])
}

// contents compares the disk at the points that have it, and makes sure that no other shows it.
func (g goneDisk) contents(p *pair, where string) {
	p.t.Helper()
	_, points, err := p.master.Points(context.Background(), "g")
	if err != nil {
		p.t.Fatal(err)
	}
	for _, x := range points {
		c, err := p.master.Export(context.Background(), "g", x.ID, g.name)
		want, has := g.kept[x.ID]
		if !has {
			if problemCode(err) != codeLeft {
				p.t.Fatalf("%s: point %d shows %s, which left before: %v", where, x.ID, g.name, err)
			}
			continue
		}
		if err != nil {
			p.t.Fatalf("%s: point %d of %s, which left: %v", where, x.ID, g.name, err)
		}
		got := make([]byte, c.Size())
		if _, err := c.ReadAt(got, 0); err != nil && err != io.EOF {
			p.t.Fatalf("%s: read point %d of %s, which left: %v", where, x.ID, g.name, err)
		}
		if at := differs(got, want); at >= 0 {
			p.t.Fatalf("%s: point %d of %s, which left, differs at %d", where, x.ID, g.name, at)
		}
		c.Close()
	}
}

// TestDiskLeaves: points before a disk left show it, later ones don't; its target stays as it was left, whatever moves, and the others' changes go on being known, in whatever place of the plan it stood.
func TestDiskLeaves(t *testing.T) {
	for i := range 3 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			p := newPair(t, uint64(40+i))
			ctx := context.Background()
			p.link.set([]int{0, 40, 60}[i])
			p.begin()
			text := p.withoutDisk(i)
			shown, err := p.master.Apply(ctx, replication.ApplyRequest{Plan: text, DryRun: true})
			if err != nil || shown.Applied || shown.Failed() || !slices.ContainsFunc(shown.Changes, func(c replication.PlanChange) bool { return c.Key == "disk" && c.Now == "" }) || (i == 2) != (shown.Changes[0].Key == "machine") {
				t.Fatalf("dry run: %+v, %v", shown, err)
			}
			if done, err := p.master.Apply(ctx, replication.ApplyRequest{Plan: text, From: shown.From}); err != nil || !done.Applied {
				t.Fatalf("apply: %+v, %v", done, err)
			}
			gone := p.leaves(i)
			p.contents("left")
			gone.contents(p, "left")
			asLeft, err := os.ReadFile(gone.target)
			if err != nil {
				t.Fatal(err)
			}
			if i == 1 && differs(asLeft, gone.kept[2]) >= 0 {
				t.Error("the target of the disk that left does not show the last point")
			}
			if i > 0 {
				p.close()
				p.open()
			}
			p.another()
			s, err := p.master.Status(ctx, "g")
			if err != nil {
				t.Fatal(err)
			}
			g := s.Groups[0]
			if len(g.Disks) != 2 || len(g.Departed) != 1 || string(g.Departed[0].Disk.Short()) == "" || g.Departed[0].Last != 2 || g.Departed[0].Head != 2 || g.Departed[0].Target != gone.target {
				t.Errorf("status: %+v", g)
			}
			if i == 0 && slices.ContainsFunc(g.Notices, func(n string) bool { return bytes.Contains([]byte(n), []byte("comparing")) }) {
				t.Errorf("the others were compared: %q", g.Notices)
			}
			for range 3 {
				p.another()
				p.move()
			}
			head, _, _ := p.master.Points(ctx, "g")
			if m, err := p.master.PlanMove(ctx, "g", replication.MoveRequest{To: 1}); head != 1 && (err != nil || len(m.Unborn) != 1 || m.Unborn[0].Left != 2 || m.Unborn[0].Disk != g.Departed[0].Disk) {
				t.Errorf("a move to point 1: %+v, %v", m, err)
			}
			p.contents("moved")
			gone.contents(p, "moved")
			if now, err := os.ReadFile(gone.target); err != nil || !bytes.Equal(now, asLeft) {
				t.Errorf("the target of a disk that had left was written to (%v)", err)
			}
			if _, carriedOn, err := p.master.Reprotect(ctx, text); err != nil || !carriedOn {
				t.Errorf("reprotect by the plan in force: %v, %v", carriedOn, err)
			}
			p.close()
			p.open()
			p.listed(3)
			p.contents("opened anew")
			gone.contents(p, "opened anew")
			p.link.set(0)
			p.another()
			if _, v, differing, err := p.master.Verify(ctx, "g", 0, func([]replication.Ledger) {}); err != nil || !v.Equal {
				t.Errorf("verify: %+v %v %v", v, differing, err)
			}
			if i == 0 {
				p.notWithout()
			}
			p.close()
		})
	}
}

// notWithout asks for what a group that a disk has left does not do: to give a machine disks of two times, and to have a process server of an earlier release read what it cut.
func (p *pair) notWithout() {
	p.t.Helper()
	ctx := context.Background()
	_, err := p.master.Commit(ctx, "g", replication.CommitRequest{Point: 1}, silent)
	isProblem(p.t, "a commit at a point with a disk that left", err, codeLeft)
	p.bye()
	if p.bye, err = p.master.Connected(link.Peer{Name: "ps", Minor: link.MinorLeaving - 1}, p.worker); err != nil {
		p.t.Fatal(err)
	}
	_, err = p.master.Cut(ctx, "g", false)
	isProblem(p.t, "a cut by a process server of an earlier release", err, link.CodeVersion)
	_, _, _, err = p.master.Verify(ctx, "g", 0, func([]replication.Ledger) {})
	isProblem(p.t, "a verification by it", err, link.CodeVersion)
	p.connect()
	p.another()
	p.contents("read by a process server of this release")
}

// TestDiskLeavesAndJoinsAgain: it is another one then, whose first point is a later one; what needs the target as it was left can't be had from then on.
func TestDiskLeavesAndJoinsAgain(t *testing.T) {
	t.Parallel()
	p := newPair(t, 50)
	ctx := context.Background()
	p.begin()
	if _, err := p.master.Move(ctx, "g", replication.MoveRequest{To: 1}, func(replication.MoveStatus) {}); err != nil {
		t.Fatal(err)
	}
	if a, err := p.master.Apply(ctx, replication.ApplyRequest{Plan: p.withoutDisk(0)}); err == nil || a.Applied {
		t.Errorf("a disk left while a rewind holds it: %+v", a)
	}
	if _, err := p.master.Move(ctx, "g", replication.MoveRequest{Advance: true}, func(replication.MoveStatus) {}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.master.Apply(ctx, replication.ApplyRequest{Plan: p.withoutDisk(0)}); err != nil {
		t.Fatal(err)
	}
	live, size := p.live[0], p.sizes[0]
	gone := p.leaves(0)
	left := p.another()
	gone.contents(p, "left")
	c, err := p.master.Export(ctx, "g", 1, gone.name)
	if err != nil {
		t.Fatal(err)
	}
	if a, err := p.master.Apply(ctx, replication.ApplyRequest{Plan: p.plan}); err != nil || !a.Applied {
		t.Fatalf("apply: %+v, %v", a, err)
	}
	p.names, p.live, p.sizes, p.places = append(p.names, "a/one"), append(p.live, live), append(p.sizes, size), append(p.places, 0)
	born := p.another()
	if _, err := c.ReadAt(make([]byte, size), 0); err == nil {
		t.Error("a disk that left is read from a target that is written to again")
	}
	c.Close()
	p.contents("joined again")
	for id, code := range map[replication.PointID]string{1: codeLeft, 2: codeLeft, left: "disk-unborn"} {
		if _, err := p.master.Export(ctx, "g", id, "a/one"); problemCode(err) != code {
			t.Errorf("a disk that left and joined again, at point %d: %v, want %s", id, err, code)
		}
	}
	m, err := p.master.PlanMove(ctx, "g", replication.MoveRequest{To: left})
	if err != nil || len(m.Unborn) != 1 || m.Unborn[0] != (replication.UnbornDisk{Disk: "a/one", Joined: born}) {
		t.Errorf("a move to when it was not there: %+v, %v", m, err)
	}
	p.close()
}

// TestTargetOfADiskThatLeft is refused once somebody has written to it, also while it is read.
func TestTargetOfADiskThatLeft(t *testing.T) {
	t.Parallel()
	p := newPair(t, 51)
	ctx := context.Background()
	p.begin()
	if _, err := p.master.Apply(ctx, replication.ApplyRequest{Plan: p.withoutDisk(0)}); err != nil {
		t.Fatal(err)
	}
	gone := p.leaves(0)
	c, err := p.master.Export(ctx, "g", 2, gone.name)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.ReadAt(make([]byte, 4096), 0); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(strings.TrimSuffix(gone.target, ".vmdk")+"-flat.vmdk", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("mine"), 0); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if _, err := c.ReadAt(make([]byte, c.Size()), 0); problemCode(err) != codeLeft {
		t.Errorf("read while another writes: %v", err)
	}
	if _, err := p.master.Export(ctx, "g", 2, gone.name); problemCode(err) != codeLeft {
		t.Errorf("read after another has written: %v", err)
	}
	if err := os.Remove(gone.target); err != nil {
		t.Fatal(err)
	}
	if _, err := p.master.Export(ctx, "g", 2, gone.name); problemCode(err) != codeLeft {
		t.Errorf("read when it is gone: %v", err)
	}
	p.another()
	p.move()
	p.contents("the others")
	p.close()
}

// TestJournalKnowsFirstThatADiskLeft: power failed when a disk had left the journal, and the catalogue did not know yet; and before that, when nothing had happened.
func TestJournalKnowsFirstThatADiskLeft(t *testing.T) {
	t.Parallel()
	p := newPair(t, 52)
	p.begin()
	self := p.master.self.ID
	p.close()
	text := p.withoutDisk(0)
	now, err := plan.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	p.open() // when the targets were closed, and no more
	p.listed(2)
	p.contents("not left")
	p.standsAt(2)
	p.close()
	s := settingsOf(now, false)
	if err := retention.Leave(p.dir+"/ret/g", "g", self, []replication.DiskNo{0}, s); err != nil {
		t.Fatal(err)
	}
	p.open()
	p.listed(2)
	gone := p.leaves(0)
	p.another()
	p.contents("left")
	gone.contents(p, "left")
	g, err := p.master.group("g")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(g.plan.Canonical(), now.Canonical()) || !bytes.Equal(g.record.Plan, now.Canonical()) {
		t.Errorf("the plan in force is %s", g.plan.Canonical())
	}
	p.close()
}
