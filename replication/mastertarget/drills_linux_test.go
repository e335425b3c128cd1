package mastertarget

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"failback/replication"
	"failback/replication/mastertarget/drill"
	"failback/retention"
	"failback/retention/policy"
)

func needsDrills(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount")
	}
	if err := drill.Available(); err != nil {
		t.Skip(err)
	}
}

// drilledPair is a pair with some points.
func drilledPair(t *testing.T, seed uint64, points int) *pair {
	p := newPair(t, seed)
	t.Cleanup(func() { // a test that failed leaves nothing mounted
		p.master.drills.end()
		p.master.drills.wg.Wait()
	})
	if _, _, err := p.master.Reprotect(t.Context(), p.plan); err != nil {
		t.Fatal(err)
	}
	p.listed(1)
	p.keep(1)
	for range points - 1 {
		p.point()
	}
	return p
}

// point makes a point.
func (p *pair) point() {
	p.t.Helper()
	p.change()
	id, err := p.master.Cut(context.Background(), "g", false)
	if err != nil {
		p.t.Fatal(err)
	}
	p.keep(id)
	p.listed(id)
}

// drill starts a detached drill.
func (p *pair) drill(r replication.DrillRequest) replication.DrillStatus {
	p.t.Helper()
	r.Detach = true
	var d replication.DrillStatus
	if _, err := p.master.Drill(context.Background(), "g", r, func(s replication.DrillStatus) { d = s }); err != nil {
		p.t.Fatal(err)
	}
	return d
}

// shows compares a drill's files with what was kept of its point.
func (p *pair) shows(d replication.DrillStatus, want [][]byte, where string) {
	p.t.Helper()
	for i, f := range d.Files {
		got, err := exec.Command("dd", "if="+f.Path, "bs=128k", "iflag=direct", "status=none").Output() // past the kernel's cache
		if err != nil {
			p.t.Errorf("%s: read %s: %v", where, f.Path, err)
		} else if at := differs(got, want[i]); at >= 0 {
			p.t.Errorf("%s: %s of point %d differs at %d", where, f.Path, d.Point, at)
		}
	}
}

