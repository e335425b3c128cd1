package endtoend

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"failback/bench/stand"
	"failback/replication"
	"failback/transport"
)

// newVolume mounts a file system of its own, and returns where.
func newVolume(t *testing.T, size int64) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("loop devices are root's")
	}
	dir, err := os.MkdirTemp("", "failback-volume-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	image, volume := filepath.Join(dir, "image"), filepath.Join(dir, "volume")
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(size), f.Close(), os.Mkdir(volume, 0o700)); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"mkfs.ext4", "-q", "-m", "0", image}, {"mount", "-o", "loop", image, volume}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Skipf("%v: %s", args, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", volume).CombinedOutput(); err != nil {
			t.Errorf("umount: %s", out)
		}
	})
	return volume
}

// TestFullVolumeIsToldAsSuch has the retention volume fill up in the middle of a cycle: status tells that, and never that somebody can't be reached or was too slow; the connection stays. When there is space
// again, the cycle goes on by itself.
func TestFullVolumeIsToldAsSuch(t *testing.T) {
	t.Parallel()
	volume := newVolume(t, 384*mib)
	d := &disk{machine: "m", id: "d", format: "raw", size: 96 * mib, commands: true}
	w := newWorld(t, stand.Options{Retention: filepath.Join(volume, "retention")}, d)
	w.write(d, 0, d.size)
	w.must(w.Do(w.ctx, nil, "reprotect", w.plan()))
	w.listed(1)

	filler, err := os.Create(filepath.Join(volume, "filler"))
	w.must(err)
	b := make([]byte, mib)
	for range 300 {
		if _, err = filler.Write(b); err != nil {
			break
		}
	}
	w.must(filler.Close())
	w.write(d, 0, d.size)
	ps := w.logged(w.ProcessServer)
	point, err := w.Cut(w.ctx, group)
	w.must(err)
	told, err := w.Wait(w.ctx, group, "a problem is told", func(s replication.GroupStatus) bool { return s.Problem != nil })
	w.must(err)
	if told.Problem.Code != "retention-full" || told.Problem.Remedy == "" {
		t.Errorf("got %+v", told.Problem)
	}
	for range 20 { // it stays told, and is nothing else in between
		time.Sleep(100 * time.Millisecond)
		s, err := w.Status(w.ctx, group)
		w.must(err)
		if s.Problem != nil && s.Problem.Code != "retention-full" {
			t.Errorf("then %+v", s.Problem)
		}
	}
	said, err := os.ReadFile(w.ProcessServer.Log)
	w.must(err)
	for _, wrong := range []string{"no connection", transport.CodeUnreachable, "lane broke", "deadline"} {
		if strings.Contains(string(said[ps:]), wrong) {
			t.Errorf("the process server says %q", wrong)
		}
	}
	w.must(os.Remove(filler.Name()))
	w.listed(point)
	w.shows(point)
}

// What may be under way to a disk that takes nothing: eight lanes' windows, and a few frames for each lane and each worker; and how much memory either daemon may have then.
const (
	frozenLanes = 8
	frozenAhead = frozenLanes*(16+4)*mib + 16*mib
	frozenRSS   = 256 * mib
)

// TestFrozenDiskHoldsTheSourceBack freezes the file system of the target in the middle of a copy: the source is read no further than the lanes' windows let it, neither daemon's memory grows beyond its
// bound, the connection stays; and when the disk takes more, the copy is finished, and right.
func TestFrozenDiskHoldsTheSourceBack(t *testing.T) {
	t.Parallel()
	volume := newVolume(t, 384*mib)
	if _, err := exec.LookPath("fsfreeze"); err != nil {
		t.Skip("fsfreeze is not there (util-linux)")
	}
	d := &disk{machine: "m", id: "d", format: "raw", size: 256 * mib}
	w := newWorld(t, stand.Options{Targets: filepath.Join(volume, "targets"), ProcessServerFlags: []string{fmt.Sprintf("--lanes=%d", frozenLanes), "--repeats=false"}}, d)
	w.write(d, 0, d.size)
	w.must(w.Do(w.ctx, nil, "reprotect", w.plan()))
	read := func() int64 {
		s, err := w.Status(w.ctx, group)
		w.must(err)
		if len(s.Disks) == 0 {
			return 0
		}
		return s.Disks[0].Ledger.Read
	}
	var fi syscall.Stat_t
	for fi.Blocks*512 < 8*mib { // status tells a second late: by then it may be over
		w.must(w.ctx.Err())
		_ = syscall.Stat(d.target, &fi)
		time.Sleep(2 * time.Millisecond)
	}
	w.want("fsfreeze -f %s", volume)
	frozen := true
	defer func() {
		if frozen {
			exec.Command("fsfreeze", "-u", volume).Run()
		}
	}()
	time.Sleep(1500 * time.Millisecond) // what was told is a second old
	last, since := read(), time.Now()
	for time.Since(since) < 3*time.Second {
		time.Sleep(200 * time.Millisecond)
		if n := read(); n != last {
			last, since = n, time.Now()
		}
	}
	if last == d.size {
		t.Fatal("the copy was over before the disk was frozen")
	}
	for _, one := range []*stand.Daemon{w.MasterTarget, w.ProcessServer} {
		rss := one.Usage().PeakRSS
		t.Logf("%s: %d MiB at most", one.Program, rss/mib)
		if rss > frozenRSS && len(buildFlags) == 0 {
			t.Errorf("%s has %d MiB, at most %d are to be", one.Program, rss/mib, frozenRSS/mib)
		}
	}
	w.must(syscall.Stat(d.target, &fi))
	took := fi.Blocks * 512 // what is in memory for the disk is counted
	t.Logf("read %d MiB, of which the disk took %d", last/mib, took/mib)
	if last-took > frozenAhead {
		t.Errorf("read ahead by %d MiB, at most %d may be under way", (last-took)/mib, frozenAhead/mib)
	}
	w.must(w.WaitConnected(w.ctx))
	w.want("fsfreeze -u %s", volume)
	frozen = false
	w.listed(1)
	w.shows(1)
	said, err := os.ReadFile(w.ProcessServer.Log)
	w.must(err)
	if strings.Contains(string(said), "lane broke") {
		t.Error("a lane was given up, although all that it did was wait for a disk")
	}
}
