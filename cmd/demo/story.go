package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"failback/bench/stand"
	"failback/replication"
	"failback/replication/mastertarget/drill"
)

// demo is one run.
type demo struct {
	config
	dir   string
	out   io.Writer
	begin time.Time
	stand *stand.Stand

	disks    []*disk
	loop     bool   // file systems of ours are changed by mounting them
	mounted  string // where one is mounted just now
	bigThere bool   // the big file is on the disk, where debugfs writes
	round    int
	last     replication.PointID // listed
	proofs   []proof
	cycles   []cycle
}

const (
	group   = "demo"
	patient = 2 * time.Minute // for what takes seconds
)

// story is what happens.
func (d *demo) story(ctx context.Context) error {
	d.choose()
	for _, chapter := range []struct {
		title string
		tell  func(context.Context) error
	}{
		{"Two machines, in Azure, with their disks", d.machines},
		{"Process server and master target", d.daemons},
		{"Reprotect: the first point is made by comparing both sides", d.baseline},
		{"The machines go on working; points are taken", d.ordinary},
		{"The process server is killed in the middle of a cycle", d.killProcessServer},
		{"The master target is killed in the middle of a cycle", d.killMasterTarget},
		{"More points, and a verification against the source", d.verified},
		{"Rewind", d.rewinds},
		{"Look at a point without moving the disks", d.exported},
		{"A drill: the disks of a point as files, while replication goes on", d.drilled},
		{"Forward again", d.advances},
		{"The end of protection", d.unprotected},
	} {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		fmt.Fprintf(d.out, "\n%s\n", chapter.title)
		if err := chapter.tell(ctx); err != nil {
			return fmt.Errorf("%s: %w", chapter.title, err)
		}
	}
	d.table()
	return nil
}

func (d *demo) machines(ctx context.Context) error {
	d.say("work directory %s", d.dir)
	if err := d.makeDisks(ctx); err != nil {
		return err
	}
	if len(d.config.disks) == 0 {
		d.loop = d.canMount(ctx)
		how := "by debugfs, which needs no root"
		if d.loop {
			how = "by mounting them"
		}
		d.say("between points their files are written and removed %s", how)
	}
	return nil
}

// canMount finds out whether this user, on this machine, can mount an image.
func (d *demo) canMount(ctx context.Context) bool {
	if os.Geteuid() != 0 {
		return false
	}
	mnt := filepath.Join(d.dir, "mnt")
	if os.MkdirAll(mnt, 0o755) != nil {
		return false
	}
	if _, err := command(ctx, "mount", "-o", "loop", d.disks[0].source, mnt); err != nil {
		return false
	}
	_, err := command(context.WithoutCancel(ctx), "umount", mnt)
	if err != nil {
		d.mounted = mnt
	}
	return err == nil
}

func (d *demo) daemons(ctx context.Context) error {
	if err := d.stand.Start(ctx); err != nil {
		return err
	}
	d.say("both run, and know each other by certificates of one `failback pki init` (TLS 1.3)")
	path, err := d.plan(ctx)
	if err != nil {
		return err
	}
	var checked struct {
		Findings []replication.Finding
		OK       bool
	}
	if err := d.stand.Do(ctx, &checked, "check", path); err != nil {
		return err
	}
	d.say("`failback check` of the plan: nothing stands in the way; no byte has moved")
	for _, f := range checked.Findings {
		d.say("  %s: %s", f.Severity, f.Message)
	}
	return nil
}

