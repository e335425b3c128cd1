package endtoend

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"failback/bench/stand"
	"failback/replication"
	"failback/replication/mastertarget/drill"
)

// needsDrills skips where nothing can be mounted.
func needsDrills(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount")
	}
	if err := drill.Available(); err != nil {
		t.Skip(err)
	}
	if out, err := exec.Command("losetup", "-f").CombinedOutput(); err != nil {
		t.Skipf("no loop devices here: %s", out)
	}
}

// drilled is what failback drill tells.
type drilled struct {
	Group string
	replication.DrillStatus
}

func (w *world) sh(command string, args ...any) (string, error) {
	out, err := exec.CommandContext(w.ctx, "sh", "-c", fmt.Sprintf(command, args...)).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", fmt.Sprintf(command, args...), err, out)
	}
	return strings.TrimSpace(string(out)), err
}

func (w *world) want(command string, args ...any) string {
	w.t.Helper()
	out, err := w.sh(command, args...)
	w.must(err)
	return out
}

// fileSystem makes an ext4 of a source, mounted at the directory that it returns.
func (w *world) fileSystem(d *disk) string {
	w.t.Helper()
	w.want("mkfs.ext4 -qF %s", d.source)
	mnt := filepath.Join(w.Dir, "azure")
	w.want("mkdir %s && mount -o loop %s %s", mnt, d.source, mnt)
	w.t.Cleanup(func() { exec.Command("umount", mnt).Run() })
	return mnt
}

// fsPoint writes files, and takes a point of them.
func (w *world) fsPoint(mnt string, n int) {
	w.t.Helper()
	w.want("dd if=/dev/urandom of=%s/data bs=64k count=40 conv=notrunc seek=%d status=none; echo 'at point %d' > %s/which; sync -f %s", mnt, n*8, n, mnt, mnt)
	point, err := w.Cut(w.ctx, group)
	w.must(err)
	w.listed(point)
}

// TestDrill looks at a file system at a point while cycles arrive and the disks move.
func TestDrill(t *testing.T) {
	needsDrills(t)
	t.Parallel()
	d := &disk{machine: "web", id: "data", format: "vmfs", size: 48 * mib, commands: true}
	w := newWorld(t, stand.Options{}, d)
	azure := w.fileSystem(d)
	w.want("sync -f %s", azure)
	w.protect()
	copied := filepath.Join(w.Dir, "kept.raw")
	w.fsPoint(azure, 2)
	w.want("cp --sparse=always %s %s", d.source, copied)
	w.fsPoint(azure, 3)
	var at [4]drilled
	for n := 2; n <= 3; n++ { // one in a directory that it makes, and one that can be written
		args := []string{"drill", group, fmt.Sprint(n), filepath.Join(w.Dir, fmt.Sprint("drill", n)), "--detach"}
		if n == 3 {
			args = append(args, "--writable", "--scratch-size", "8M", "--scratch", w.Sources)
		}
		w.must(w.Do(w.ctx, &at[n], args...))
	}
	file := func(n int) string { return at[n].Files[0].Path }
	if want := filepath.Join(w.Dir, "drill2", "web-data.raw"); file(2) != want {
		t.Errorf("the file is %s, want %s", file(2), want)
	}
	look := filepath.Join(w.Dir, "look")
	w.want("mkdir %s", look)
	t.Cleanup(func() { exec.Command("umount", look).Run() })
	looks := func(where string) {
		t.Helper()
		w.want("mount -o loop,ro,noload %s %s", file(2), look)
		if got := w.want("cat %s/which", look); got != "at point 2" {
			t.Errorf("%s: the file says %q", where, got)
		}
		w.want("umount %s", look)
		w.same(where, w.read(file(2)), d.kept[2])
	}
	looks("at first")
	w.want("e2fsck -fn %s || test $? -lt 8", file(2)) // it was cut while mounted: its journal is not replayed
	w.want("qemu-img compare -f raw -F raw %s %s", file(2), copied)
	w.fsPoint(azure, 4)
	w.must(w.Do(w.ctx, nil, "rewind", group, "1"))
	looks("after a rewind")
	w.fsPoint(azure, 5)
	w.must(w.Do(w.ctx, nil, "advance", group))
	looks("after an advance")

	// The writable one: its journal is replayed, files are written, and it is clean.
	w.want("mount -o loop %s %s && rm %s/data && echo more > %s/more && umount %s", file(3), look, look, look, look)
	w.want("e2fsck -fn %s", file(3))
	w.want("mount -o loop %s %s", file(3), look)
	if out, err := w.sh("yes | dd of=%s/full bs=1M count=16 iflag=fullblock conv=fsync status=none", look); err == nil {
		t.Errorf("it took more than its bound: %s", out)
	}
	g, err := w.Status(w.ctx, group)
	w.must(err)
	if len(g.Drills) != 2 || g.Drills[1].Scratch.Used == 0 || g.Drills[1].Scratch.Used > 8*mib || g.Drills[0].Errors+g.Drills[1].Errors > 0 {
		t.Errorf("status: %+v", g.Drills)
	}
	w.refused(1, []string{"in use", "/dev/loop"}, "drill", "--end", at[3].Mountpoint)
	w.sh("umount %s", look)
	w.must(w.Do(w.ctx, nil, "drill", "--end", at[3].Mountpoint, "--force"))
	if left, _ := filepath.Glob(filepath.Join(w.Sources, ".failback*")); len(left) > 0 {
		t.Errorf("left in the scratch directory: %v", left)
	}
	w.refused(1, []string{"drill2"}, "unprotect", group, "--yes")
	w.must(w.Do(w.ctx, nil, "drill", "--end", at[2].Mountpoint))
	w.must(w.Do(w.ctx, nil, "drill", "--record", "passed", group, "2", "--note", "mounts"))
	var p struct{ Points []replication.Point }
	w.must(w.Do(w.ctx, &p, "points", group))
	if o := p.Points[1].Drill; o == nil || o.Outcome != replication.DrillPassed || o.Note != "mounts" {
		t.Errorf("the point says %+v", o)
	}
	w.exports() // all points are as they were
	w.shows(w.last)
}