// TestDrillsWhileAllMoves reads several points at once while cycles arrive, the disks move, and the group is opened anew.
func TestDrillsWhileAllMoves(t *testing.T) {
	t.Parallel()
	needsDrills(t)
	p := drilledPair(t, 3, 4)
	mnt := t.TempDir()
	var all []replication.DrillStatus
	for id := replication.PointID(1); id <= 4; id++ {
		all = append(all, p.drill(replication.DrillRequest{Point: id, Mountpoint: filepath.Join(mnt, fmt.Sprint(id)), Writable: id%2 == 0, ScratchSize: 1 << 20}))
	}
	if got := all[2].Files[2]; got != (replication.DrillFile{Disk: "b/one", Path: filepath.Join(mnt, "3", "b-one.raw"), Size: p.sizes[2]}) {
		t.Errorf("got %+v", got)
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for _, d := range all {
		want := p.kept[d.Point]
		readers.Go(func() {
			for n := 0; ; n++ {
				p.shows(d, want, fmt.Sprintf("read %d", n))
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for range 3 {
		p.point()
		p.move()
		g, err := p.master.group("g")
		if err != nil {
			t.Fatal(err)
		}
		p.master.reopen(g) // as after a failed sync
		p.listed(1)        // a program being started here may still have the lock of a disk for a moment
		p.move()
	}
	close(stop)
	readers.Wait()
	s, err := p.master.Status(t.Context(), "g")
	if err != nil || len(s.Groups[0].Drills) != 4 || s.Groups[0].Drills[0].Errors != 0 {
		t.Errorf("status: %+v, %v", s.Groups[0].Drills, err)
	}
	if _, _, err := p.master.Unprotect(t.Context(), "g", false, false); problemCode(err) != "drill-running" {
		t.Errorf("unprotect: %v", err)
	}
	g, err := p.master.group("g")
	if err != nil {
		t.Fatal(err)
	}
	err = g.whileDrills(func(inUse func(replication.PointID) bool) error {
		if !inUse(1) || !inUse(4) || inUse(5) {
			t.Error("the points in use are not those of the drills")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if used := g.pointsInUse(); used[1] != policy.Drill || used[4] != policy.Drill {
		t.Errorf("points in use: %v", used)
	}
	if err := g.drop([]replication.PointID{2}, "a test"); !errors.Is(err, retention.ErrInUse) {
		t.Errorf("a point that a drill shows was dropped: %v", err)
	}
	if _, last, err := p.master.EndDrill(t.Context(), all[0].Mountpoint, false); err != nil || last.Point != 1 {
		t.Errorf("end: %+v, %v", last, err)
	}
	if _, _, err := p.master.EndDrill(t.Context(), all[0].Mountpoint, false); problemCode(err) != "no-such-drill" {
		t.Errorf("end again: %v", err)
	}
	if _, err := os.Lstat(all[0].Mountpoint); !os.IsNotExist(err) {
		t.Errorf("the mount point that was made is still there: %v", err)
	}
	p.close() // ends the others
	for _, d := range all {
		if _, err := os.Lstat(d.Mountpoint); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", d.Mountpoint, err)
		}
	}
	if len(g.lent.all) != 0 {
		t.Errorf("%d disks are still lent", len(g.lent.all))
	}
}

// TestDrillOfAPointBeforeADisk has the disks that the point has, and says which it has not.
func TestDrillOfAPointBeforeADisk(t *testing.T) {
	t.Parallel()
	needsDrills(t)
	p := drilledPair(t, 6, 2)
	defer p.close()
	text := p.joins()
	if _, err := p.master.Apply(t.Context(), replication.ApplyRequest{Plan: text}); err != nil {
		t.Fatal(err)
	}
	born := p.another()
	p.move()
	mnt := t.TempDir()
	for _, c := range []struct {
		point   replication.PointID
		files   int
		without []replication.UnbornDisk
	}{{2, 3, []replication.UnbornDisk{{Disk: "a/new", Joined: born}}}, {born, 4, nil}} {
		d := p.drill(replication.DrillRequest{Point: c.point, Mountpoint: filepath.Join(mnt, fmt.Sprint(c.point)), Writable: true, ScratchSize: 1 << 20})
		if len(d.Files) != c.files || !slices.Equal(d.Without, c.without) {
			t.Errorf("point %d: %+v, without %+v", c.point, d.Files, d.Without)
		}
		p.shows(d, p.kept[c.point], "drill")
		p.another()
		p.shows(d, p.kept[c.point], "with another point")
	}
}

// TestDrillEnds by time, with its holder, and by unmounting.
func TestDrillEnds(t *testing.T) {
	needsDrills(t)
	p := drilledPair(t, 1, 1)
	defer p.close()
	start := func(ctx context.Context, r replication.DrillRequest, started func(replication.DrillStatus)) string {
		t.Helper()
		r.Point, r.Mountpoint = 1, filepath.Join(t.TempDir(), "mnt")
		why, err := p.master.Drill(ctx, "g", r, started)
		if err != nil {
			t.Fatal(err)
		}
		if s, _ := p.master.Status(t.Context(), "g"); len(s.Groups[0].Drills) != 0 {
			t.Errorf("%s, and it is still listed", why)
		}
		if _, err := os.Lstat(r.Mountpoint); !os.IsNotExist(err) {
			t.Errorf("%s, and the mount point is still there", why)
		}
		return why
	}
	if why := start(t.Context(), replication.DrillRequest{For: 300 * time.Millisecond}, func(replication.DrillStatus) {}); why != "its time was over" {
		t.Error(why)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if why := start(ctx, replication.DrillRequest{}, func(replication.DrillStatus) { cancel() }); why != "the command that held it ended" {
		t.Error(why)
	}
	if why := start(t.Context(), replication.DrillRequest{}, func(d replication.DrillStatus) {
		if out, err := exec.Command("umount", d.Mountpoint).CombinedOutput(); err != nil {
			t.Errorf("%s", out)
		}
	}); why != "it was unmounted" {
		t.Error(why)
	}
}

func TestDrillRefused(t *testing.T) {
	needsDrills(t)
	p := drilledPair(t, 1, 1)
	defer p.close()
	mnt := t.TempDir()
	first := p.drill(replication.DrillRequest{Point: 1, Mountpoint: filepath.Join(mnt, "d")})
	if err := os.Symlink(p.dir, filepath.Join(mnt, "link")); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		group string
		r     replication.DrillRequest
		code  string
	}{
		"group":            {"other", replication.DrillRequest{Point: 1, Mountpoint: mnt + "/x"}, "no-such-group"},
		"point":            {"g", replication.DrillRequest{Point: 9, Mountpoint: mnt + "/x"}, "no-such-point"},
		"relative":         {"g", replication.DrillRequest{Point: 1, Mountpoint: "x"}, "mountpoint"},
		"taken":            {"g", replication.DrillRequest{Point: 1, Mountpoint: first.Mountpoint}, "mountpoint"},
		"not empty":        {"g", replication.DrillRequest{Point: 1, Mountpoint: mnt}, "mountpoint"},
		"no parent":        {"g", replication.DrillRequest{Point: 1, Mountpoint: mnt + "/x/y"}, "mountpoint"},
		"on retention":     {"g", replication.DrillRequest{Point: 1, Mountpoint: p.dir + "/ret/x"}, "mountpoint"},
		"over retention":   {"g", replication.DrillRequest{Point: 1, Mountpoint: p.dir}, "mountpoint"},
		"by a link":        {"g", replication.DrillRequest{Point: 1, Mountpoint: mnt + "/link/mt/x"}, "mountpoint"},
		"scratch":          {"g", replication.DrillRequest{Point: 1, Mountpoint: mnt + "/x", Writable: true, Scratch: mnt + "/link/ret"}, "scratch"},
		"scratch missing":  {"g", replication.DrillRequest{Point: 1, Mountpoint: mnt + "/x", Writable: true, Scratch: mnt + "/none"}, "scratch"},
		"scratch too much": {"g", replication.DrillRequest{Point: 1, Mountpoint: mnt + "/x", Writable: true, ScratchSize: 1 << 60}, "scratch"},
	} {
		_, err := p.master.Drill(t.Context(), replication.GroupID(c.group), c.r, func(replication.DrillStatus) { t.Errorf("%s: it started", name) })
		if got := problemCode(err); got != c.code {
			t.Errorf("%s: got %s (%v), want %s", name, got, err, c.code)
		}
		if _, err := os.Lstat(mnt + "/x"); !os.IsNotExist(err) {
			t.Errorf("%s: the mount point was left", name)
		}
	}
	f, err := os.Open(first.Files[0].Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, _, err := p.master.EndDrill(t.Context(), first.Mountpoint, false); problemCode(err) != "drill-in-use" || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Errorf("end while in use: %v", err)
	}
	p.shows(first, p.kept[1], "after a refused end")
	if _, _, err := p.master.EndDrill(t.Context(), first.Mountpoint, true); err != nil {
		t.Error(err)
	}
	if _, err := p.master.RecordDrill(t.Context(), "g", 9, replication.DrillPassed, ""); problemCode(err) != "no-such-point" {
		t.Errorf("record: %v", err)
	}
	if _, err := p.master.RecordDrill(t.Context(), "g", 1, "well", ""); problemCode(err) != "drill-outcome" {
		t.Errorf("record: %v", err)
	}
	d, err := p.master.RecordDrill(t.Context(), "g", 1, replication.DrillPassed, "boots")
	if err != nil {
		t.Fatal(err)
	}
	if _, points, err := p.master.Points(t.Context(), "g"); err != nil || points[0].Drill == nil || *points[0].Drill != d || d.Note != "boots" {
		t.Errorf("points: %+v, %v", points, err)
	}
}

// TestDrillMeetsDamage flips a bit in a segment: what it hits is an error, and told; the rest is served.
func TestDrillMeetsDamage(t *testing.T) {
	needsDrills(t)
	p := drilledPair(t, 1, 1)
	defer p.close()
	for i := range 8192 { // which does not compress
		p.live[0][4096+i] = byte(p.r.Uint32())
	}
	p.write(0)
	id, err := p.master.Cut(t.Context(), "g", false)
	if err != nil {
		t.Fatal(err)
	}
	p.keep(id)
	p.listed(id)
	if _, err := p.master.Move(t.Context(), "g", replication.MoveRequest{To: 1}, func(replication.MoveStatus) {}); err != nil { // else the disks have it too
		t.Fatal(err)
	}
	segments, _ := filepath.Glob(filepath.Join(p.dir, "ret", "g", "seg", fmt.Sprintf("%d-*.seg", id)))
	if len(segments) == 0 {
		t.Fatal("no segment")
	}
	hit := false
	for _, name := range segments {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		at := bytes.Index(b, p.live[0][4096+1000:4096+1032])
		if at < 0 {
			continue
		}
		hit = true
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte{b[at] ^ 0x10}, int64(at)); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	if !hit {
		t.Fatal("the bytes are not in the segments")
	}
	d := p.drill(replication.DrillRequest{Point: id, Mountpoint: filepath.Join(t.TempDir(), "mnt")})
	out, err := exec.Command("dd", "if="+d.Files[0].Path, "of=/dev/null", "bs=4k", "count=1", "skip=1", "iflag=direct").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "Input/output error") {
		t.Errorf("damage was served: %s", out)
	}
	s, err := p.master.Status(t.Context(), "g")
	if err != nil || len(s.Groups[0].Drills) != 1 || s.Groups[0].Drills[0].Errors == 0 || !strings.Contains(s.Groups[0].Drills[0].LastError, fmt.Sprintf("/seg/%d-", id)) {
		t.Errorf("status: %+v, %v, want the damaged file named", s.Groups[0].Drills, err)
	}
	got, err := exec.Command("dd", "if="+d.Files[0].Path, "bs=4k", "count=1", "iflag=direct", "status=none").Output()
	if err != nil || !bytes.Equal(got, p.kept[id][0][:4096]) {
		t.Errorf("what is not damaged: %v", err)
	}
}

// TestDrillWhileADiskLeaves: the others are numbered anew, and each file goes on to show its disk, that of the one that left too; what is drilled later says what it lacks.
func TestDrillWhileADiskLeaves(t *testing.T) {
	t.Parallel()
	needsDrills(t)
	p := drilledPair(t, 7, 2)
	defer p.close()
	all := slices.Clone(p.kept[2])
	mnt := t.TempDir()
	d := p.drill(replication.DrillRequest{Point: 2, Mountpoint: filepath.Join(mnt, "before")})
	if _, err := p.master.Apply(t.Context(), replication.ApplyRequest{Plan: p.withoutDisk(0)}); err != nil {
		t.Fatal(err)
	}
	gone := p.leaves(0)
	p.shows(d, all, "left")
	p.point()
	p.move()
	p.shows(d, all, "moved")
	late := p.drill(replication.DrillRequest{Point: 2, Mountpoint: filepath.Join(mnt, "late")})
	if len(late.Files) != 3 || late.Without != nil || late.Files[2].Disk != "a/one" {
		t.Errorf("a point that has the disk: %+v", late)
	}
	p.shows(late, append(slices.Clone(p.kept[2]), gone.kept[2]), "drilled late")
	after := p.drill(replication.DrillRequest{Point: 3, Mountpoint: filepath.Join(mnt, "after")})
	if len(after.Files) != 2 || !slices.Equal(after.Without, []replication.UnbornDisk{{Disk: "a/one", Left: 2}}) {
		t.Errorf("a point after: %+v", after)
	}
	p.shows(after, p.kept[3], "after")
	if err := os.Remove(gone.target); err != nil {
		t.Fatal(err)
	}
	poorer := p.drill(replication.DrillRequest{Point: 2, Mountpoint: filepath.Join(mnt, "poorer")})
	if len(poorer.Files) != 2 || !slices.Equal(poorer.Without, []replication.UnbornDisk{{Disk: "a/one", Left: 2}}) {
		t.Errorf("a point that has the disk, whose target is gone: %+v", poorer)
	}
	p.shows(poorer, p.kept[2], "without the target")
}
