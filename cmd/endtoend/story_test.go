package endtoend

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"failback/bench/relay"
	"failback/bench/stand"
	"failback/replication"
)

var update = flag.Bool("update", false, "write testdata/story.txt anew")

// TestStory is what an administrator lives through, from the first point to the end: two machines that work all the time, a policy of seconds, daemons that are killed, a link that is cut, a volume that is full, a limit of
// the link, a disk more, a drill, a forecast, a failback that is taken back, another that can't be, and the end. What the disks hold is judged by the stamps of their sectors at every point. What was typed and what was
// answered is testdata/story.txt; times, sizes and rates are left out there (-update writes it).
func TestStory(t *testing.T) {
	needsDrills(t)
	t.Parallel()
	volume := newVolume(t, 256*mib)
	var link *relay.Relay
	w := newWorldAt(t, stand.Options{Retention: filepath.Join(volume, "retention")}, func(s *stand.Stand) {
		var err error
		if link, err = relay.New(s.Listen); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { link.Close() })
		s.ProcessServerFlags = append(s.ProcessServerFlags, "--master-target", link.Addr())
	})
	var all []*stamped
	for i, d := range []*disk{
		{machine: "erp-db", id: "os", format: "vmfs", size: 6 * mib},
		{machine: "erp-db", id: "data", format: "monolithicSparse", size: 8 * mib},
		{machine: "erp-db", id: "logs", format: "raw", size: 4*mib + 512},
		{machine: "web", id: "os", format: "vmfs", size: 4 * mib},
		{machine: "web", id: "cache", format: "raw", size: 2 * mib},
	} {
		all = append(all, w.newStamped(i, d))
	}
	s := &story{world: w}
	stop := w.runs(all...)
	defer func() { stop() }()

	s.tell("Two machines with five disks work all the time. The policy of this trial makes a point every two seconds, where five minutes are usual.")
	w.must(s.plan("{crash_interval: 2s, app_interval: 24h, retention: 24h, rpo_alert: 10m, head_lag: 0s}"))
	protected := s.runsQuietly("reprotect", s.path, "--wait")
	s.answers("failback reprotect erp.yaml --wait", regexp.MustCompile(`point \d+`).ReplaceAllString(protected, "point 1")) // or one of those that have come since
	s.further(2)

	s.tell("Power fails for the master target in the middle of it; then for the process server. Each goes on where it was.")
	w.kill(w.MasterTarget)
	s.further(1)
	w.kill(w.ProcessServer)
	s.further(1)

	s.tell("The VPN is down for a while.")
	link.Cut(true)
	_, err := w.Wait(w.ctx, group, "the process server is away", func(replication.GroupStatus) bool { return !s.connected() })
	w.must(err)
	link.Cut(false)
	s.further(1)

	s.tell("By day the link is for others, too. Points come nevertheless.")
	s.typesFor(func(line string) bool { return strings.HasPrefix(line, "schedule") }, "throttle", "set", "20Mbps mon-fri 07:00-19:00; 80Mbps; in Europe/Berlin")
	s.further(1)

	s.tell("Somebody fills the retention volume. Replication is held back, and says why; when there is space again, it goes on by itself.")
	filler := s.fills(volume)
	g, err := w.Wait(w.ctx, group, "the volume is told to be full", func(g replication.GroupStatus) bool { return g.Problem != nil && g.Problem.Code == "retention-full" })
	w.must(err)
	s.answers("failback status erp --json | jq -r '.groups[0].problem.code'", g.Problem.Code+"\n")
	w.must(os.Remove(filler))
	s.further(1)

	s.tell("That was the trial. Points are made less often from now on, and the web server has one more disk.")
	more := w.newStamped(len(all), &disk{machine: "web", id: "media", format: "vmfs", size: 3 * mib})
	w.must(s.plan("{crash_interval: 24h, app_interval: 24h, retention: 48h, rpo_alert: 48h, head_lag: 0s}"))
	s.typesFor(func(line string) bool { // not what the new disk was judged to be
		return !strings.HasPrefix(line, "error ") && !strings.HasPrefix(line, "warning ") && !strings.HasPrefix(line, "info ") && !strings.HasPrefix(line, "     ")
	}, "apply", s.path, "--yes")
	all = append(all, more)
	stop()
	stop = w.runs(all...)
	number := s.runsQuietly("cut", group, "--wait")
	_, err = fmt.Sscan(number, &more.born)
	w.must(err)
	w.must(w.WaitHead(w.ctx, group, more.born, patient))
	s.tellsAs(more.born, toldFirst)
	s.answers("failback cut erp --wait", number)
	s.types("points", group)

	s.tell("Would the machines start from that point? A drill shows its disks as files, while replication goes on.")
	mnt := filepath.Join(w.Dir, "drill")
	s.types("drill", group, fmt.Sprint(more.born), mnt, "--detach")
	for _, d := range all {
		w.judge("drill", filepath.Join(mnt, d.machine+"-"+d.id+".raw"), d, more.born)
	}
	s.cuts()
	s.types("drill", "--end", mnt)
	s.types("drill", "--record", "passed", group, fmt.Sprint(more.born), "--note", "both machines start")

	s.tell("How long would the machines be down, if they came home now?")
	halt := filepath.Join(w.Dir, "halt")
	w.must(os.WriteFile(halt, []byte("#!/bin/sh\ntouch \"$0.asked\"; until [ -e \"$0.done\" ]; do sleep 0.02; done\n"), 0o755))
	s.typesFor(func(line string) bool {
		return strings.HasPrefix(line, "group ") || strings.Contains(line, "go over the link")
	}, "commit", group, "--stop-command", halt, "--forecast")

	s.tell("They come home. Nothing is lost: the last point is made when they have stopped.")
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			if _, err := os.Stat(halt + ".asked"); err == nil || w.ctx.Err() != nil {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		stop()
		os.WriteFile(halt+".done", nil, 0o600)
	}()
	committed := s.runsQuietly("commit", group, "--stop-command", halt, "--verify")
	<-stopped
	home := s.last()
	s.tellsAs(home, toldFirst+2) // more points may have been made on the way
	s.answers("failback commit erp --stop-command halt --verify", committed)
	for _, d := range all {
		if now, err := d.at(home); err != nil || fmt.Sprint(now) != fmt.Sprint(d.Cut()) {
			t.Errorf("%s: the last point is not what the machine wrote last: %v", d.name(), err)
		}
	}
	w.judgeTargets("committed", home, all...)
	s.types("cut", group)

	s.tell("Something is missing there. It is taken back: the machines go on in Azure, and are replicated as before.")
	s.types("undo", group)
	stop = w.runs(all...)
	w.judgeTargets("undone", home, all...)
	s.cuts()
	if n := w.judgePoints("before the end", all...); n < 6 { // a volume that is full may have taken some
		t.Errorf("%d points were judged, more were made", n)
	}

	s.tell("The second time, to a point of before. A machine is started on-premises, and writes: that can't be taken back.")
	to := s.last() - 1
	s.types("commit", group, "--point", fmt.Sprint(to))
	w.judgeTargets("committed again", to, all...)
	w.run("qemu-io", "-f", "vmdk", "-c", "write -P 0x5a 1M 64k", all[0].target)
	s.types("undo", group)
	s.types("finish", group)
	s.types("finish", group, "--yes")
	w.judgeTargets("finished", to, all[1:]...)
	s.types("status")
	s.golden(filepath.Join("testdata", "story.txt"))
}