// plan writes the plan, with the commands by which views of the sources are made and changes are told.
func (d *demo) plan(ctx context.Context) (string, error) {
	views, records := filepath.Join(d.dir, "snapshots"), filepath.Join(d.dir, "records")
	for _, dir := range []string{views, records, filepath.Join(d.dir, "kept")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return "", err
		}
	}
	reflink := d.canReflink(ctx)
	p := stand.Plan{Group: group}
	for _, one := range d.disks {
		if len(p.Machines) == 0 || p.Machines[len(p.Machines)-1].Name != one.machine {
			p.Machines = append(p.Machines, stand.Machine{Name: one.machine})
		}
		m := &p.Machines[len(p.Machines)-1]
		entry := stand.Disk{ID: one.id, Source: one.source, Target: one.target, Format: one.format}
		view, found := "a reflink clone", "by hashing"
		if one.commands || !reflink {
			view = "the plan's snapshot command"
			file := filepath.Join(views, one.machine+"-"+one.id)
			entry.Snapshot = fmt.Sprintf(`v='%s'.$FAILBACK_POINT && cp --reflink=auto --sparse=always "$FAILBACK_SOURCE" "$v" && echo "$v"`, file)
			entry.Release = `rm -f "$FAILBACK_VIEW"`
		}
		if one.record {
			found = "from the storage's own record, by the plan's changes command"
			entry.Changes = fmt.Sprintf(`cat '%s'.$FAILBACK_FROM-$FAILBACK_TO`, filepath.Join(records, one.machine+"-"+one.id))
		}
		m.Disks = append(m.Disks, entry)
		d.say("%s comes home to a %s VMDK; held still by %s, changes found %s", one.name(), one.format, view, found)
	}
	return d.stand.WritePlan(p)
}

func (d *demo) canReflink(ctx context.Context) bool {
	to := filepath.Join(d.stand.Sources, "reflink-test")
	defer os.Remove(to)
	_, err := command(ctx, "cp", "--reflink=always", filepath.Join(d.stand.PKI, "ca.crt"), to)
	return err == nil
}

func (d *demo) baseline(ctx context.Context) error {
	start := time.Now()
	cmd := d.stand.Command(ctx, "reprotect", filepath.Join(d.stand.Dir, group+".yaml"), "--wait")
	cmd.Stdout, cmd.Stderr = d.out, os.Stderr // its progress bars
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("failback reprotect --wait: %w", err)
	}
	if err := d.listed(ctx, 1, start); err != nil {
		return err
	}
	return d.prove(ctx, 1)
}

func (d *demo) ordinary(ctx context.Context) error {
	if err := d.point(ctx); err != nil {
		return err
	}
	if err := d.stand.WaitHead(ctx, group, d.last, patient); err != nil {
		return err
	}
	return d.prove(ctx, d.last)
}

// point lets the machines work, and takes a point.
func (d *demo) point(ctx context.Context) error {
	point, start, err := d.cut(ctx, 0)
	if err != nil {
		return err
	}
	if err := d.stand.WaitListed(ctx, group, point, patient); err != nil {
		return err
	}
	return d.listed(ctx, point, start)
}

// cut changes the sources, notes what changed, and cuts; it does not wait until the point is listed.
func (d *demo) cut(ctx context.Context, big int64) (point replication.PointID, start time.Time, err error) {
	if err := d.change(ctx, big); err != nil {
		return 0, start, err
	}
	for _, one := range d.disks {
		if !one.record {
			continue
		}
		told, err := ranges(d.kept(one, d.last), one.source)
		if err != nil {
			return 0, start, fmt.Errorf("record what changed on %s: %w", one.name(), err)
		}
		name := fmt.Sprintf("%s-%s.%d-%d", one.machine, one.id, d.last, d.last+1)
		if err := os.WriteFile(filepath.Join(d.dir, "records", name), told, 0o644); err != nil {
			return 0, start, err
		}
	}
	start = time.Now()
	if point, err = d.stand.Cut(ctx, group); err == nil && point != d.last+1 {
		err = fmt.Errorf("failback cut told point %d after point %d", point, d.last)
	}
	return point, start, err
}

