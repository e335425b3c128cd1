package mastertarget

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"failback/replication"
	"failback/replication/backup"
	"failback/replication/preflight"
)

// restored puts a state directory made of a backup in the place of the one that is there, which is kept aside, and opens it.
func (p *pair) restored(f backup.File, aside string) {
	p.t.Helper()
	p.close()
	mt := filepath.Join(p.dir, "mt")
	if err := os.Rename(mt, filepath.Join(p.dir, aside)); err != nil {
		p.t.Fatal(err)
	}
	if err := Restore(mt, f, f.Machine == "", func() error { return nil }); err != nil {
		p.t.Fatal(err)
	}
	p.open()
}

// settled waits until the group is open, or has a problem of the code.
func (p *pair) settled(code string) replication.GroupStatus {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var s replication.GroupStatus
	if err := p.master.wait(ctx, func() bool {
		s = p.state()
		return code == "" && s.State == replication.StateProtected || s.Problem != nil && s.Problem.Code == code
	}); err != nil {
		p.t.Fatalf("want problem %q: %+v", code, s)
	}
	return s
}

// TestRestoredFromAnOldBackup: points, plan and process server are the journal's, which has gone on since; the generation is above any that was used; and who was backed up does not write any more.
func TestRestoredFromAnOldBackup(t *testing.T) {
	t.Parallel()
	x := &images{}
	p := newPairWith(t, 91, Config{reached: func(step string) {
		if step == "restored" {
			x.take(step)
		}
	}})
	x.p = p
	ctx := context.Background()
	p.begin()
	f, err := p.master.Backup()
	if err != nil || f.Generations["g"] == 0 || len(f.Records["groups"]) != 1 || f.Owner == "" {
		t.Fatalf("backup: %+v, %v", f, err)
	}
	text, err := backup.Encode(f)
	if err != nil {
		t.Fatal(err)
	}
	if f, err = backup.Decode(text); err != nil {
		t.Fatal(err)
	}
	end := p.second()
	if _, err := p.master.Apply(ctx, replication.ApplyRequest{Group: "g", MoveTo: "ps2"}); err != nil {
		t.Fatal(err)
	}
	p.another()
	last := p.another()
	was := p.state().Generation
	end()

	x.on = true
	p.restored(f, "old")
	defer p.second()()
	s := p.settled("")
	x.on = false
	if s.Last != last || s.Generation <= was || s.ProcessServer != "ps2" {
		t.Errorf("restored: %+v; the last point was %d, the generation %d", s, last, was)
	}
	p.another()
	if p.compared() {
		t.Error("the process server has its snapshots still, and compares")
	}
	p.contents("restored")
	if err := each(p.master.cat, bucketFarewells, func(key replication.GroupID, _ farewell) error { return errors.New("to " + string(key)) }); err != nil && err.Error() != "to g/ps" {
		t.Errorf("farewells: %v", err)
	}
	p.close()

	for _, now := range []string{"old", "killed"} { // the one that was backed up is back; and the backup is restored once more
		if now == "killed" {
			if err := os.Rename(filepath.Join(p.dir, "mt"), filepath.Join(p.dir, "old")); err != nil {
				t.Fatal(err)
			}
			if err := Restore(filepath.Join(p.dir, "mt"), f, f.Machine == "", func() error { return nil }); err != nil {
				t.Fatal(err)
			}
		} else if err := errors.Join(os.Rename(filepath.Join(p.dir, "mt"), filepath.Join(p.dir, "new")), os.Rename(filepath.Join(p.dir, "old"), filepath.Join(p.dir, "mt"))); err != nil {
			t.Fatal(err)
		}
		p.open()
		p.settled(preflight.CodeTakenOver)
		p.close()
	}

	// Killed when the journal was taken over, and the catalogue did not know it yet.
	for id := range p.kept {
		if id > last {
			delete(p.kept, id)
		}
	}
	x.put(0)
	p.open()
	if s := p.settled(""); s.Last != last || s.Generation <= was {
		t.Errorf("killed in the middle: %+v", s)
	}
	p.contents("killed in the middle")
	p.close()
}

