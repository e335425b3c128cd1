package endtoend

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"failback/bench/stand"
	"failback/replication"
)

// written writes a plan's text and returns its path.
func (w *world) written(text string) string {
	w.t.Helper()
	path := filepath.Join(w.Dir, "bad.yaml")
	w.must(os.WriteFile(path, []byte(text), 0o644))
	return path
}

// TestBadPlans gives plans that must be refused: by reprotect, with what is wrong and what to do; and by check, which tells it without refusing to run. Nothing
// is made by either, and the good plan works afterwards.
func TestBadPlans(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stand.Options{}, threeDisks()...)
	good := w.PlanText(w.planOf(group, w.disks...))
	a, b := w.disks[0], w.disks[2]
	change := func(old, new string) string {
		t.Helper()
		if !strings.Contains(good, old) {
			t.Fatalf("the plan has no %q", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	small := filepath.Join(w.Targets, "small.img")
	w.must(os.WriteFile(small, make([]byte, mib), 0o644))
	locked := filepath.Join(w.Targets, "locked.img")
	held, err := os.Create(locked)
	w.must(err)
	defer held.Close()
	w.must(held.Truncate(b.size))
	w.must(unix.FcntlFlock(held.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}))
	precious := filepath.Join(w.Targets, "letter.vmdk")
	w.must(os.WriteFile(precious, []byte("Dear all, this is not a disk.\n"), 0o644))

	for name, c := range map[string]struct {
		text  string
		words []string // in what reprotect says
	}{
		"UnknownKey":        {change("os: linux", "os: linux\nretention_volume: /x"), []string{"retention_volume"}},
		"UnknownKeyOfADisk": {change("        target:", "        tarjet: x\n        target:"), []string{"tarjet"}},
		"NotYAML":           {"group: [", []string{"can't be read"}},
		"OneTargetTwice":    {change(b.target, strings.Replace(a.target, w.Targets, w.Targets+"/.", 1)), []string{filepath.Base(a.target), a.name(), b.name()}},
		"TargetInRetention": {change(b.target, filepath.Join(w.Retention, "x.img")), []string{filepath.Join(w.Retention, "x.img"), w.Retention}},
		"SizesDiffer":       {change(b.target, small), []string{small, fmt.Sprint(mib), fmt.Sprint(b.size)}},
		"TargetInUse":       {change(b.target, locked), []string{locked}},
		"TargetNoDisk":      {change(a.target, precious), []string{precious}},
		"NoDirectory":       {change(b.target, filepath.Join(w.Targets, "none", "x.img")), []string{filepath.Join(w.Targets, "none")}},
		"SourceMissing":     {change(b.source, b.source+"-none"), []string{b.source + "-none"}},
		"SourceNotAbsolute": {change(b.source, "disk.raw"), []string{"disk.raw"}},
		"TwoSystems":        {change("os: linux", "os: beos"), []string{"beos"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{Stand: w.Stand, t: t, ctx: w.ctx}
			path := w.written(c.text)
			w.refused(1, c.words, "reprotect", path)
			out, said, code := w.CLI(w.ctx, "check", path, "--json", "--path-time", "0")
			if code != 1 {
				t.Errorf("check: exit code %d, want 1: %s%s", code, out, said)
			}
			told := string(out)
			if len(out) == 0 { // a plan that can't be read
				told = string(said)
			}
			for _, word := range c.words {
				if !strings.Contains(told, word) {
					t.Errorf("check: %s, want %q in it", told, word)
				}
			}
		})
	}
	if made, _ := os.ReadDir(w.Retention); len(made) > 0 {
		t.Errorf("refused plans made %v", made)
	}
	if got, _ := os.ReadFile(precious); !bytes.HasPrefix(got, []byte("Dear all")) {
		t.Error("a refused target was written to")
	}
	w.protect()
	w.shows(1)
}

// TestNoProcessServer names a process server that does not come.
func TestNoProcessServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stand.Options{}, threeDisks()[0])
	plan := w.planOf(group, w.disks...)
	plan.Server = "ps9"
	path, err := w.WritePlan(plan)
	w.must(err)
	w.refused(1, []string{"ps9"}, "reprotect", path)
	w.protect() // with the right one
}