// listed keeps copies of the sources as they are at a point that was just listed, and notes what it took.
func (d *demo) listed(ctx context.Context, point replication.PointID, start time.Time) error {
	took := time.Since(start)
	g, err := d.stand.Status(ctx, group)
	if err != nil {
		return err
	}
	c := cycle{point: point, took: took}
	for _, one := range g.Disks {
		c.read, c.raw, c.sent = c.read+one.Ledger.Read, c.raw+one.Ledger.Raw, c.sent+one.Ledger.Payload
	}
	points, err := d.stand.Points(ctx, group)
	if err != nil {
		return err
	}
	for _, p := range points.Points {
		if p.Point == point {
			c.changed = p.Bytes
		}
	}
	d.cycles = append(d.cycles, c)
	for _, one := range d.disks {
		to := d.kept(one, point)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if _, err := command(ctx, "cp", "--reflink=auto", "--sparse=always", one.source, to); err != nil {
			return err
		}
	}
	d.last = point
	if point == 1 {
		d.say("point 1 is listed: %s looked at, %s sent as %s", size(c.changed), size(c.raw), size(c.sent))
	} else {
		d.say("point %d is listed after %.1f s: %s changed, %s sent as %s", point, took.Seconds(), size(c.changed), size(c.raw), size(c.sent))
	}
	return nil
}

// kept is the copy of a disk's source as it was at a point.
func (d *demo) kept(one *disk, point replication.PointID) string {
	return filepath.Join(d.dir, "kept", strconv.FormatUint(uint64(point), 10), one.machine+"-"+one.id+".raw")
}

// prove compares every VMDK with the copy kept at a point.
func (d *demo) prove(ctx context.Context, point replication.PointID) error {
	for _, one := range d.disks {
		said, err := command(ctx, "qemu-img", "compare", "-U", "-f", "vmdk", "-F", "raw", one.target, d.kept(one, point))
		if err != nil {
			return fmt.Errorf("the disks should show point %d, but %s is not what %s was then: qemu-img says: %w", point, one.target, one.name(), err)
		}
		if !strings.Contains(said, "Images are identical") {
			return fmt.Errorf("compare %s with its copy of point %d: qemu-img says %q", one.target, point, said)
		}
	}
	d.say("qemu-img compare: all %d VMDKs are identical to the copies kept at point %d", len(d.disks), point)
	d.proved("a VMDK equals the copy of its source kept at that point", "qemu-img compare", len(d.disks))
	return nil
}

// bigChange is how much changes in a cycle that is to be cut off; arrived is how much of that has to be there when it is.
const (
	bigChange = 192 * mib
	arrived   = 32 * mib
	attempts  = 4
)

// interrupted begins a cycle with a big change, kills in the middle of it, starts again, and shows that the rest was sent, not all.
func (d *demo) interrupted(ctx context.Context, what string, kill, start func() error) error {
	big := min(int64(bigChange), d.disks[d.largest()].size/4)
	for range attempts {
		before := d.stand.JournalBytes(group)
		point, began, err := d.cut(ctx, big)
		if err != nil {
			return err
		}
		g, err := d.stand.Status(ctx, group)
		for err == nil && g.Last < point && d.stand.JournalBytes(group)-before < min(arrived, big/4) {
			time.Sleep(2 * time.Millisecond)
			g, err = d.stand.Status(ctx, group)
		}
		if err != nil {
			return err
		}
		there := d.stand.JournalBytes(group) - before
		if err := kill(); err != nil {
			return err
		}
		if err := start(); err != nil {
			return err
		}
		if g.Last >= point {
			err = d.stand.WaitListed(ctx, group, point, patient)
			if err == nil {
				err = d.listed(ctx, point, began)
			}
			if err != nil {
				return err
			}
			d.say("that was over before it could be cut off; once more")
			continue
		}
		d.say("kill -9 of the %s while it made point %d: %s had arrived; started again", what, point, size(there))
		if err := d.stand.WaitListed(ctx, group, point, patient); err != nil {
			return err
		}
		if err := d.listed(ctx, point, began); err != nil {
			return err
		}
		c := &d.cycles[len(d.cycles)-1]
		c.note = "killed: " + what
		if c.raw >= c.changed {
			return fmt.Errorf("after the restart %s were sent of %s that had changed: it did not go on, it began anew", size(c.raw), size(c.changed))
		}
		d.say("it went on, under the number that `failback cut` had told: only %s of %s were still to be sent", size(c.raw), size(c.changed))
		d.proved("work that was cut off by kill -9 goes on, and does not begin anew", "bytes sent after the restart", 1)
		if err := d.stand.WaitHead(ctx, group, point, patient); err != nil {
			return err
		}
		return d.prove(ctx, point)
	}
	if len(d.config.disks) > 0 {
		d.say("NOT shown: the disks given are too small for a cycle to be caught in the middle")
		return nil
	}
	return errors.New("no cycle could be caught in the middle")
}

