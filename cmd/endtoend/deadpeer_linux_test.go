package endtoend

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"failback/bench/stand"
	"failback/bench/vpn"
	"failback/replication"
)

// foundWithin is what is promised of a dead peer, 20 s, and as much again where the machine is busy. TCP by itself takes a quarter of an hour.
const foundWithin = 40 * time.Second

// gap is a link between this machine and a network namespace, in which packets can be made to vanish: no reset, no ICMP, no word of the network's at all.
type gap struct {
	*vpn.Network
	t        *testing.T
	ns, veth string
}

const nobody = "02:00:00:00:00:01" // a station that is not there

func newGap(t *testing.T) *gap {
	if os.Getuid() != 0 {
		t.Skip("network namespaces are root's")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("ip is not there")
	}
	n, err := vpn.Hold()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Release() })
	g := &gap{Network: n, t: t, ns: n.Name(), veth: n.Name()}
	if out, err := exec.Command("ip", "netns", "add", g.ns).CombinedOutput(); err != nil {
		t.Skipf("no network namespaces here: %s", out)
	}
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", g.ns).Run() }) // its end of the link, and so the link, go with it
	g.ip("link", "add", g.veth, "type", "veth", "peer", "name", "far", "netns", g.ns)
	g.ip("addr", "add", g.Near()+"/30", "dev", g.veth)
	g.ip("link", "set", g.veth, "up")
	g.ip("-n", g.ns, "addr", "add", g.Far()+"/30", "dev", "far")
	g.ip("-n", g.ns, "link", "set", "far", "up")
	return g
}

func (g *gap) ip(args ...string) string {
	g.t.Helper()
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		g.t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// swallow makes all packets vanish, both ways: they are addressed to a station that is not there. It returns when it began.
func (g *gap) swallow() time.Time {
	g.ip("neigh", "replace", g.Far(), "lladdr", nobody, "dev", g.veth, "nud", "permanent")
	g.ip("-n", g.ns, "neigh", "replace", g.Near(), "lladdr", nobody, "dev", "far", "nud", "permanent")
	return time.Now()
}

func (g *gap) heal() {
	g.ip("neigh", "del", g.Far(), "dev", g.veth)
	g.ip("-n", g.ns, "neigh", "del", g.Near(), "dev", "far")
}

// wrapped returns programs of which the process server runs in the namespace.
func (g *gap) wrapped(b stand.Binaries) stand.Binaries {
	dir := g.t.TempDir()
	for _, p := range []string{"master-target", "process-server", "failback"} {
		prefix := ""
		if p == "process-server" {
			prefix = "ip netns exec " + g.ns + " "
		}
		script := fmt.Sprintf("#!/bin/sh\nexec %s'%s' \"$@\"\n", prefix, b.Path(p))
		if err := os.WriteFile(filepath.Join(dir, p), []byte(script), 0o755); err != nil {
			g.t.Fatal(err)
		}
	}
	return stand.Binaries{Dir: dir}
}

// said waits until a daemon logs a text, from an offset of its log on, and returns how long after a time that was.
func (w *world) said(d *stand.Daemon, from int, text string, after time.Time, within time.Duration) time.Duration {
	w.t.Helper()
	for {
		b, err := os.ReadFile(d.Log)
		w.must(err)
		if strings.Contains(string(b[from:]), text) {
			return time.Since(after)
		}
		if time.Since(after) > within {
			w.t.Fatalf("%s did not say %q within %v", d.Program, text, within)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (w *world) logged(d *stand.Daemon) int {
	fi, err := os.Stat(d.Log)
	w.must(err)
	return int(fi.Size())
}

// TestDeadPeerIsFound lets a VPN swallow every packet without a word, while nothing is under way and while a disk is being copied. Both sides find it in time, come together again by
// themselves, and the copy is right.
func TestDeadPeerIsFound(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for keepalives")
	}
	t.Parallel()
	g := newGap(t)
	big := &disk{machine: "m", id: "d", format: "raw", size: 96 * mib}
	w := newWorldAt(t, stand.Options{}, func(s *stand.Stand) {
		s.Binaries = g.wrapped(binaries)
		s.Listen = strings.Replace(s.Listen, "127.0.0.1", g.Near(), 1)
		s.ProcessServer.Metrics = strings.Replace(s.ProcessServer.Metrics, "127.0.0.1", g.Far(), 1)
	}, big)
	w.write(big, 0, big.size)

	cut := func(what string) {
		mt, ps := w.logged(w.MasterTarget), w.logged(w.ProcessServer)
		began := g.swallow()
		far := w.said(w.ProcessServer, ps, "no connection to the master target", began, 2*foundWithin)
		near := w.said(w.MasterTarget, mt, "process server gone", began, 2*foundWithin)
		t.Logf("%s: found by the process server after %v, by the master target within %v", what, far, near)
		if far > foundWithin || near > foundWithin {
			t.Errorf("%s: want both within %v", what, foundWithin)
		}
		g.heal()
		back := time.Now()
		w.said(w.MasterTarget, mt, "process server connected", back, patient)
		t.Logf("%s: connected again %v after the network was", what, time.Since(back).Round(time.Millisecond))
	}
	cut("idle")

	if out, err := exec.Command("ip", "netns", "exec", g.ns, "tc", "qdisc", "add", "dev", "far", "root", "tbf", "rate", "24mbit", "burst", "64kb", "latency", "50ms").CombinedOutput(); err != nil {
		t.Logf("not shaped, the copy may be over before the cut: %s", out)
	}
	w.must(w.Do(w.ctx, nil, "reprotect", w.plan()))
	_, err := w.Wait(w.ctx, group, "content is on its way", func(s replication.GroupStatus) bool {
		return len(s.Disks) == 1 && s.Disks[0].Ledger.Raw > 4*mib
	})
	w.must(err)
	cut("copying")
	_ = exec.Command("ip", "netns", "exec", g.ns, "tc", "qdisc", "del", "dev", "far", "root").Run()
	w.listed(1)
	w.shows(1)
}