// TestTargetMounted gives a target that is mounted, through its loop device.
func TestTargetMounted(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("mounting takes root")
	}
	d := &disk{machine: "m", id: "d", format: "raw", size: 16 * mib}
	w := newWorld(t, stand.Options{}, d)
	w.must(exec.Command("truncate", "-s", fmt.Sprint(d.size), d.target).Run())
	w.must(exec.Command("mkfs.ext4", "-q", "-F", d.target).Run())
	mnt := filepath.Join(w.Dir, "mnt")
	w.must(os.Mkdir(mnt, 0o755))
	out, err := exec.Command("losetup", "-f", "--show", d.target).Output()
	if err != nil {
		t.Skipf("no loop devices here: %v", err)
	}
	device := strings.TrimSpace(string(out))
	defer exec.Command("losetup", "-d", device).Run()
	if err := exec.Command("mount", device, mnt).Run(); err != nil {
		t.Skipf("mounting is not allowed here: %v", err)
	}
	defer exec.Command("umount", mnt).Run()
	plan := w.planOf(group, d)
	plan.Machines[0].Disks[0].Target, plan.Machines[0].Disks[0].Format = device, "device"
	path, err := w.WritePlan(plan)
	w.must(err)
	w.refused(1, []string{device, "mounted"}, "reprotect", path)
}

// TestBadOrders gives commands that can't be carried out. Nothing is lost by any of them.
func TestBadOrders(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stand.Options{}, threeDisks()...)
	w.refused(1, []string{group}, "cut", group)
	w.protect()
	w.cut()
	w.shows(2)
	there := filepath.Join(w.Dir, "there")
	w.must(os.WriteFile(there, []byte("mine"), 0o644))
	other := w.planOf(group, w.disks[0])
	other.Machines[0].Name = "other"
	otherPlan := w.written(w.PlanText(other))
	thief := w.planOf("thief", w.disks[2])
	w.must(os.Truncate(w.disks[2].source, w.disks[2].size))
	thiefPlan, err := w.WritePlan(thief)
	w.must(err)
	for _, c := range []struct {
		code  int
		words []string
		args  []string
	}{
		{1, []string{"9", group}, []string{"rewind", group, "9"}},
		{1, []string{"9", group}, []string{"advance", group, "9"}},
		{1, []string{"9", group}, []string{"export", group, "9", "data", filepath.Join(w.Dir, "x")}},
		{1, []string{"9"}, []string{"verify", group, "9"}},
		{1, []string{"crm"}, []string{"points", "crm"}},
		{1, []string{"crm"}, []string{"status", "crm"}},
		{1, []string{"crm"}, []string{"cut", "crm"}},
		{1, []string{"crm"}, []string{"unprotect", "crm", "--yes"}},
		{1, []string{"1", "2"}, []string{"advance", group, "1"}}, // behind the head
		{1, []string{"swap"}, []string{"export", group, "1", "swap", filepath.Join(w.Dir, "x")}},
		{1, []string{"os", "2"}, []string{"export", group, "1", "os", filepath.Join(w.Dir, "x")}}, // of which machine?
		{1, []string{there}, []string{"export", group, "1", "data", there}},
		{1, []string{group}, []string{"reprotect", otherPlan}}, // the group exists
		{1, []string{w.disks[2].target, group}, []string{"reprotect", thiefPlan}},
		{1, []string{"none.yaml"}, []string{"check", filepath.Join(w.Dir, "none.yaml")}},
		{1, []string{w.PKI}, []string{"pki", "init", w.PKI}}, // never overwritten
		{2, []string{"x"}, []string{"rewind", group, "x"}},
		{2, []string{"--fast"}, []string{"cut", group, "--fast"}},
		{2, []string{"frobnicate"}, []string{"frobnicate"}},
		{2, nil, []string{"rewind", group}},
		{2, nil, []string{"status", "a/b"}},
	} {
		w.refused(c.code, c.words, c.args...)
	}
	if got, _ := os.ReadFile(there); string(got) != "mine" {
		t.Error("export overwrote a file")
	}
	if _, err := os.Stat(filepath.Join(w.Dir, "x")); !os.IsNotExist(err) {
		t.Errorf("a refused export left a file: %v", err)
	}
	w.exports()
	w.cut()
	w.shows(3)
	w.usage()
}