// unmountBelow takes away what a test that failed left mounted.
func unmountBelow(dir string) {
	b, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(b)) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], dir+"/") {
			_ = syscall.Unmount(fields[4], syscall.MNT_DETACH)
		}
	}
}

// mountedAt says whether something is mounted there.
func mountedAt(t *testing.T, dir string) bool {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(b), " "+dir+" ")
}

// TestDrillsEndWithTheMasterTarget by SIGTERM and by kill -9, while a loop device holds on to one; and with the command that holds them.
func TestDrillsEndWithTheMasterTarget(t *testing.T) {
	needsDrills(t)
	t.Parallel()
	d := &disk{machine: "web", id: "data", format: "raw", size: 16 * mib, commands: true}
	w := newWorld(t, stand.Options{}, d)
	w.protect()
	start := func(name string, more ...string) drilled {
		t.Helper()
		var one drilled
		w.must(w.Do(w.ctx, &one, append([]string{"drill", group, "1", filepath.Join(w.Dir, name), "--detach"}, more...)...))
		w.same(name, w.read(one.Files[0].Path), d.kept[1])
		return one
	}
	gone := func(how string, all ...drilled) {
		t.Helper()
		for _, one := range all {
			if mountedAt(t, one.Mountpoint) {
				t.Errorf("after %s %s is still mounted", how, one.Mountpoint)
			}
			if _, err := os.Lstat(one.Mountpoint); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("after %s %s is still there: %v", how, one.Mountpoint, err)
			}
		}
	}
	hold := func(one drilled) string {
		t.Helper()
		loop := w.want("losetup -f --show -r %s", one.Files[0].Path)
		t.Cleanup(func() { exec.Command("losetup", "-d", loop).Run() })
		return loop
	}
	other := filepath.Join(w.Dir, "other") // not ours: it stays
	w.want("mkdir %s && mount -t tmpfs other %s", other, other)
	t.Cleanup(func() { exec.Command("umount", other).Run() })

	one, two := start("one"), start("two", "--writable")
	loop := hold(one)
	w.must(w.StopMasterTarget()) // within seconds, exit code 0
	gone("SIGTERM", one, two)
	w.want("losetup -d %s", loop)

	w.must(w.StartMasterTarget())
	w.open()
	one, two = start("one"), start("two", "--writable")
	loop = hold(two)
	w.must(w.MasterTarget.Kill())
	if !mountedAt(t, one.Mountpoint) {
		t.Error("after kill -9 nothing is left to clean up: this test does not test it")
	}
	w.must(w.StartMasterTarget())
	gone("kill -9 and a start", one, two)
	w.want("losetup -d %s", loop)
	w.must(w.WaitConnected(w.ctx))
	w.open()
	g, err := w.Status(w.ctx, group)
	w.must(err)
	if len(g.Drills) > 0 {
		t.Errorf("status lists %+v", g.Drills)
	}
	if !mountedAt(t, other) {
		t.Error("a mount that is not ours was taken away")
	}

	// --for, and ^C of the command that holds one.
	held := filepath.Join(w.Dir, "held")
	out, said, code := w.CLI(w.ctx, "drill", group, "1", held, "--for", "1s")
	if code != 0 || !strings.Contains(string(said), "its time was over") || !strings.Contains(string(out), "web-data.raw") {
		t.Errorf("--for: exit code %d: %s%s", code, out, said)
	}
	gone("--for", drilled{DrillStatus: replication.DrillStatus{Mountpoint: held}})
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGKILL} {
		cmd := w.Command(w.ctx, "drill", group, "1", held)
		said, err := cmd.StdoutPipe()
		w.must(err)
		w.must(cmd.Start())
		_, err = bufio.NewReader(said).ReadString('\n') // that it is mounted; an interrupt before that ends the command as it ends any
		w.must(err)
		w.must(cmd.Process.Signal(signal))
		err = cmd.Wait()
		if signal == syscall.SIGINT && err != nil {
			t.Errorf("^C: %v", err)
		}
		if signal == syscall.SIGKILL { // the master target finds out by itself
			_, err := w.Wait(w.ctx, group, "it has ended", func(g replication.GroupStatus) bool { return len(g.Drills) == 0 })
			w.must(err)
		}
		gone(signal.String(), drilled{DrillStatus: replication.DrillStatus{Mountpoint: held}})
	}
	w.cut()
	w.shows(w.last)
}