func (d *demo) killProcessServer(ctx context.Context) error {
	return d.interrupted(ctx, "process server", d.stand.KillProcessServer, d.stand.StartProcessServer)
}

func (d *demo) killMasterTarget(ctx context.Context) error {
	return d.interrupted(ctx, "master target", d.stand.KillMasterTarget, func() error {
		if err := d.stand.StartMasterTarget(); err != nil {
			return err
		}
		return d.stand.WaitConnected(ctx)
	})
}

func (d *demo) verified(ctx context.Context) error {
	for range 2 {
		if err := d.point(ctx); err != nil {
			return err
		}
	}
	start := time.Now()
	var v struct {
		Point replication.PointID
		Equal bool
	}
	if err := d.stand.Do(ctx, &v, "verify", group); err != nil {
		return err
	}
	if !v.Equal || v.Point != d.last {
		return fmt.Errorf("failback verify: point %d, equal: %v, want point %d and equal", v.Point, v.Equal, d.last)
	}
	d.say("`failback verify`: point %d equals the source's snapshot; only hashes travelled; %.1f s", v.Point, time.Since(start).Seconds())
	d.proved("a point equals its source", "failback verify", 1)
	return nil
}

// move moves the disks by a command, and proves where they are.
func (d *demo) move(ctx context.Context, to replication.PointID, args ...string) error {
	start := time.Now()
	if err := d.stand.Do(ctx, nil, args...); err != nil {
		return err
	}
	d.say("`failback %s`: %.1f s", strings.Join(args, " "), time.Since(start).Seconds())
	return d.prove(ctx, to)
}

func (d *demo) rewinds(ctx context.Context) error {
	for _, to := range []replication.PointID{d.last - 2, 2, 1} {
		if err := d.move(ctx, to, "rewind", group, fmt.Sprint(to)); err != nil {
			return err
		}
		if err := d.fsck(ctx, to); err != nil {
			return err
		}
	}
	if err := d.point(ctx); err != nil {
		return err
	}
	d.say("the rewind holds the disks at point 1; point %d came in meanwhile", d.last)
	return d.prove(ctx, 1)
}

// fsck checks a rewound file system. The data of a flat VMDK is a file of its own, and raw.
func (d *demo) fsck(ctx context.Context, at replication.PointID) error {
	for _, one := range d.disks {
		flat := strings.TrimSuffix(one.target, ".vmdk") + "-flat.vmdk"
		if _, err := os.Stat(flat); err != nil || !one.ext4 || one.from != "" {
			continue
		}
		if _, err := command(ctx, "e2fsck", "-fn", flat); err != nil {
			return fmt.Errorf("the file system of %s at point %d: %w", one.name(), at, err)
		}
		d.say("e2fsck -fn: the file system of %s at point %d is clean", one.name(), at)
		d.proved("the file system of a rewound disk is clean", "e2fsck -fn", 1)
		return nil
	}
	return nil
}

func (d *demo) exported(ctx context.Context) error {
	at := d.last - 2
	for _, one := range d.disks[len(d.disks)-1:] {
		file := filepath.Join(d.dir, "exported.raw")
		start := time.Now()
		if err := d.stand.Do(ctx, nil, "export", group, fmt.Sprint(at), one.name(), file); err != nil {
			return err
		}
		d.say("`failback export %s %d %s`: %.1f s, while the disks stand at point 1", group, at, one.name(), time.Since(start).Seconds())
		if _, err := command(ctx, "cmp", file, d.kept(one, at)); err != nil {
			return fmt.Errorf("the export of %s at point %d is not what it was then: %w", one.name(), at, err)
		}
		if err := os.Remove(file); err != nil {
			return err
		}
		d.say("cmp: it is identical to the copy kept at point %d", at)
		d.proved("an exported disk equals the copy of its source kept at that point", "cmp", 1)
	}
	p, err := d.stand.Points(ctx, group)
	if err == nil && p.Head != 1 {
		err = fmt.Errorf("the disks moved to point %d by an export", p.Head)
	}
	return err
}