// usage looks at the forms that all commands share.
func (w *world) usage() {
	w.t.Helper()
	// Flags before or after arguments; one document on standard output, nothing on standard error.
	for _, args := range [][]string{{"--json", "points", group}, {"points", "--json", group}, {"points", group, "--json"}} {
		out, said, code := w.CLI(w.ctx, args...)
		if code != 0 || !json.Valid(out) || len(said) > 0 {
			w.t.Errorf("failback %v: exit code %d, %q on standard output, %q on standard error", args, code, out, said)
		}
	}
	var doc struct {
		Points []map[string]any `json:"points"`
	}
	w.must(w.Do(w.ctx, &doc, "points", group))
	for _, key := range []string{"point", "time", "kind", "head", "pinned", "verified", "bytes"} {
		if _, ok := doc.Points[0][key]; !ok {
			w.t.Errorf("points --json has no %q: %v", key, doc.Points[0])
		}
	}
	// For people: what happened, and what to do.
	_, said, code := w.CLI(w.ctx, "rewind", group, "99")
	if code != 1 || !bytes.Contains(said, []byte("99")) || !bytes.Contains(said, []byte("What to do: ")) {
		w.t.Errorf("rewind to no point: exit code %d, %q", code, said)
	}
	var e struct {
		Error map[string]string `json:"error"`
	}
	out, said, _ := w.CLI(w.ctx, "rewind", group, "99", "--json")
	if err := json.Unmarshal(said, &e); err != nil || len(out) > 0 || e.Error["code"] == "" || e.Error["message"] == "" || e.Error["remedy"] == "" {
		w.t.Errorf("an error with --json: %q on standard error, %q on standard output", said, out)
	}
}

// TestRetentionUnusable starts master targets that have no retention volume to write to.
func TestRetentionUnusable(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stand.Options{})
	w.must(w.Stop())
	file := filepath.Join(w.Dir, "file")
	w.must(os.WriteFile(file, nil, 0o644))
	readOnly := filepath.Join(w.Dir, "ro")
	w.must(os.Mkdir(readOnly, 0o755))
	dirs := map[string]string{"Missing": filepath.Join(w.Dir, "none"), "File": file}
	if os.Geteuid() != 0 {
		w.must(os.Chmod(readOnly, 0o555))
		dirs["NotAllowed"] = readOnly
	}
	for name, dir := range dirs {
		t.Run(name, func(t *testing.T) {
			w.Retention = dir
			err := w.StartMasterTarget()
			if err == nil {
				t.Fatalf("the master target runs with the retention directory %s", dir)
			}
			for _, word := range []string{dir, "What to do: ", "exit status 1"} {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("got %v, want %q in it", err, word)
				}
			}
		})
	}
	if exec.Command("mount", "-t", "tmpfs", "-o", "ro", "tmpfs", readOnly).Run() != nil {
		return // it takes root
	}
	defer exec.Command("umount", readOnly).Run()
	w.Retention = readOnly
	w.must(w.StartMasterTarget()) // what is on a volume that is read-only can be read; nothing new is protected
	_, said, code := w.CLI(w.ctx, "check", w.plan(), "--path-time", "0")
	if code != 1 {
		t.Errorf("check with a read-only retention volume: exit code %d, %s", code, said)
	}
	w.must(w.StopMasterTarget())
}

