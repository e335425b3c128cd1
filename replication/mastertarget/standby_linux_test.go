package mastertarget

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"failback/replication"
)

// smallVolumes mounts a small file system of a kind over a pair's datastore and one over its retention volume.
func (p *pair) smallVolumes(kind string) {
	p.t.Helper()
	for _, d := range []string{"ds", "ret"} {
		dir, image := filepath.Join(p.dir, d), filepath.Join(p.t.TempDir(), "image")
		if err := os.WriteFile(image, nil, 0o600); err != nil {
			p.t.Fatal(err)
		}
		size, force := int64(64<<20), "-F"
		if kind == "xfs" {
			size, force = 300<<20, "-f"
		}
		if err := os.Truncate(image, size); err != nil {
			p.t.Fatal(err)
		}
		p.run("mkfs."+kind, "-q", force, image)
		if out, err := exec.Command("mount", "-o", "loop", image, dir).CombinedOutput(); err != nil {
			p.t.Skipf("mount: %v: %s", err, out)
		}
		p.t.Cleanup(func() {
			var out []byte
			var err error
			for range 150 { // what a drill, or a program that was just begun, has open goes with it
				if out, err = exec.Command("umount", dir).CombinedOutput(); err == nil {
					return
				}
				time.Sleep(200 * time.Millisecond)
			}
			p.t.Errorf("umount %s: %s", dir, out)
			_ = syscall.Unmount(dir, syscall.MNT_DETACH)
		})
	}
}

// fillUp leaves no space on a volume, and returns what gives it back.
func fillUp(t *testing.T, dir string) (empty func()) {
	t.Helper()
	name := filepath.Join(dir, "filler")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	for n := 4 << 20; n >= 512; n /= 2 {
		for err = nil; err == nil; {
			if _, err = f.Write(make([]byte, n)); err == nil {
				err = f.Sync()
			}
		}
	}
	f.Close()
	for i := 0; ; i++ { // and no inode
		if err := os.WriteFile(filepath.Join(dir, "filler."+strings.Repeat("x", i%200)+time.Now().Format("150405.000000000")), []byte("x"), 0o600); err != nil || i > 100_000 {
			break
		}
	}
	return func() {
		all, _ := filepath.Glob(filepath.Join(dir, "filler*"))
		for _, n := range all {
			os.Remove(n)
		}
	}
}

// TestGroupIsShownWhereNothingCanBeWritten starts a master target on a datastore or a retention volume that is full, or read-only: whatever it can't do, points are listed, exported and drilled, from
// before until after there is space again, and then the group goes on by itself.
func TestGroupIsShownWhereNothingCanBeWritten(t *testing.T) {
	needsDrills(t)
	readOnly := func(d string) func(*testing.T, *pair) func() {
		return func(t *testing.T, p *pair) func() {
			p.run("mount", "-o", "remount,ro", filepath.Join(p.dir, d))
			return func() { p.run("mount", "-o", "remount,rw", filepath.Join(p.dir, d)) }
		}
	}
	full := func(d string) func(*testing.T, *pair) func() {
		return func(t *testing.T, p *pair) func() { return fillUp(t, filepath.Join(p.dir, d)) }
	}
	for _, kind := range []string{"ext4", "xfs"} {
		for _, c := range []struct {
			name, code string // code: of the problem that status tells; "": it may be open nevertheless
			spoil      func(t *testing.T, p *pair) (mend func())
		}{
			{"DatastoreFull", "", full("ds")},
			{"DatastoreReadOnly", "target", readOnly("ds")},
			{"RetentionFull", "", full("ret")},
			{"RetentionReadOnly", "volume-read-only", readOnly("ret")},
		} {
			t.Run(kind+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				p := newPairWith(t, 21, Config{retry: 20 * time.Millisecond})
				p.close()
				p.smallVolumes(kind)
				p.open()
				t.Cleanup(func() { // before the volumes go
					if p.worker != nil {
						p.close()
					}
				})
				if _, _, err := p.master.Reprotect(t.Context(), p.plan); err != nil {
					t.Fatal(err)
				}
				p.listed(1)
				p.keep(1)
				p.point()
				p.point()
				for id := range p.kept { // a full volume gives up what nobody wants to keep
					if _, err := p.master.Pin(t.Context(), "g", replication.Pin{Point: id}); err != nil {
						t.Fatal(err)
					}
				}
				if _, err := p.master.Move(t.Context(), "g", replication.MoveRequest{To: 2}, func(replication.MoveStatus) {}); err != nil {
					t.Fatal(err)
				}
				p.close()
				mend := c.spoil(t, p)
				p.open()
				g, err := p.master.group("g")
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if err := p.master.wait(ctx, func() bool { return g.isReady() == nil || g.isShown() }); err != nil {
					t.Fatalf("it is neither open nor shown: %+v", g.status())
				}
				wasOpen := g.isReady() == nil
				head, points, err := p.master.Points(ctx, "g")
				if err != nil || len(points) != 3 || head != 2 {
					t.Fatalf("points: head %d, %+v, %v", head, points, err)
				}
				p.contents("while nothing can be written")
				d := p.drill(replication.DrillRequest{Point: 1, Mountpoint: filepath.Join(t.TempDir(), "drill")})
				p.shows(d, p.kept[1], "while nothing can be written")
				switch s := g.status(); {
				case wasOpen && c.code != "":
					t.Errorf("it is open: %+v", s)
				case wasOpen:
				case s.State != replication.StateError || s.Problem == nil || c.code != "" && s.Problem.Code != c.code || s.Head != 2 || s.Last != 3 || s.WaitsFor == "" ||
					!slices.ContainsFunc(s.Notices, func(n string) bool { return strings.Contains(n, "all points can be read") }):
					t.Errorf("status: %+v, problem %+v", s, s.Problem)
				}
				if !wasOpen {
					if _, err := p.master.Move(ctx, "g", replication.MoveRequest{To: 1}, func(replication.MoveStatus) {}); err == nil {
						t.Error("the disks moved")
					}
				}
				t.Logf("open: %v, %v", wasOpen, g.isReady())

				stop, done := make(chan struct{}), sync.WaitGroup{}
				done.Go(func() { // readers see nothing of it
					for {
						select {
						case <-stop:
							return
						default:
							p.shows(d, p.kept[1], "while space comes back")
						}
					}
				})
				mend()
				if err := p.master.wait(ctx, func() bool { return g.isReady() == nil }); err != nil {
					t.Errorf("it does not go on by itself: %+v", g.status())
				}
				close(stop)
				done.Wait()
				if _, err := p.master.Move(ctx, "g", replication.MoveRequest{To: 3, Advance: true}, func(replication.MoveStatus) {}); err != nil {
					t.Errorf("advance: %v", err)
				}
				p.point()
				p.contents("afterwards")
				p.shows(d, p.kept[1], "afterwards")
				if _, _, err := p.master.EndDrill(ctx, d.Mountpoint, false); err != nil {
					t.Error(err)
				}
				p.close()
			})
		}
	}
}
