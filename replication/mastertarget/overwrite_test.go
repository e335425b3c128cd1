package mastertarget

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"failback/blockio"
	"failback/replication"
	"failback/retention"
)

// looks returns what the targets look like; nobody has them open.
func (p *pair) looks() (all []seen) {
	p.t.Helper()
	for i := range p.sizes {
		target, err := blockio.OpenTarget(p.dst(i), blockio.TargetOptions{})
		if err != nil {
			p.t.Fatal(err)
		}
		f, err := target.Fingerprint(p.t.Context())
		if err != nil {
			p.t.Fatal(err)
		}
		all = append(all, seen{target.Description().ContentID, string(f)})
		if err := target.Close(); err != nil {
			p.t.Fatal(err)
		}
	}
	return all
}

// journal returns what the group's journal says; nobody has it open.
func (p *pair) journal() (id retention.Identity, points int, g replication.Generation) {
	p.t.Helper()
	i, err := retention.Inspect(filepath.Join(p.dir, "ret", "g"))
	if err != nil {
		p.t.Fatal(err)
	}
	defer i.Close()
	return i.Identity(), len(i.Points()), i.Generation()
}

// record changes the group's record, as it stands when the master target is killed.
func (p *pair) record(change func(*groupRecord)) {
	p.t.Helper()
	cat, err := openCatalogue(filepath.Join(p.dir, "mt"))
	if err != nil {
		p.t.Fatal(err)
	}
	defer cat.close()
	var r groupRecord
	if err := each(cat, bucketGroups, func(_ replication.GroupID, is groupRecord) error { r = is; return nil }); err != nil {
		p.t.Fatal(err)
	}
	change(&r)
	if err := cat.put(bucketGroups, "g", r); err != nil {
		p.t.Fatal(err)
	}
}

// foreign has something else write to targets, and returns what they hold then.
func (p *pair) foreign(paths ...string) (written [][]byte) {
	p.t.Helper()
	for _, path := range paths {
		if err := overwrite(path); err != nil {
			p.t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			p.t.Fatal(err)
		}
		written = append(written, b)
	}
	return written
}

// asked returns what an operator is asked who wants a resync.
func (p *pair) asked() *replication.ResyncOverwrites {
	p.t.Helper()
	p.becomes(replication.StateError)
	_, err := p.master.Resync(p.t.Context(), replication.ResyncRequest{Group: "g"})
	isProblem(p.t, "a resync that overwrites what others wrote", err, replication.CodeResyncOverwrites)
	var o *replication.ResyncOverwrites
	if !errors.As(err, &o) || o.Seen == "" {
		p.t.Fatalf("the question has no token: %v", err)
	}
	return o
}

// protectedOnce has the group with one point, and closes all.
func (p *pair) protectedOnce() {
	p.t.Helper()
	if _, _, err := p.master.Reprotect(p.t.Context(), p.plan); err != nil {
		p.t.Fatal(err)
	}
	p.listed(1)
	p.close()
}

// TestNewerBytesAreOverwrittenOnlyAtTheOperatorsWord has something else write two targets, and each step towards the new journal cut off.
func TestNewerBytesAreOverwrittenOnlyAtTheOperatorsWord(t *testing.T) {
	t.Parallel()
	p := newPair(t, 11)
	p.protectedOnce()
	flat := strings.TrimSuffix(p.dst(0), ".vmdk") + "-flat.vmdk"
	written := p.foreign(flat, p.dst(1))
	p.open()
	o := p.asked()
	for _, want := range []string{p.dst(0), p.dst(1), "1 points"} { // not the first that is found alone
		if !strings.Contains(o.Error(), want) {
			t.Errorf("%q does not say %q", o.Error(), want)
		}
	}
	for i, path := range []string{flat, p.dst(1)} {
		if now, err := os.ReadFile(path); err != nil || differs(now, written[i]) >= 0 {
			t.Errorf("%s was written without the operator's word: at %d, error %v", path, differs(now, written[i]), err)
		}
	}
	p.close()

	for _, left := range []string{"the journal", "its directory", "nothing"} {
		dir := filepath.Join(p.dir, "ret", "g")
		id, _, generation := p.journal()
		p.record(func(r *groupRecord) { // killed when the word was noted
			r.Renew = &renewal{Journal: id.UUID, Disks: id.Disks, Generation: generation, Seen: p.looks()}
		})
		switch left { // killed after that
		case "its directory":
			if err := os.Rename(filepath.Join(dir, "log"), filepath.Join(dir, "log.retired")); err != nil {
				t.Fatal(err)
			}
		case "nothing":
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		}
		p.open()
		p.listed(1)
		p.kept = map[replication.PointID][][]byte{}
		p.keep(1)
		p.contents("begun anew from " + left)
		if s := p.becomes(replication.StateProtected); s.Problem != nil {
			t.Errorf("from %s: %+v", left, s.Problem)
		}
		p.close()
		if anew, _, now := p.journal(); anew.UUID == id.UUID || now <= generation {
			t.Errorf("from %s: journal %s at generation %d, after %s at %d", left, anew.UUID, now, id.UUID, generation)
		}
	}
}