// TestJournalOfAnother puts another group's journal in the place of a group's.
func TestJournalOfAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stand.Options{}, threeDisks()...)
	w.protect()
	w.cut()
	w.shows(2)
	w.must(w.Do(w.ctx, nil, "unprotect", group, "--keep-journal"))
	theirs, ours := filepath.Join(w.Retention, "crm"), filepath.Join(w.Retention, group)
	w.must(os.Rename(ours, theirs))
	crm, err := w.WritePlan(w.planOf("crm", w.disks...))
	w.must(err)
	w.refused(1, []string{theirs, "crm"}, "reprotect", crm)

	// A group that is protected, when its journal is another's: it stops, and says so; with its own it goes on.
	w.must(os.Rename(theirs, ours))
	w.must(w.Do(w.ctx, nil, "reprotect", w.plan(), "--wait"))
	w.must(w.StopMasterTarget())
	fewer := w.planOf("crm", &disk{machine: "m", id: "d", source: w.disks[2].source, target: filepath.Join(w.Targets, "crm.img"), format: "raw"})
	crm, err = w.WritePlan(fewer)
	w.must(err)
	w.must(w.StartMasterTarget())
	w.must(w.Do(w.ctx, nil, "reprotect", crm, "--wait"))
	w.must(w.StopMasterTarget())
	aside := filepath.Join(w.Dir, "aside")
	w.must(os.Rename(ours, aside))
	w.must(exec.Command("cp", "-a", theirs, ours).Run())
	w.must(w.StartMasterTarget())
	g, err := w.Wait(w.ctx, group, "it has stopped", func(g replication.GroupStatus) bool { return g.State == replication.StateError && g.Problem != nil })
	w.must(err)
	if g.Problem.Remedy == "" || !strings.Contains(g.Problem.Error(), group) || !strings.Contains(g.Problem.Error(), "crm") {
		t.Errorf("the problem is %q, remedy %q: want both groups in it", g.Problem.Error(), g.Problem.Remedy)
	}
	w.must(w.StopMasterTarget())
	w.must(os.RemoveAll(ours))
	w.must(os.Rename(aside, ours))
	w.must(w.StartMasterTarget())
	w.must(w.WaitConnected(w.ctx))
	w.open()
	w.cut()
	w.shows(3)
	w.exports()
}

// TestSourceTrouble lets a source shrink, and vanish, while a cycle is under way. The group says so, and goes on when the source is back.
func TestSourceTrouble(t *testing.T) {
	t.Parallel()
	d := &disk{machine: "m", id: "d", format: "vmfs", size: 96 * mib}
	w := newWorld(t, stand.Options{}, d)
	w.protect()
	for name, trouble := range map[string]struct{ make, mend func() error }{
		"Vanishes": {func() error { return os.Rename(d.source, d.source+".away") }, func() error { return os.Rename(d.source+".away", d.source) }},
		"Shrinks": {func() error { // with what was there kept aside
			if out, err := exec.Command("cp", "--sparse=always", d.source, d.source+".whole").CombinedOutput(); err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return os.Truncate(d.source, d.size/2)
		}, func() error { return os.Rename(d.source+".whole", d.source) }},
	} {
		w.write(d, 0, 64*mib)
		before := w.JournalBytes(group)
		point, err := w.Cut(w.ctx, group)
		w.must(err)
		g, err := w.Wait(w.ctx, group, "a part has arrived", func(g replication.GroupStatus) bool { return g.Last >= point || w.JournalBytes(group)-before > 8*mib })
		w.must(err)
		w.must(trouble.make())
		w.must(w.KillProcessServer()) // a file that is open is read on: make sure that it is looked at
		w.must(w.StartProcessServer())
		if g.Last < point {
			g, err = w.Wait(w.ctx, group, "the group has a problem", func(g replication.GroupStatus) bool { return g.Problem != nil || g.Last >= point })
			w.must(err)
		}
		if g.Last < point && (!strings.Contains(g.Problem.Error(), d.source) && !strings.Contains(g.Problem.Error(), d.name()) || g.Problem.Remedy == "") {
			t.Errorf("%s: the problem is %q, remedy %q: want %s or %s in it", name, g.Problem.Error(), g.Problem.Remedy, d.source, d.name())
		}
		p, err := w.Points(w.ctx, group)
		w.must(err)
		if !p.Has(w.last) {
			t.Errorf("%s: point %d is lost", name, w.last)
		}
		w.must(trouble.mend())
		w.listed(point)
		w.shows(point)
	}
	w.exports()
}
