package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"failback/replication"
)

// noting are commands of a machine that note in the file "log" of dir that they ran; what is given is run after.
func noting(dir, machine, freeze, thaw string) replication.Quiesce {
	note := func(verb, more string) string {
		return fmt.Sprintf("echo %s $2 $FAILBACK_MACHINE >>%s/log; %s", verb, dir, more)
	}
	return replication.Quiesce{Machine: machine, Freeze: note("freeze", freeze), Thaw: note("thaw", thaw), Timeout: 30 * time.Second}
}

// twoCopied opens a group of two disks whose snapshots are copies; what is given is run before each copy is made.
func twoCopied(t *testing.T, dir, before string) *Images {
	t.Helper()
	var specs []Spec
	for no, name := range []string{"a", "b"} {
		path := filepath.Join(dir, name)
		mustWrite(t, path, pattern(uint64(no), 1<<20))
		sp := copying(no, path, dir)
		sp.Snapshot = before + sp.Snapshot
		specs = append(specs, sp)
	}
	return mustOpen(t, filepath.Join(dir, "state"), specs...)
}

// contextUntil returns a context that ends when something has come to be.
func contextUntil(t *testing.T, is func() bool) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for !is() && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	return ctx, cancel
}

func mustCutStill(t *testing.T, s *Images, point replication.PointID, hooks ...replication.Quiesce) replication.Cut {
	t.Helper()
	c, err := s.Cut(t.Context(), point, 0, hooks...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// inOrder checks that what ran is, in the order of its kinds, what is wanted: of each kind so many, where that is said.
func inOrder(t *testing.T, dir string, want ...string) {
	t.Helper()
	var got []string
	n := 0
	for _, line := range strings.Split(readLog(t, dir), "\n") {
		verb, _, _ := strings.Cut(line, " ")
		if len(got) > 0 && strings.HasPrefix(got[len(got)-1], verb+" ") {
			n++
			got[len(got)-1] = fmt.Sprintf("%s %d", verb, n)
			continue
		}
		n = 1
		got = append(got, verb+" 1")
	}
	if !slices.EqualFunc(got, want, func(g, w string) bool { verb, _, _ := strings.Cut(g, " "); return g == w || verb == w }) {
		t.Errorf("ran %q, want %q", got, want)
	}
}

func notFrozen(t *testing.T, s *Images) {
	t.Helper()
	if m := Frozen(s.dir); len(m) != 0 {
		t.Errorf("machines %v are noted as frozen", m)
	}
}

func TestMachinesAreFrozenBeforeAndThawedAfterTheCut(t *testing.T) {
	dir := t.TempDir()
	s := twoCopied(t, dir, "")
	c := mustCutStill(t, s, 1, noting(dir, "db", "", ""), noting(dir, "web", "", ""))
	if !c.App || c.NotApp != "" || c.Skew <= 0 || c.Frozen < c.Skew {
		t.Errorf("cut %+v", c)
	}
	inOrder(t, dir, "freeze 2", "snapshot 2", "thaw 2")
	notFrozen(t, s)
	if again := mustCutStill(t, s, 1, noting(dir, "db", "", "")); !again.App || again.Snapshot != c.Snapshot {
		t.Errorf("cut again: %+v, was %+v", again, c)
	}
	if c = mustCutStill(t, s, 2); c.App || c.NotApp != "" || c.Skew <= 0 {
		t.Errorf("a cut without hooks: %+v", c)
	}
	inOrder(t, dir, "snapshot 2")
	s.Close()
	s = mustOpen(t, s.dir, s.specs...)
	if held, ok := s.Held(1); !ok || !held.App {
		t.Errorf("opened anew: %+v", held)
	}
}

func TestPointIsCrashConsistentWhere(t *testing.T) {
	for name, c := range map[string]struct {
		before string // each snapshot
		hooks  func(dir string) []replication.Quiesce
		want   string
		ran    []string
		frozen bool // perhaps still: that could not be thawed, or a freeze command was killed
	}{
		"FreezeFails": {
			hooks: func(dir string) []replication.Quiesce {
				return []replication.Quiesce{noting(dir, "db", "", ""), noting(dir, "web", "echo no >&2; exit 3", "")}
			},
			want: "machine web: freeze command: exit status 3: no", ran: []string{"freeze", "thaw 2", "snapshot 2"},
		},
		"FreezeIsLate": {
			hooks: func(dir string) []replication.Quiesce {
				late := noting(dir, "web", "exec sleep 1000", "")
				late.Timeout = 2 * time.Second
				return []replication.Quiesce{noting(dir, "db", "", ""), late}
			},
			want: "machine web: the freeze command did not end within 2s", ran: []string{"freeze", "thaw 2", "snapshot 2"}, frozen: true,
		},
		"SnapshotIsLate": { // the first one waits for the thaw, which does not wait for it
			before: "until grep -q thaw $(dirname $FAILBACK_SOURCE)/log; do sleep 0.01; done; ",
			hooks: func(dir string) []replication.Quiesce {
				q := noting(dir, "db", "", "")
				q.Timeout = 3 * time.Second
				return []replication.Quiesce{q}
			},
			want: "not all cut 3s after freezing had begun", ran: []string{"freeze 1", "thaw 1", "snapshot 2"},
		},
		"ThawFails": {
			hooks: func(dir string) []replication.Quiesce { return []replication.Quiesce{noting(dir, "db", "", "exit 1")} },
			want:  "machine db could not be thawed and may be frozen still: thaw command: exit status 1", ran: []string{"freeze 1", "snapshot 2", "thaw 1"}, frozen: true,
		},
		"FreezeIsNotThere": {
			hooks: func(dir string) []replication.Quiesce {
				return []replication.Quiesce{{Machine: "db", Freeze: "/nowhere/freeze now", Thaw: "true", Timeout: time.Second}}
			},
			want: "machine db: the freeze command can't be run", ran: []string{"snapshot 2"},
		},
		"ThawIsNotThere": { // nothing is frozen that can't be thawed
			hooks: func(dir string) []replication.Quiesce {
				return []replication.Quiesce{{Machine: "db", Freeze: "echo freeze >>" + dir + "/log", Thaw: "no-such-program-of-anybody", Timeout: time.Second}}
			},
			want: "machine db: the thaw command can't be run", ran: []string{"snapshot 2"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := twoCopied(t, dir, c.before)
			got := mustCutStill(t, s, 1, c.hooks(dir)...)
			if got.App || !strings.Contains(got.NotApp, c.want) {
				t.Errorf("got %+v, want %q", got, c.want)
			}
			if strings.Contains(got.NotApp, dir) {
				t.Errorf("%q tells the command", got.NotApp)
			}
			inOrder(t, dir, c.ran...)
			if name != "FreezeFails" && !c.frozen { // there the other one's freeze is killed, if it runs yet
				notFrozen(t, s)
			}
			if held, ok := s.Held(1); !ok || held.NotApp != got.NotApp {
				t.Errorf("held %+v, told %+v", held, got)
			}
		})
	}
}

func TestDiskReadInPlaceIsNotFrozenFor(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	mustWrite(t, path, pattern(1, 1<<20))
	s := mustOpen(t, filepath.Join(dir, "state"), spec(0, path))
	c := mustCutStill(t, s, 1, noting(dir, "db", "", ""))
	if s.Kind(0) != KindNone {
		t.Skip("the file system has reflinks")
	}
	if c.App || !strings.Contains(c.NotApp, "disk erp-db/d0 has no snapshots: it is read in place") {
		t.Errorf("cut %+v", c)
	}
	wantLog(t, dir, "")
}

// TestThawIsTriedAgain: a machine that could not be thawed is not frozen for another cut before it has been.
func TestThawIsTriedAgain(t *testing.T) {
	dir := t.TempDir()
	s := twoCopied(t, dir, "")
	q := noting(dir, "db", "", "test -e "+dir+"/mended")
	mustCutStill(t, s, 1, q)
	inOrder(t, dir, "freeze 1", "snapshot 2", "thaw 1")
	if c := mustCutStill(t, s, 2, q); c.App || !strings.Contains(c.NotApp, "may be frozen still") {
		t.Errorf("cut %+v", c)
	}
	inOrder(t, dir, "thaw 1", "snapshot 2")
	mustWrite(t, filepath.Join(dir, "mended"), nil)
	if c := mustCutStill(t, s, 3, q); !c.App {
		t.Errorf("cut %+v", c)
	}
	inOrder(t, dir, "thaw 1", "freeze 1", "snapshot 2", "thaw 1")
	notFrozen(t, s)
}

// TestThawIsMended: what a broken command left frozen is thawed by the one that the hooks have since.
func TestThawIsMended(t *testing.T) {
	dir := t.TempDir()
	s := twoCopied(t, dir, "")
	mustCutStill(t, s, 1, noting(dir, "db", "", "false"))
	inOrder(t, dir, "freeze 1", "snapshot 2", "thaw 1")
	if c := mustCutStill(t, s, 2, noting(dir, "db", "", "")); !c.App {
		t.Errorf("cut %+v", c)
	}
	inOrder(t, dir, "thaw 1", "freeze 1", "snapshot 2", "thaw 1")
	notFrozen(t, s)
}

// TestFrozenMachinesAreThawedBesideAFreezeThatWasLeftRunning, and once more when that has ended: it may freeze after the first.
func TestFrozenMachinesAreThawedBesideAFreezeThatWasLeftRunning(t *testing.T) {
	dir := t.TempDir()
	q := noting(dir, "db", "", "")
	n := frozen{Format: frozenFormat, Version: 1, Group: group, Point: 1, Machines: []replication.Quiesce{q}}
	if err := n.save(dir); err != nil {
		t.Fatal(err)
	}
	left, err := os.Create(filepath.Join(dir, "quiesce-db.run")) // as the command of a killed process holds it
	if err != nil {
		t.Fatal(err)
	}
	if err := lock(left); err != nil {
		t.Fatal(err)
	}
	if err := Thaw(dir, quiet()); err == nil {
		t.Error("thawed for good while a freeze runs")
	}
	inOrder(t, dir, "thaw 1")
	left.Close()
	if err := Thaw(dir, quiet()); err != nil {
		t.Error(err)
	}
	inOrder(t, dir, "thaw 1")
	if err := Thaw(dir, quiet()); err != nil || len(Frozen(dir)) != 0 {
		t.Errorf("thawed: %v", err)
	}
	wantLog(t, dir, "")
}

// TestKilledFreezeIsThawedAgain: what was killed here may come to its end elsewhere, after the first thaw.
func TestKilledFreezeIsThawedAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := twoCopied(t, dir, "")
	q := noting(dir, "db", "exec sleep 1000", "")
	q.Timeout = 4 * time.Second
	if c := mustCutStill(t, s, 1, q); !strings.Contains(c.NotApp, "did not end within 4s") || strings.Contains(c.NotApp, "thawed") {
		t.Errorf("cut %+v", c)
	}
	if m := Frozen(s.dir); !slices.Equal(m, []string{"db"}) {
		t.Errorf("%v are noted as frozen", m)
	}
	inOrder(t, dir, "freeze 1", "thaw 1", "snapshot 2")
	until, err := loadFrozen(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	if c := mustCutStill(t, s, 2, noting(dir, "db", "", "")); !c.App {
		t.Errorf("cut %+v", c)
	}
	inOrder(t, dir, "thaw 1", "freeze 1", "snapshot 2", "thaw 1")
	if n, err := loadFrozen(s.dir); err != nil || time.Now().Before(until.Until) && !n.Until.Equal(until.Until) {
		t.Errorf("%+v is noted after another freeze, %v; it was %+v", n, err, until)
	}
	times := 0
	for deadline := time.Now().Add(2 * time.Minute); len(Frozen(s.dir)) > 0; times++ {
		if time.Now().After(deadline) {
			t.Fatal("thawed again for ever")
		}
		if err := Thaw(s.dir, quiet()); err != nil && !errors.Is(err, errRests) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	inOrder(t, dir, fmt.Sprintf("thaw %d", times))
}

// TestThawIsToldWhatHeld: a thaw command can tell whether its machine was to be frozen all the while.
func TestThawIsToldWhatHeld(t *testing.T) {
	dir := t.TempDir()
	s := twoCopied(t, dir, "")
	q := noting(dir, "db", "test ! -e "+dir+"/fails", "echo held=$FAILBACK_HELD >"+dir+"/told")
	for i, want := range []string{"held=1", "held="} {
		point := replication.PointID(i + 1)
		if point == 2 {
			mustWrite(t, filepath.Join(dir, "fails"), nil)
		}
		mustCutStill(t, s, point, q)
		if told, err := os.ReadFile(filepath.Join(dir, "told")); err != nil || strings.TrimSpace(string(told)) != want {
			t.Errorf("point %d: thaw was told %q, %v, want %q", point, told, err, want)
		}
	}
}

// TestOrderThatEndsThaws: the connection is lost, or the process server is ended, while machines are frozen.
// TestMachineOfTwoGroupsIsFrozenForOneAtATime: neither freezes nor thaws it while the other keeps it still.
func TestMachineOfTwoGroupsIsFrozenForOneAtATime(t *testing.T) {
	dir := t.TempDir()
	groups := make([]*Images, 2)
	logs := filepath.Join(dir, "logs")
	if err := os.Mkdir(logs, 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range groups {
		own := filepath.Join(dir, fmt.Sprint(i))
		path := filepath.Join(own, "disk")
		if err := os.Mkdir(own, 0o755); err != nil {
			t.Fatal(err)
		}
		mustWrite(t, path, pattern(uint64(i), 1<<20))
		groups[i] = mustOpen(t, filepath.Join(dir, "state", fmt.Sprint("g", i)), copying(0, path, own))
	}
	hooks := func(i int, freeze string) []replication.Quiesce {
		return []replication.Quiesce{noting(logs, "web", freeze, ""), noting(logs, "db", "", "")}[:2-i]
	}
	errs := make(chan error)
	for i, s := range groups {
		go func() {
			for point := range replication.PointID(5) {
				c, err := s.Cut(context.Background(), point+1, 0, hooks(i, "sleep 0.01")...)
				if err == nil && !c.App {
					err = errors.New(c.NotApp)
				}
				if err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range groups {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	verb := "thaw"
	for _, line := range strings.Split(strings.TrimSpace(readLog(t, logs)), "\n") {
		if !strings.Contains(line, " web") {
			continue
		}
		was := verb
		if verb, _, _ = strings.Cut(line, " "); verb == was {
			t.Fatalf("web: %s after %s", verb, was)
		}
	}

	// A group that can't have it in time has a point that says so.
	give, err := takeAlone(t.Context(), groups[0].dir, hooks(0, ""))
	if err != nil {
		t.Fatal(err)
	}
	short := hooks(1, "")
	short[0].Timeout = 50 * time.Millisecond
	if c := mustCutStill(t, groups[1], 9, short...); c.App || !strings.Contains(c.NotApp, "another group keeps it still") {
		t.Errorf("cut %+v", c)
	}
	if m := Frozen(groups[1].dir); len(m) != 0 {
		t.Errorf("machines %v are noted as frozen", m)
	}

	// What an earlier process left frozen is not thawed in the middle of another group's cut.
	left := frozen{Format: frozenFormat, Version: 1, Group: "g1", Point: 9, Machines: hooks(1, "")}
	if err := left.save(groups[1].dir); err != nil {
		t.Fatal(err)
	}
	readLog(t, logs)
	thawed := make(chan error)
	go func() { thawed <- Thaw(groups[1].dir, quiet()) }()
	select {
	case err := <-thawed:
		t.Errorf("it was thawed meanwhile: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	wantLog(t, logs, "")
	give()
	if err := <-thawed; err != nil {
		t.Fatal(err)
	}
	wantLog(t, logs, "thaw web web")
}

func TestOrderThatEndsThaws(t *testing.T) {
	dir := t.TempDir()
	s := twoCopied(t, dir, "echo begun >>$(dirname $FAILBACK_SOURCE)/begun; exec sleep 1000; ")
	ctx, cancel := contextUntil(t, func() bool { b, _ := os.ReadFile(filepath.Join(dir, "begun")); return len(b) > 0 })
	defer cancel()
	if _, err := s.Cut(ctx, 1, 0, noting(dir, "db", "", "")); err == nil {
		t.Error("cut without snapshots")
	}
	wantLog(t, dir, "freeze db db\nthaw db db")
	notFrozen(t, s)
}

func TestRunnable(t *testing.T) {
	for line, want := range map[string]bool{
		"true":                        true,
		"  ls -l /":                   true,
		"/bin/sh -c x":                true,
		"if true; then ls; fi":        true,
		"A=b nothing-of-that-name":    true, // not told
		"(cd /; nothing-of-that-name": false,
		"f() { true; }; f":            true,
		"nothing-of-that-name x":      false,
		"/etc/passwd":                 false,
		"/nowhere/x":                  false,
		"if true":                     false,
		"echo 'x":                     false,
	} {
		if err := Runnable(line); (err == nil) != want {
			t.Errorf("%q: %v", line, err)
		}
	}
}