func TestResyncOverATargetThatOthersWrote(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	p := newPair(t, 12)
	p.plan = append([]byte("keep_original: true\n"), p.plan...)
	p.protectedOnce()
	written := p.foreign(p.dst(1))[0]
	p.change()
	p.open()
	o := p.asked()
	_, err := p.master.Resync(ctx, replication.ResyncRequest{Group: "g", Overwrite: true})
	isProblem(t, "a word about nothing that was seen", err, replication.CodeResyncOverwrites)
	if _, err := p.master.Resync(ctx, replication.ResyncRequest{Group: "g", Overwrite: true, Seen: o.Seen}); err != nil {
		t.Fatal(err)
	}
	p.listed(1)
	p.keep(1)
	p.contents("begun anew")
	c, err := p.master.Export(ctx, "g", replication.OriginalPoint, "two")
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, c.Size())
	if _, err := c.ReadAt(got, 0); err != nil || differs(got, written) >= 0 {
		t.Errorf("what was overwritten is not kept as point 0: at %d, error %v", differs(got, written), err)
	}
	c.Close()
	p.close()
}

// TestTheOperatorsWordIsAboutWhatHeWasShown: what is written later, whenever that is, is not overwritten by it.
func TestTheOperatorsWordIsAboutWhatHeWasShown(t *testing.T) {
	t.Parallel()
	p := newPair(t, 13)
	p.protectedOnce()
	p.foreign(p.dst(1))

	p.open()
	o := p.asked()
	later := func(at int64) []byte {
		t.Helper()
		f, err := os.OpenFile(p.dst(1), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.WriteAt([]byte("two days of work"), at)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(p.dst(1))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	holds := func(want []byte, points int, when string) {
		t.Helper()
		p.asked()
		p.close()
		if now, err := os.ReadFile(p.dst(1)); err != nil || differs(now, want) >= 0 {
			t.Errorf("%s: what was written after the word was overwritten: at %d, error %v", when, differs(now, want), err)
		}
		if _, n, _ := p.journal(); n != points {
			t.Errorf("%s: the journal has %d points, want %d", when, n, points)
		}
	}
	work := later(4096)
	_, err := p.master.Resync(t.Context(), replication.ResyncRequest{Group: "g", Overwrite: true, Seen: o.Seen})
	isProblem(t, "a word about what was there before", err, replication.CodeResyncOverwrites)
	holds(work, 1, "between question and word")

	id, _, generation := p.journal()
	note := func() {
		p.record(func(r *groupRecord) {
			r.Renew = &renewal{Journal: id.UUID, Disks: id.Disks, Generation: generation, Seen: p.looks()}
		})
	}
	note()
	work = later(8192)
	p.open()
	holds(work, 1, "between the word and the journal's end")
	p.record(func(r *groupRecord) {
		if r.Renew != nil {
			t.Error("a word that is void stands")
		}
	})

	note()
	if err := os.RemoveAll(filepath.Join(p.dir, "ret", "g")); err != nil {
		t.Fatal(err)
	}
	work = later(12288)
	p.open()
	holds(work, 0, "after the journal's end")

	dir := filepath.Join(p.dir, "ret", "g")
	was, _, generation := p.journal()
	note()
	if err := retention.Remove(dir); err != nil {
		t.Fatal(err)
	}
	j, err := retention.Create(dir, retention.Identity{Group: "g", Created: time.Now().UTC(), Disks: was.Disks, Targets: was.Targets})
	if err == nil {
		err = j.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	work = later(16384)
	p.open()
	holds(work, 0, "after the new journal was made, and before it was noted there what its disks have to be")
	if _, _, now := p.journal(); now <= generation {
		t.Errorf("the new journal has generation %d, the one before had %d", now, generation)
	}
}

// TestNothingIsGivenUpBeforeAResyncCanBegin: not while a disk is in use, nor while files that are not the journal's would keep its directory.
func TestNothingIsGivenUpBeforeAResyncCanBegin(t *testing.T) {
	t.Parallel()
	p := newPairWith(t, 14, Config{retry: 50 * time.Millisecond})
	p.protectedOnce()
	p.foreign(p.dst(1))
	stray := filepath.Join(p.dir, "ret", "g", "notes.txt")
	if err := os.WriteFile(stray, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p.open()
	p.becomes(replication.StateError)
	_, err := p.master.Resync(t.Context(), replication.ResyncRequest{Group: "g"})
	isProblem(t, "a resync beside files that are not the journal's", err, "journal")
	if err == nil || !strings.Contains(err.Error(), "notes.txt") {
		t.Errorf("%v does not name the file", err)
	}
	if err := os.Remove(stray); err != nil {
		t.Fatal(err)
	}
	p.close()

	id, _, generation := p.journal()
	p.record(func(r *groupRecord) {
		r.Renew = &renewal{Journal: id.UUID, Disks: id.Disks, Generation: generation, Seen: p.looks()}
	})
	held, err := blockio.OpenTarget(p.dst(2), blockio.TargetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p.open()
	s := p.becomes(replication.StateError)
	if s.Problem == nil || s.Problem.Code != "target-in-use" {
		t.Errorf("with a disk in use: %+v", s.Problem)
	}
	if is, points, _ := p.journal(); is.UUID != id.UUID || points != 1 {
		t.Errorf("journal %s with %d points while the resync can't begin, want %s with 1", is.UUID, points, id.UUID)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	p.listed(1) // it goes on by itself
	p.keep(1)
	p.contents("begun anew")
	p.close()
}

// TestResyncKeepsTheOnlyCopyOfTheOriginal refuses where others write to a disk in the midst of the first cycle: what it was before is in the journal only.
func TestResyncKeepsTheOnlyCopyOfTheOriginal(t *testing.T) {
	t.Parallel()
	p := newPairWith(t, 78, Config{wrap: func(_ string, t blockio.Target) blockio.Target { return full{t} }})
	p.plan = append([]byte("keep_original: true\n"), p.plan...)
	before := make([]byte, p.sizes[1])
	for i := range before {
		before[i] = byte(1 + p.r.Uint32()%255)
	}
	if err := os.WriteFile(p.dst(1), before, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.master.Reprotect(t.Context(), p.plan); err != nil {
		t.Fatal(err)
	}
	g, err := p.master.group("g")
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if g.waitReady(t.Context()) == nil {
			if n, _ := g.journal.OriginalStored(); n > 0 {
				break
			}
		}
		if time.Now().After(end) {
			t.Fatalf("nothing is saved: %+v", g.status())
		}
	}
	p.close()
	p.foreign(p.dst(1))
	p.open()
	p.becomes(replication.StateError)
	for _, r := range []replication.ResyncRequest{{Group: "g"}, {Group: "g", Overwrite: true}} {
		_, err = p.master.Resync(t.Context(), r)
		isProblem(t, "a resync that would give the original up", err, replication.CodeOriginalLost)
		if p := replication.AsProblem(err); !strings.Contains(p.Remedy, "--keep-journal") {
			t.Errorf("it says no way out: %q", p.Remedy)
		}
	}
	p.close()
}

// TestTheWordStandsInABackup that was made when it was given: the new journal has just been made, and does not know yet what its disks have to be, when the master target is lost and another one is made of the backup. It overwrites what
// the operator was told of, and nothing that was written later. Where the journal is the one still that was to be given up, the word is void.
func TestTheWordStandsInABackup(t *testing.T) {
	t.Parallel()
	p := newPair(t, 15)
	p.protectedOnce()
	dir := filepath.Join(p.dir, "ret", "g")
	was, _, generation := p.journal()
	restored := func(aside string) {
		t.Helper()
		was, _, generation = p.journal()
		p.record(func(r *groupRecord) {
			r.Renew = &renewal{Journal: was.UUID, Disks: was.Disks, Generation: generation, Seen: p.looks()}
		})
		f, err := ReadBackup(filepath.Join(p.dir, "mt"))
		if err == nil {
			err = os.Rename(filepath.Join(p.dir, "mt"), filepath.Join(p.dir, aside))
		}
		if err == nil {
			err = Restore(filepath.Join(p.dir, "mt"), f, true, func() error { return nil })
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	anew := func() {
		t.Helper()
		if err := retention.Remove(dir); err != nil {
			t.Fatal(err)
		}
		j, err := retention.Create(dir, retention.Identity{Group: "g", Created: time.Now().UTC(), Disks: was.Disks, Targets: was.Targets})
		if err == nil {
			err = j.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	told := p.foreign(p.dst(1))[0]
	holds := func(want []byte, points int, when string) {
		t.Helper()
		p.open()
		p.settled(codeTargetChanged)
		p.asked()
		p.close()
		if now, err := os.ReadFile(p.dst(1)); err != nil || differs(now, want) >= 0 {
			t.Errorf("%s: it was overwritten: at %d, error %v", when, differs(now, want), err)
		}
		if _, n, now := p.journal(); n != points || now <= generation {
			t.Errorf("%s: the journal has %d points and generation %d, want %d points, above generation %d", when, n, now, points, generation)
		}
	}
	restored("first")
	holds(told, 1, "with the journal that was to be given up")

	restored("second")
	anew()
	f, err := os.OpenFile(p.dst(1), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt([]byte("two days of work"), 4096)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	later, err := os.ReadFile(p.dst(1))
	if err != nil {
		t.Fatal(err)
	}
	holds(later, 0, "written to after the word")

	restored("third")
	anew()
	p.open()
	p.listed(1)
	p.kept = map[replication.PointID][][]byte{}
	p.keep(1)
	p.contents("what the operator was told of")
	p.close()
	if _, _, now := p.journal(); now <= generation {
		t.Errorf("the new journal has generation %d, the one before had %d", now, generation)
	}
}
