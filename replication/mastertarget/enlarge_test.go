package mastertarget

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"failback/blockio"
	"failback/replication"
	"failback/retention"
)

func init() { growsAfter = 0 }

// TestSourcesAreLargerForAWhileBeforeTargetsGrow: what is seen once, or differs between two looks, begins anew.
func TestSourcesAreLargerForAWhileBeforeTargetsGrow(t *testing.T) {
	defer func(was time.Duration) { growsAfter = was }(growsAfter)
	growsAfter = time.Minute
	var s sight
	at := time.Now()
	for i, look := range []struct {
		said  string
		after time.Duration
		want  bool
	}{{"8 GiB", 0, false}, {"8 GiB", 59 * time.Second, false}, {"9 GiB", 2 * time.Minute, false}, {"", 4 * time.Minute, false}, {"9 GiB", 5 * time.Minute, false}, {"9 GiB", 6 * time.Minute, true}} {
		if got := s.lasts(look.said, at.Add(look.after)); got != look.want {
			t.Errorf("look %d, at %q after %v: %t, want %t", i, look.said, look.after, got, look.want)
		}
	}
}

// soon has a point made, and keeps what the sources are. What a process server can't cut, as sources have grown, it can soon.
func (p *pair) soon() replication.PointID {
	p.t.Helper()
	var err error
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		var id replication.PointID
		if id, err = p.master.Cut(p.t.Context(), "g", false); err == nil {
			p.keep(id)
			p.listed(id)
			return id
		}
	}
	p.t.Fatal(err)
	return 0
}

// standsAt moves the disks, and compares them with what a point was; what they have grown by since is zeros.
func (p *pair) standsAt(to replication.PointID) {
	p.t.Helper()
	head, _, err := p.master.Points(p.t.Context(), "g")
	if err == nil && head != to {
		_, err = p.master.Move(p.t.Context(), "g", replication.MoveRequest{To: to, Advance: to > head}, func(replication.MoveStatus) {})
	}
	if err != nil {
		p.t.Fatal(err)
	}
	g, _ := p.master.group("g")
	for i, want := range p.kept[to] {
		got := make([]byte, g.targets[i].Size())
		if _, err := g.targets[i].ReadAt(got, 0); err != nil {
			p.t.Fatal(err)
		}
		if at := differs(got[:len(want)], want); at >= 0 || len(bytes.Trim(got[len(want):], "\x00")) > 0 {
			p.t.Errorf("disk %d at point %d differs at %d, or has something behind its %d bytes of then", i, to, at, len(want))
		}
	}
}

// pairThatGrows opens the pair whose disk 0 can grow too, and makes a point.
func pairThatGrows(t *testing.T) *pair {
	p := newPair(t, 21)
	p.live[0] = p.live[0][:3<<20] // whole pages
	p.write(0)
	if _, _, err := p.master.Reprotect(t.Context(), p.plan); err != nil {
		t.Fatal(err)
	}
	p.listed(1)
	p.keep(1)
	return p
}

func (p *pair) grow(i int, by string) {
	p.live[i] = append(bytes.Clone(p.live[i]), bytes.Repeat([]byte(by), 8192)...)
	p.write(i)
}

func TestTargetsGrowWithTheirSources(t *testing.T) {
	t.Parallel()
	p := pairThatGrows(t)
	p.change()
	p.soon()
	p.grow(0, "vmdk has grown..")
	p.grow(1, "raw has grown...")
	after := p.soon()
	p.contents("grown")
	for i := range 2 {
		d, err := blockio.Probe(p.dst(i))
		if err != nil || d.Size != int64(len(p.live[i])) {
			t.Errorf("target %d: %d bytes, want %d; error %v", i, d.Size, len(p.live[i]), err)
		}
	}
	p.change()
	last := p.soon()
	p.contents("changed")
	for range 2 {
		p.standsAt(last)
		p.standsAt(1) // from before they grew: the disks stay as large as they are
		p.standsAt(after)
	}
	p.standsAt(1)
	p.close()
	p.open()
	p.listed(last)
	p.contents("opened again")
	p.standsAt(last)

	// A power failure before the target grew: whoever opens the journal makes it as large.
	p.close()
	was := int64(len(p.live[1]))
	p.grow(0, "and again.......")
	p.grow(1, "and once more...")
	j, err := retention.Open(filepath.Join(p.dir, "ret", "g"), "g")
	if err != nil {
		t.Fatal(err)
	}
	owner, _, _ := j.Owner()
	if err := errors.Join(j.RecordFingerprints(nil), j.Close()); err != nil { // as a session has begun
		t.Fatal(err)
	}
	for i := range 2 {
		if err := retention.Grow(filepath.Join(p.dir, "ret", "g"), "g", owner.ID, replication.DiskNo(i), int64(len(p.live[i]))); err != nil {
			t.Fatal(err)
		}
	}
	flat := strings.TrimSuffix(p.dst(0), ".vmdk") + "-flat.vmdk"
	if err := os.Truncate(flat, int64(len(p.live[0]))); err != nil { // or in the middle of it
		t.Fatal(err)
	}
	if st, err := os.Stat(p.dst(1)); err != nil || st.Size() != was {
		t.Fatalf("the target has %d bytes, want %d as before", st.Size(), was)
	}
	p.open()
	p.soon()
	p.contents("after a power failure")
	p.standsAt(1)
	p.close()
}

func TestSourcesThatCantBeFollowedAreNamed(t *testing.T) {
	t.Parallel()
	p := pairThatGrows(t)
	was := bytes.Clone(p.live[1])
	for what, c := range map[string]struct {
		disk int
		live []byte
		want string
	}{
		"a source that has shrunk": {1, was[:1<<20], "a/two: its source has 1048576 bytes now, the group has it with 2097152: a disk that shrinks"},
		"a sparse target":          {2, append(bytes.Clone(p.live[2]), make([]byte, 4096)...), "b1.vmdk can't grow with it"},
	} {
		keep := p.live[c.disk]
		p.live[c.disk] = c.live
		p.write(c.disk)
		_, err := p.master.Cut(t.Context(), "g", false)
		isProblem(t, what, err, codeResized)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v does not say %q", what, err, c.want)
		}
		p.live[c.disk] = keep
		p.write(c.disk)
	}
	p.soon() // and goes on when it has its size again
	p.contents("as before")
	p.close()
}