func (s *story) plan(policy string) (err error) {
	p := s.planOf(group, s.disks...)
	p.Policy = policy
	for m := range p.Machines {
		for d := range p.Machines[m].Disks {
			p.Machines[m].Disks[d].Snapshot, p.Machines[m].Disks[d].Release = stampedSnapshot, stampedRelease
		}
	}
	s.path, err = s.WritePlan(p)
	return err
}

// fills fills a volume, and returns the file that does.
func (s *story) fills(volume string) (path string) {
	s.t.Helper()
	path = filepath.Join(volume, "filler")
	f, err := os.Create(path)
	s.must(err)
	defer f.Close()
	for n := mib; n >= page; n /= 4 {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, n))
		}
	}
	return path
}

// connected says whether the process server is.
func (s *story) connected() bool {
	var all replication.Status
	s.must(s.Do(s.ctx, &all, "status"))
	for _, one := range all.Workers {
		if one.Name == s.Name {
			return one.Connected
		}
	}
	return false
}

// last returns the last point that is listed.
func (s *story) last() replication.PointID {
	s.t.Helper()
	g, err := s.Status(s.ctx, group)
	s.must(err)
	return g.Last
}

// further waits until there are n points more.
func (s *story) further(n replication.PointID) {
	s.t.Helper()
	s.must(s.WaitListed(s.ctx, group, s.last()+n, patient))
}

// cuts takes a point, as the operator does, and waits until the disks show it.
func (s *story) cuts() replication.PointID {
	s.t.Helper()
	s.types("cut", group, "--wait")
	point := s.last()
	s.must(s.WaitHead(s.ctx, group, point, patient))
	return point
}
