package mastertarget

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"failback/blockio"
	"failback/replication"
	"failback/replication/link"
	"failback/replication/preflight"
)

// TestCheckFindsTheSourceAsTarget gives a plan whose target is its source, by another name, on one machine: protecting it would overwrite it.
func TestCheckFindsTheSourceAsTarget(t *testing.T) {
	p := newPair(t, 8)
	defer p.close()
	plan := fmt.Sprintf("group: g\nos: linux\nprocess_server: ps\nmachines: [{name: m, disks: [{id: a, source: 'image:%s', target: %s}]}]\n", p.src(0), filepath.Join(p.dir, "src", ".", "0"))
	checked, err := p.master.Check(context.Background(), []byte(plan), replication.PathAsk{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(checked.Findings, func(f replication.Finding) bool {
		return f.Code == preflight.CodeIsSource && f.Severity == replication.Error
	}) {
		t.Errorf("not found: %+v", checked.Findings)
	}
}

// surveyor is a process server that sees what a test wants it to see.
type surveyor struct {
	*puppet
	survey func(s link.Spec) (link.Survey, error)
	free   int64 // bytes of a hundred GiB
}

// Figures implements link.Measured.
func (p *surveyor) Figures() replication.Figures {
	return replication.Figures{Time: time.Now(), CPU: 0.1, Memory: 0.1, StateTotal: 100 << 30, StateFree: p.free}
}

func (p *surveyor) Probe(_ context.Context, s link.Spec) (link.Survey, error) { return p.survey(s) }

// fine is a survey without fault: every source has a MiB, of which half may be data.
func fine(s link.Spec) (link.Survey, error) {
	found := link.Survey{Dir: "/var/lib/failback"}
	for _, d := range s.Disks {
		found.Disks = append(found.Disks, link.Probed{Disk: d.Disk.No, Size: 1 << 20, Data: 1 << 19, View: "reflink", OS: "linux", Mark: "ext4"})
	}
	return found, nil
}

// checking is a master target with a machine of its own, to be looked at by checks of a group other.
type checking struct {
	t      *testing.T
	e      *Engine
	ds     string // a datastore
	worker *surveyor
	bye    func()
}

// newChecking starts a master target on a machine of VMware's that has nothing to be said against it, whose process server ps1 is connected.
func newChecking(t *testing.T) *checking {
	t.Helper()
	e, p := stage(t)
	c := &checking{t: t, e: e, ds: filepath.Join(e.cfg.Retention, "..", "ds2"), worker: &surveyor{p, fine, 90 << 30}}
	c.e.cfg.root = t.TempDir()
	month := time.Now().AddDate(0, 2, 0)
	c.e.cfg.Certificates = func() []replication.Certificate {
		return []replication.Certificate{{Name: "mt", Until: month}, {Name: "ca", Until: month}}
	}
	c.file("sys/class/dmi/id/sys_vendor", "VMware, Inc.")
	c.file("sys/class/scsi_host/host0/proc_name", "mptspi")
	c.file("sys/block/sda/dev", "8:0")
	c.file("sys/block/sda/size", "4096")
	c.file("sys/block/sda/device/wwid", "naa.6000c29812f3a4d5e6f708192a3b4c5d")
	c.file("proc/77/comm", "vmtoolsd")
	if err := os.Mkdir(c.ds, 0o700); err != nil {
		t.Fatal(err)
	}
	c.connect(link.Peer{Name: "ps1", Minor: link.ProtocolMinor, Certificates: []replication.Certificate{{Name: "ps", Until: month}, {Name: "ca", Until: month}}})
	return c
}

func (c *checking) connect(p link.Peer) {
	c.t.Helper()
	bye, err := c.e.Connected(p, c.worker)
	if err != nil {
		c.t.Fatal(err)
	}
	c.bye = bye
	c.t.Cleanup(bye)
}

// file writes a file of the machine.
func (c *checking) file(path, text string) {
	c.t.Helper()
	path = filepath.Join(c.e.cfg.root, path)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		c.t.Fatal(err)
	}
}

// onLVM puts what has the number of a path's device on a volume of LVM.
func (c *checking) onLVM(path, name string) {
	c.t.Helper()
	number, _ := blockDevice(path)
	c.file("sys/devices/dm/dm/uuid", "LVM-x")
	c.file("sys/devices/dm/dm/name", name)
	link := filepath.Join(c.e.cfg.root, "sys/dev/block", number)
	if err := errors.Join(os.MkdirAll(filepath.Dir(link), 0o755), os.Symlink("../../devices/dm", link)); err != nil {
		c.t.Fatal(err)
	}
}

// plan has two machines with a disk each.
func (c *checking) plan() string {
	return fmt.Sprintf("group: other\nos: linux\nprocess_server: ps1\nmachines:\n  - {name: a, disks: [{id: os, source: 'image:/a', target: %s/a.vmdk}]}\n  - {name: b, disks: [{id: os, source: 'image:/b', target: %s/b.raw}]}\n", c.ds, c.ds)
}

// found returns the findings as "severity code subject", without what only informs and what is said of every test's retention directory.
func (c *checking) found(plan string, ask replication.PathAsk) (list []string) {
	c.t.Helper()
	checked, err := c.e.Check(context.Background(), []byte(plan), ask)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, f := range checked.Findings {
		if r, ok := preflight.Explain(f.Code); !ok || f.Severity != replication.Info && r.ASR != f.ASR {
			c.t.Errorf("not as in the list: %+v", f)
		}
		if f.Severity != replication.Info && !strings.HasPrefix(f.Code, "volume-") {
			list = append(list, string(f.Severity)+" "+f.Code+" "+f.Subject)
		}
	}
	return list
}

// TestCheckFindsEachFault stages one fault at a time, as it would show, and sees that one.
func TestCheckFindsEachFault(t *testing.T) {
	c := newChecking(t)
	vmdk := func() string { return filepath.Join(c.ds, "a.vmdk") }
	create := func(size int64) {
		if err := blockio.Create(vmdk(), blockio.FormatMonolithicSparse, size); err != nil {
			t.Fatal(err)
		}
	}
	for _, x := range []struct {
		name  string
		stage func() (plan string, undo func())
		want  []string
	}{
		{"Nothing", func() (string, func()) { return c.plan(), nil }, nil},
		{"SourcesUnseen", func() (string, func()) {
			c.worker.survey = func(link.Spec) (link.Survey, error) { return link.Survey{}, errors.New("it hangs up") }
			return c.plan(), nil
		}, []string{"error sources-unseen ps1"}},
		{"OneSourceGone", func() (string, func()) {
			c.worker.survey = func(s link.Spec) (link.Survey, error) {
				found, _ := fine(s)
				found.Disks[1] = link.Probed{Disk: 1, Problem: &replication.Problem{Code: "source", Message: "gone", Remedy: "bring it back"}}
				return found, nil
			}
			return c.plan(), nil
		}, []string{"error source b/os"}},
		{"MixedSystems", func() (string, func()) {
			c.worker.survey = func(s link.Spec) (link.Survey, error) {
				found, _ := fine(s)
				found.Disks[1].OS = "windows"
				return found, nil
			}
			return c.plan(), nil
		}, []string{"error os-differs b"}},
		{"ProcessServerFull", func() (string, func()) {
			c.worker.free = 0
			return c.plan(), func() { c.worker.free = 90 << 30 }
		}, []string{"error process-server-space ps1"}},
		{"TargetCorrupt", func() (string, func()) {
			create(1 << 20)
			b, err := os.ReadFile(vmdk())
			if err == nil {
				clear(b[512+64 : 1024]) // within the descriptor
				copy(b[24:32], "\xff\xff\xff\xff\xff\xff\xff\x7f")
				err = os.WriteFile(vmdk(), b, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			return c.plan(), func() { os.Remove(vmdk()) }
		}, []string{"error target-corrupt a/os"}},
		{"TargetOfAnotherSize", func() (string, func()) { create(2 << 20); return c.plan(), func() { os.Remove(vmdk()) } }, []string{"error size-differs a/os"}},
		{"TargetIsAttached", func() (string, func()) {
			create(1 << 20)
			d, err := blockio.Probe(vmdk())
			if err != nil {
				t.Fatal(err)
			}
			c.file("sys/block/sdb/dev", "8:16")
			c.file("sys/block/sdb/device/wwid", "naa."+blockio.SerialOfUUID(d.UUID))
			return c.plan(), func() { os.Remove(vmdk()); os.RemoveAll(filepath.Join(c.e.cfg.root, "sys/block/sdb")) }
		}, []string{"error uuid-clash a/os"}},
		{"MachineThere", func() (string, func()) {
			vmx := filepath.Join(c.ds, "a.vmx")
			if err := os.WriteFile(vmx, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			return strings.Replace(c.plan(), c.ds+"/b.raw", filepath.Dir(c.ds)+"/b.raw", 1), func() { os.Remove(vmx) }
		}, []string{"warning machine-there a/os"}},
		{"TooManyDisks", func() (string, func()) {
			for i := range 58 {
				c.file(fmt.Sprintf("sys/block/nvme%dn1/dev", i), fmt.Sprintf("259:%d", i))
			}
			return c.plan(), func() {
				for i := range 58 {
					os.RemoveAll(filepath.Join(c.e.cfg.root, fmt.Sprintf("sys/block/nvme%dn1", i)))
				}
			}
		}, []string{"error too-many-disks master target"}}, // 1 and 58 attached, 1 of group g, 2 of the plan
		{"Paravirtual", func() (string, func()) {
			c.file("sys/class/scsi_host/host1/proc_name", "vmw_pvscsi")
			return c.plan(), func() { os.RemoveAll(filepath.Join(c.e.cfg.root, "sys/class/scsi_host/host1")) }
		}, []string{"warning pvscsi master target"}},
		{"ToolsStopped", func() (string, func()) {
			c.file("proc/77/comm", "sleep")
			return c.plan(), func() { c.file("proc/77/comm", "vmtoolsd") }
		}, []string{"warning vmware-tools master target"}},
		{"NoUUIDs", func() (string, func()) {
			c.file("sys/block/sda/device/wwid", "")
			return c.plan(), func() { c.file("sys/block/sda/device/wwid", "naa.6000c29812f3a4d5e6f708192a3b4c5d") }
		}, []string{"warning disk-enable-uuid master target"}},
		{"OnLVM", func() (string, func()) { // retention and targets are on one file system here
			c.onLVM(c.ds, "vg0-all")
			return c.plan(), func() { os.RemoveAll(filepath.Join(c.e.cfg.root, "sys/dev")) }
		}, []string{"warning lvm-below vg0-all"}},
		{"ReadInPlaceAndCantFreeze", func() (string, func()) {
			c.worker.survey = func(s link.Spec) (link.Survey, error) {
				found, _ := fine(s)
				found.Disks[1].View = "none"
				for _, q := range s.Quiesce {
					found.Quiesce = append(found.Quiesce, link.Unrunnable{Machine: q.Machine, Command: "thaw", Why: q.Thaw + " is not there"})
				}
				return found, nil
			}
			return strings.Replace(c.plan(), "os: linux", "os: linux\nquiesce: {freeze: f, thaw: t}", 1), nil
		}, []string{"warning quiesce-command a", "warning quiesce-command b", "warning no-app-points other", "warning no-snapshot b/os"}},
		{"CertificateExpires", func() (string, func()) {
			c.e.cfg.Certificates = func() []replication.Certificate {
				return []replication.Certificate{{Name: "mt", Until: time.Now().Add(time.Hour)}}
			}
			return c.plan(), func() { c.e.cfg.Certificates = nil }
		}, []string{"warning certificate-expires master target"}},
		{"GroupExists", func() (string, func()) {
			return strings.Replace(c.plan(), "group: other", "group: g", 1), nil
		}, []string{"error group-exists g"}},
		{"OnlyChecked", func() (string, func()) { return c.plan(), nil }, nil}, // all that was staged is gone, and nothing was made
	} {
		t.Run(x.name, func(t *testing.T) {
			c.t = t
			c.worker.survey = fine
			text, undo := x.stage()
			got := c.found(text, replication.PathAsk{})
			if undo != nil {
				undo()
			}
			if !slices.Equal(got, x.want) {
				t.Errorf("got %q, want %q", got, x.want)
			}
		})
	}
	c.t = t
}

// TestCheckTellsAllAtOnce: faults of the plan's text keep nothing else from being looked at.
func TestCheckTellsAllAtOnce(t *testing.T) {
	c := newChecking(t)
	text := strings.NewReplacer("os: linux", "os: linux\npolicy: {crash_interval: 1ms}", "image:/a", "/a", c.ds+"/b.raw", c.ds+"/none/b.raw").Replace(c.plan())
	c.worker.survey = func(s link.Spec) (link.Survey, error) {
		found, _ := fine(s)
		found.Disks[0], found.Disks[1].View = link.Probed{Problem: &replication.Problem{Code: "source", Message: "no path"}}, "none"
		return found, nil
	}
	c.file("proc/77/comm", "sleep")
	c.worker.free = 0
	want := []string{"error plan-policy policy.crash_interval", "error plan-source a/os", "error process-server-space ps1", "warning no-snapshot b/os", "error datastore b/os", "warning vmware-tools master target"}
	if got := c.found(text, replication.PathAsk{}); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	c.worker.free = 90 << 30
	// Names are missing: sources and journal can't be told apart, and are not looked at.
	if got, want := c.found("group: ../x\nos: linux\nprocess_server: ps1\nmachines: [{name: a}]", replication.PathAsk{}), []string{"error plan-name group", "error plan-no-disks a"}; !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// TestCheckOfAProcessServerThatIsNotThere tells one that has gone from one that never came. The rest is looked at.
func TestCheckOfAProcessServerThatIsNotThere(t *testing.T) {
	t.Parallel()
	c := newChecking(t)
	c.bye()
	text := strings.Replace(c.plan(), c.ds+"/a.vmdk", c.ds+"/none/a.vmdk", 1)
	got := make(chan []string, 1)
	go func() {
		got <- c.found(strings.Replace(text, "process_server: ps1", "process_server: ps9", 1), replication.PathAsk{Each: time.Second})
	}()
	if got, want := c.found(text, replication.PathAsk{Each: time.Second}), []string{"error process-server-away ps1", "error datastore a/os"}; !slices.Equal(got, want) {
		t.Errorf("gone: got %q, want %q", got, want)
	}
	if got, want := <-got, []string{"error process-server-never-seen ps9", "error datastore a/os"}; !slices.Equal(got, want) {
		t.Errorf("never seen: got %q, want %q", got, want)
	}
	for i := range maxTurnedAway {
		c.e.TurnedAway(fmt.Sprint("stranger", i), &replication.Problem{Code: "name-bound"})
	}
	c.e.TurnedAway("ps1", &replication.Problem{Code: "protocol-version", Message: "it speaks 7.0"})
	if got, want := c.found(text, replication.PathAsk{Each: time.Second}), []string{"error process-server-refused ps1", "error datastore a/os"}; !slices.Equal(got, want) {
		t.Errorf("turned away: got %q, want %q", got, want)
	}
	if n := len(c.e.turnedAway); n > maxTurnedAway {
		t.Errorf("%d names are remembered", n)
	}
}

// metered is a process server at the other end of a path.
type metered struct {
	*surveyor
	path replication.Path
	err  error
}

func (m *metered) Path(context.Context, replication.PathAsk) (replication.Path, error) {
	return m.path, m.err
}

// TestCheckOfThePath: what can't be measured is told; the clocks are told of once, as the path has them.
func TestCheckOfThePath(t *testing.T) {
	c := newChecking(t)
	ask := replication.PathAsk{Each: time.Second}
	m := &metered{surveyor: c.worker, err: errors.New("others are being measured")}
	bye, err := c.e.Connected(link.Peer{Name: "ps1", Minor: link.ProtocolMinor, Skew: time.Hour}, m)
	if err != nil {
		t.Fatal(err)
	}
	defer bye()
	if got, want := c.found(c.plan(), ask), []string{"warning clock-skew ps1", "warning path-unmeasured ps1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	m.err, m.path = nil, replication.Path{Connections: 4, RTT: time.Millisecond, Skew: time.Hour, SkewWithin: time.Second, Up: replication.PathRate{Rate: 1e6}, Down: replication.PathRate{Rate: 1e6}}
	if got, want := c.found(c.plan(), ask), []string{"warning clock-skew ps1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestErrorsOfTargetsHaveCodes: an operator's scripts go by them.
func TestErrorsOfTargetsHaveCodes(t *testing.T) {
	for err, want := range map[error]string{
		blockio.ErrInUse: preflight.CodeInUse, blockio.ErrNotTarget: preflight.CodeRefused, blockio.ErrCorrupt: preflight.CodeCorrupt, syscall.ENOSPC: preflight.CodeFull, os.ErrNotExist: preflight.CodeMissing, syscall.EIO: preflight.CodeTarget,
	} {
		if got := replication.AsProblem(targetProblem("/x", fmt.Errorf("open: %w", err))); got.Code != want || got.Remedy == "" {
			t.Errorf("%v: got %+v, want the code %s", err, got, want)
		}
	}
}

// TestAdoptFindsEachFault looks at a journal where it may not be adopted: in a place that is not its own, of a group that is here already, in use, of a machine that can't be seen, with a disk of which nothing tells who wrote last.
func TestAdoptFindsEachFault(t *testing.T) {
	t.Parallel()
	p := newPair(t, 63)
	p.protected(1)
	copied := t.TempDir()
	for _, d := range []string{"ret", "ds"} { // as a machine leaves them that fails
		if err := os.CopyFS(filepath.Join(copied, d), os.DirFS(filepath.Join(p.dir, d))); err != nil {
			t.Fatal(err)
		}
	}
	errs := func(e *Engine, r replication.AdoptRequest) (list []string) {
		t.Helper()
		r.List = true
		a, err := e.Adopt(context.Background(), r)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range a.Findings {
			if f.Severity != replication.Info && !strings.HasPrefix(f.Code, "volume-") {
				list = append(list, f.Code)
			}
		}
		slices.Sort(list)
		return slices.Compact(list)
	}
	// The targets are in use too: the group is open.
	if got, want := errs(p.master, replication.AdoptRequest{Dir: filepath.Join(p.dir, "ret", "g")}), []string{preflight.CodeGroupExists, preflight.CodeJournalInUse, preflight.CodeInUse}; !slices.Equal(got, want) {
		t.Errorf("of a group that is here: got %q, want %q", got, want)
	}
	p.close()

	other, err := Open(Config{State: t.TempDir(), Retention: t.TempDir(), AllowSharedVolume: true})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	other.self.Machine = "another"
	disks := map[string]string{}
	for i, n := range []string{"a/one", "a/two", "b/one"} {
		disks[n] = filepath.Join(copied, "ds", filepath.Base(p.dst(i)))
	}
	r := replication.AdoptRequest{Dir: filepath.Join(copied, "ret", "g"), Disks: disks}
	if got, want := errs(other, r), []string{preflight.CodeElsewhere, preflight.CodeOldHost, preflight.CodeUnproved}; !slices.Equal(got, want) {
		t.Errorf("of a journal that is elsewhere: got %q, want %q", got, want)
	}
}

// TestRefusedChangesHaveACode of their own.
func TestRefusedChangesHaveACode(t *testing.T) {
	e, _ := stage(t)
	g, err := e.group("g")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(g.plan.Canonical()), `"os": "linux"`, `"os": "windows"`, 1)
	if _, err := e.Apply(context.Background(), replication.ApplyRequest{Plan: []byte(text)}); err == nil || replication.AsProblem(err).Code != preflight.CodeApply {
		t.Errorf("got %v", err)
	}
}

// TestCheckWarnsOfSpace wants targets that are larger than what is free.
func TestCheckWarnsOfSpace(t *testing.T) {
	e, p := stage(t)
	p.size.Store(replication.MaxDiskSize)
	text := fmt.Sprintf("group: other\nos: linux\nprocess_server: ps\nmachines: [{name: m, disks: [{id: a, source: 'image:/a', target: %s/large.raw}]}]\n", filepath.Join(e.cfg.Retention, "..", "ds"))
	checked, err := e.Check(context.Background(), []byte(text), replication.PathAsk{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(checked.Findings, func(f replication.Finding) bool {
		return f.Code == preflight.CodeTargetSpace && f.Severity == replication.Warning
	}) {
		t.Errorf("not found: %+v", checked.Findings)
	}
}