// drilled mounts the disks of a point as files, where this user and this machine can.
func (d *demo) drilled(ctx context.Context) error {
	if os.Geteuid() != 0 || drill.Available() != nil {
		d.say("NOT shown: it takes root and /dev/fuse")
		return nil
	}
	at := d.last - 1
	start := time.Now()
	mnt := filepath.Join(d.dir, "drill")
	defer func() { // if it goes wrong half way
		_, _ = command(context.WithoutCancel(ctx), "umount", "-l", mnt)
	}()
	var shown struct{ Files []replication.DrillFile }
	if err := d.stand.Do(ctx, &shown, "drill", group, fmt.Sprint(at), mnt, "--writable", "--scratch-size", "64M", "--detach"); err != nil {
		return err
	}
	d.say("`failback drill %s %d %s --writable`: %.1f s; %d files", group, at, mnt, time.Since(start).Seconds(), len(shown.Files))
	for i, f := range shown.Files {
		one := d.disks[i]
		if _, err := command(ctx, "qemu-img", "compare", "-f", "raw", "-F", "raw", f.Path, d.kept(one, at)); err != nil {
			return fmt.Errorf("the drill of %s at point %d is not what it was then: %w", f.Disk, at, err)
		}
		d.proved("a file of a drill equals the copy of its source kept at that point", "qemu-img compare", 1)
	}
	d.say("qemu-img compare: they are identical to the copies kept at point %d", at)
	if one := d.disks[0]; one.ext4 && one.from == "" {
		if _, err := command(ctx, "e2fsck", "-fp", shown.Files[0].Path); err != nil {
			return fmt.Errorf("the file system of %s in the drill: %w", one.name(), err)
		}
		if _, err := command(ctx, "debugfs", "-w", "-R", "mkdir /only-in-the-drill", shown.Files[0].Path); err != nil {
			return err
		}
		if _, err := command(ctx, "e2fsck", "-fn", shown.Files[0].Path); err != nil {
			return fmt.Errorf("the file system of %s, written in the drill: %w", one.name(), err)
		}
		d.say("its file system was written to, and is clean (e2fsck -fn)")
	}
	if err := d.point(ctx); err != nil { // meanwhile
		return err
	}
	for _, args := range [][]string{{"drill", "--end", mnt}, {"drill", "--record", "passed", group, fmt.Sprint(at), "--note", "identical to the copies"}} {
		if err := d.stand.Do(ctx, nil, args...); err != nil {
			return err
		}
	}
	d.say("`failback drill --end`: what was written is gone; point %d came in meanwhile; the outcome is on the point", d.last)
	return d.prove(ctx, 1) // where the disks are
}

func (d *demo) advances(ctx context.Context) error {
	if err := d.move(ctx, 3, "advance", group, "3"); err != nil {
		return err
	}
	return d.move(ctx, d.last, "advance", group)
}

func (d *demo) unprotected(ctx context.Context) error {
	var bye struct{ Head replication.PointID }
	if err := d.stand.Do(ctx, &bye, "unprotect", group, "--yes"); err != nil {
		return err
	}
	if bye.Head != d.last {
		return fmt.Errorf("failback unprotect: the disks stand at point %d, want %d", bye.Head, d.last)
	}
	d.say("`failback unprotect`: the journal is gone, the disks stay at point %d", bye.Head)
	start := time.Now()
	if err := d.stand.Stop(); err != nil {
		return err
	}
	d.say("SIGTERM: both daemons ended cleanly within %.1f s", time.Since(start).Seconds())
	if err := d.prove(ctx, d.last); err != nil {
		return err
	}
	for _, one := range d.disks {
		if _, err := exec.CommandContext(ctx, "qemu-img", "check", one.target).CombinedOutput(); err != nil && one.format == "monolithicSparse" {
			return fmt.Errorf("qemu-img check %s: %w", one.target, err)
		}
	}
	return nil
}