// TestRestoredCommitRunsNoCommand: as with an adoption. Afterwards the group is unprotected with its journal kept, and a backup of before does not bring it back.
func TestRestoredCommitRunsNoCommand(t *testing.T) {
	t.Parallel()
	p := newPair(t, 92)
	ctx := context.Background()
	p.begin()
	ran := filepath.Join(p.dir, "ran")
	isProblem(t, "the after-command", func() error {
		_, err := p.master.Commit(ctx, "g", replication.CommitRequest{After: "test -e " + p.dir + "/not-there"}, silent)
		return err
	}(), replication.CodeAfterCommand)
	f, err := p.master.Backup()
	if err != nil {
		t.Fatal(err)
	}
	p.restored(f, "old")
	if err := p.master.wait(ctx, func() bool { return p.state().State == replication.StateCommitted }); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(ran); !errors.Is(err, os.ErrNotExist) {
		t.Error("a command ran")
	}
	p.undo()
	p.contents("undone")
	if f, err = p.master.Backup(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.master.Unprotect(ctx, "g", true, false); err != nil {
		t.Fatal(err)
	}
	p.restored(f, "older")
	p.settled(preflight.CodeTakenOver)
	if _, dir, err := p.master.Unprotect(ctx, "g", false, false); err != nil || dir == "" {
		t.Errorf("to forget it: %q, %v", dir, err)
	}
	p.close()
	if _, err := os.Stat(filepath.Join(p.dir, "ret", "g")); err != nil {
		t.Errorf("the journal is gone: %v", err)
	}
}

// TestBackupOfOneThatDoesNotRun is the same as while it runs, but for what only open journals tell.
func TestBackupOfOneThatDoesNotRun(t *testing.T) {
	p := newPair(t, 93)
	p.begin()
	state := filepath.Join(p.dir, "mt")
	if _, err := ReadBackup(state); replication.AsProblem(err).Code != "state-in-use" {
		t.Errorf("while it runs: %v", err)
	}
	if _, err := ReadBackup(p.dir); replication.AsProblem(err).Code != "state" {
		t.Errorf("of another directory: %v", err)
	}
	running, err := p.master.Backup()
	if err != nil {
		t.Fatal(err)
	}
	p.close()
	f, err := ReadBackup(state)
	if err != nil || f.Owner != running.Owner || !slices.Equal(slices.Sorted(maps.Keys(f.Records)), []string{"farewells", "groups", "names", "paces"}) || string(f.Records["groups"]["g"]) != string(running.Records["groups"]["g"]) {
		t.Errorf("got %+v, %v, want %+v", f, err, running)
	}
	restore := func(f backup.File, state string, off bool) error {
		return Restore(state, f, off, func() error { return nil })
	}
	isProblem(t, "over a catalogue", restore(f, state, true), "state-in-use")
	elsewhere := f
	elsewhere.Machine = "another"
	isProblem(t, "of another machine", restore(elsewhere, filepath.Join(p.dir, "new"), false), preflight.CodeOldHost)
	more := f
	more.Records = maps.Clone(f.Records)
	more.Records["secrets"] = nil
	isProblem(t, "with records that are not known", restore(more, filepath.Join(p.dir, "new"), true), "backup")
	failed := errors.New("no space")
	if err := Restore(filepath.Join(p.dir, "new"), f, true, func() error { return failed }); !errors.Is(err, failed) {
		t.Errorf("got %v", err)
	}
	if err := restore(f, filepath.Join(p.dir, "new"), true); err != nil { // what the attempt before left is in nobody's way
		t.Errorf("tried again: %v", err)
	}
}

// TestStateOfANewerReleaseIsRefused by its version, and stays as it is.
func TestStateOfANewerReleaseIsRefused(t *testing.T) {
	dir := t.TempDir()
	cat, err := openCatalogue(dir)
	if err != nil {
		t.Fatal(err)
	}
	err = cat.db.Update(func(tx *bbolt.Tx) error {
		return errors.Join(tx.Bucket(bucketMeta).Put(keyVersion, []byte("2")), tx.DeleteBucket(bucketTokens))
	})
	if err = errors.Join(err, cat.close()); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(filepath.Join(dir, catalogueName))
	if err != nil {
		t.Fatal(err)
	}
	_, err = openCatalogue(dir)
	isProblem(t, "opened", err, "state-version")
	if p := replication.AsProblem(err); !strings.Contains(p.Message, "version 2") || !strings.Contains(p.Message, dir) || p.Remedy == "" {
		t.Errorf("got %+v", p)
	}
	_, err = ReadBackup(dir)
	isProblem(t, "backed up", err, "state-version")
	if after, err := os.ReadFile(filepath.Join(dir, catalogueName)); err != nil || string(after) != string(before) {
		t.Errorf("it was changed: %v", err)
	}
}

// TestFarewellsOfRestoredGroupsWait until their journals have said who has them.
func TestFarewellsOfRestoredGroupsWait(t *testing.T) {
	e := &Engine{groups: map[replication.GroupID]*group{"g": {id: "g", record: groupRecord{Restored: &restoredFrom{}}}, "h": {id: "h"}}}
	if ids := e.restored(); !ids["g"] || ids["h"] {
		t.Errorf("restored are %v, want g", ids)
	}
}

// TestRestoreBesideAStart does not take the place of the catalogue that was made meanwhile.
func TestRestoreBesideAStart(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, catalogueName)
	err := Restore(dir, backup.File{}, true, func() error { return os.WriteFile(path, []byte("theirs"), 0o600) })
	isProblem(t, "beside a start", err, "state-in-use")
	if b, err := os.ReadFile(path); err != nil || string(b) != "theirs" {
		t.Errorf("the catalogue has %q, %v", b, err)
	}
	if left, err := filepath.Glob(path + ".*"); err != nil || len(left) > 0 {
		t.Errorf("left are %v, %v", left, err)
	}
}

// TestLeftOfARestoreThatWasKilled: it goes at the next restore, and at the next start.
func TestLeftOfARestoreThatWasKilled(t *testing.T) {
	dir, ret := t.TempDir(), t.TempDir()
	left := filepath.Join(dir, catalogueName+".restored-123")
	leave := func() {
		if err := os.WriteFile(left, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	gone := func(when string) {
		if _, err := os.Lstat(left); !os.IsNotExist(err) {
			t.Errorf("%s: it is still there: %v", when, err)
		}
	}
	leave()
	if err := Restore(dir, backup.File{}, true, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	gone("another restore")
	leave()
	e, err := Open(Config{State: dir, Retention: ret, AllowSharedVolume: true})
	if err != nil {
		t.Fatal(err)
	}
	gone("a start")
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	fresh := t.TempDir()
	err = Restore(fresh, backup.File{}, true, func() error {
		e, err := Open(Config{State: fresh, Retention: ret, AllowSharedVolume: true}) // whose start removes what is being restored
		if err != nil {
			return err
		}
		return e.Close()
	})
	isProblem(t, "a start in the middle", err, "state-in-use")
}

// TestOneRestoreAtATime: while one is under way no other begins, and no master target starts; beside a master target that runs none begins, even where its catalogue was moved away. Neither changes anything.
func TestOneRestoreAtATime(t *testing.T) {
	dir, ret := t.TempDir(), t.TempDir()
	never := func() error {
		t.Error("it goes on to the jobs")
		return nil
	}
	err := Restore(dir, backup.File{Throttle: "first"}, true, func() error {
		isProblem(t, "another restore", Restore(dir, backup.File{Throttle: "second"}, true, never), "state-in-use")
		_, err := Open(Config{State: dir, Retention: ret, AllowSharedVolume: true})
		isProblem(t, "a start", err, "state-in-use")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if f, err := ReadBackup(dir); err != nil || f.Throttle != "first" {
		t.Errorf("restored is %q, %v; want the first", f.Throttle, err)
	}

	running := t.TempDir()
	e, err := Open(Config{State: running, Retention: ret, AllowSharedVolume: true})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(running, catalogueName)
	if err := os.Rename(path, path+".damaged"); err != nil {
		t.Fatal(err)
	}
	isProblem(t, "beside one that runs", Restore(running, backup.File{}, true, never), "state-in-use")
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Restore(running, backup.File{}, true, func() error { return nil }); err != nil {
		t.Errorf("when it has ended: %v", err)
	}
}
