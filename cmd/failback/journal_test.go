package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"failback/blockio"
	"failback/replication"
	"failback/replication/block"
	"failback/retention"
)

// journalStand is a journal with two disks on this machine, and what they held at each point.
type journalStand struct {
	t     *testing.T
	base  string
	dir   string
	paths []string
	disks []blockio.Target
	ids   []uint32
	j     *retention.Journal
	cur   [][]byte
	truth map[replication.PointID][][]byte
}

const standDisk = 1 << 20

// newJournalStand makes a journal of a VMDK and a raw disk, with points 1 to 4, the head at 4.
func newJournalStand(t *testing.T) *journalStand {
	t.Helper()
	base := t.TempDir()
	s := &journalStand{t: t, base: base, dir: filepath.Join(base, "retention", "erp"), truth: map[replication.PointID][][]byte{}}
	s.must(os.Mkdir(filepath.Dir(s.dir), 0o700))
	id := retention.Identity{Group: "erp", UUID: "00112233445566778899aabbccddeeff", Created: noon}
	for d, name := range []string{"os.vmdk", "data.raw"} {
		path := filepath.Join(base, name)
		s.must(blockio.Create(path, blockio.DefaultFormat(path), standDisk))
		s.paths = append(s.paths, path)
		id.Disks = append(id.Disks, replication.Disk{No: replication.DiskNo(d), ID: replication.DiskID("db/" + strings.SplitN(name, ".", 2)[0]), Size: standDisk})
		id.Targets = append(id.Targets, path)
	}
	var err error
	s.j, err = retention.Create(s.dir, id)
	s.must(err)
	t.Cleanup(func() { s.j.Close() })
	_, err = s.j.Adopt(0)
	s.must(err)
	s.session()
	s.baseline()
	for p := range 3 {
		s.cycle(int64(p))
	}
	s.move(4)
	return s
}

func (s *journalStand) must(err error) {
	if err != nil {
		s.t.Helper()
		s.t.Fatal(err)
	}
}

// session opens the disks as a master target does.
func (s *journalStand) session() {
	s.disks, s.ids = nil, nil
	for range s.paths {
		s.ids = append(s.ids, blockio.NewContentID())
	}
	known := s.j.ContentIDs()
	s.must(s.j.RecordContentIDs(s.ids))
	s.must(s.j.RecordFingerprints(nil))
	for i, path := range s.paths {
		d, err := blockio.OpenTarget(path, blockio.TargetOptions{ResumeContentIDs: known[i]})
		s.must(err)
		s.must(d.SetContentID(s.ids[i]))
		s.disks = append(s.disks, d)
		s.t.Cleanup(func() { d.Close() })
	}
}

// end closes disks and journal, as a master target does that ends well.
func (s *journalStand) end() {
	var prints []string
	for _, d := range s.disks {
		f, err := d.Fingerprint(s.t.Context())
		s.must(err)
		prints = append(prints, string(f))
	}
	s.must(s.j.RecordFingerprints(prints))
	s.kill()
}

// kill closes disks and journal without a word.
func (s *journalStand) kill() {
	for _, d := range s.disks {
		s.must(d.Close())
	}
	s.must(s.j.Close())
}

func (s *journalStand) sizes() []int64 { return []int64{standDisk, standDisk} }

func (s *journalStand) baseline() {
	s.must(s.j.Begin(replication.Cycle{Point: 1, Mode: replication.Compare, Route: replication.Through, Cut: replication.Cut{Time: noon, Sizes: s.sizes()}}))
	r := rand.NewChaCha8([32]byte{7})
	all := replication.NewSet(replication.Extent{End: standDisk})
	var totals []replication.Total
	for d, disk := range s.disks {
		b := make([]byte, standDisk)
		r.Read(b[:standDisk/2])
		_, err := disk.WriteAt(b, 0)
		s.must(err)
		s.must(disk.Sync())
		s.cur = append(s.cur, b)
		s.must(s.j.RecordCoverage(map[replication.DiskNo][]replication.Extent{replication.DiskNo(d): all.Extents()}))
		totals = append(totals, replication.Total{Disk: replication.DiskNo(d), Bytes: standDisk, Digest: all.Digest()})
	}
	p, err := s.j.List(totals, replication.Crash, nil)
	s.must(err)
	s.note(p.ID)
}

func (s *journalStand) note(p replication.PointID) {
	s.truth[p] = [][]byte{bytes.Clone(s.cur[0]), bytes.Clone(s.cur[1])}
}

// cycle makes a point that changes 64 KiB at a few places of each disk.
func (s *journalStand) cycle(k int64) {
	a := s.lane()
	var totals []replication.Total
	for d := range s.disks {
		totals = append(totals, s.change(a, d, k))
	}
	s.must(a.Close())
	p, err := s.j.List(totals, replication.App, nil)
	s.must(err)
	s.note(p.ID)
}

func (s *journalStand) lane() *retention.Arrival {
	last, _ := s.j.Last()
	n := s.j.NextPoint()
	s.must(s.j.Begin(replication.Cycle{Point: n, Base: last.ID, BaseChain: last.Chain, Mode: replication.Changes, Route: replication.Journaled,
		Cut: replication.Cut{Time: noon.Add(time.Duration(n) * time.Minute), Snapshot: fmt.Sprint(n), Sizes: s.sizes()}}))
	a, err := s.j.Lane(replication.Lane{Session: replication.Session{Group: "erp", Generation: s.j.Generation(), ID: 1}, Point: n, Attempt: uint64(n)})
	s.must(err)
	return a
}

func (s *journalStand) change(a *retention.Arrival, d int, k int64) replication.Total {
	var enc block.Encoder
	set := &replication.Set{}
	r := rand.NewChaCha8([32]byte{byte(k), byte(d), 1})
	for i := range int64(4) {
		e := replication.Extent{Off: (i*4 + k) * 64 << 10 % standDisk}
		e.End = e.Off + 64<<10
		raw := s.cur[d][e.Off:e.End]
		r.Read(raw) // nothing that a codec could make smaller
		b := block.Block{Disk: replication.DiskNo(d), Kind: block.Data, Extents: []replication.Extent{e}, Raw: len(raw), CRC: block.Checksum(raw)}
		b.Payload, b.Codec = enc.Encode(nil, raw, block.LevelLZ4)
		s.must(a.Append(&b))
		set.Add(e)
	}
	return replication.Total{Disk: replication.DiskNo(d), Bytes: set.Bytes(), Digest: set.Digest()}
}

func (s *journalStand) targets() (ds []retention.Disk) {
	for _, d := range s.disks {
		ds = append(ds, d)
	}
	return ds
}

func (s *journalStand) move(to replication.PointID) {
	s.must(s.j.Move(s.t.Context(), s.targets(), to, nil))
}

// reread reads a disk that was extracted.
func (s *journalStand) reread(path string) []byte {
	s.t.Helper()
	d, err := blockio.OpenReader(path)
	s.must(err)
	defer d.Close()
	b := make([]byte, d.Size())
	_, err = d.ReadAt(b, 0)
	s.must(err)
	return b
}

// extractAll extracts every point of every disk and compares it with the truth.
func (s *journalStand) extractAll(more ...string) {
	s.t.Helper()
	for p, truth := range s.truth {
		for d, name := range []string{"db/os", "data"} {
			for _, suffix := range []string{".raw", ".vmdk"} {
				path := filepath.Join(s.t.TempDir(), "x"+suffix)
				code, out, errs := local(s.t, nil, append([]string{"journal", "extract", s.dir, fmt.Sprint(p), name, path, "--json"}, more...)...)
				if code != 0 {
					s.t.Fatalf("extract point %d disk %s: %d, %s", p, name, code, errs)
				}
				if !bytes.Equal(s.reread(path), truth[d]) {
					s.t.Errorf("point %d disk %s %s: wrong bytes; %s", p, name, suffix, out)
				}
				if _, err := os.Stat(path + partialSuffix); err == nil {
					s.t.Error("the directory of the unfinished disk is left")
				}
			}
		}
	}
}

// content returns every byte below a directory.
func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		info, _ := e.Info()
		out[path] = fmt.Sprint(info.ModTime(), len(b), block.Checksum(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestJournalExtract(t *testing.T) {
	s := newJournalStand(t)
	s.end()
	before := content(t, s.base)
	s.extractAll()
	if after := content(t, s.base); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("journal or disks were changed:\n%v\nwas:\n%v", after, before)
	}
	// The disks lie elsewhere now.
	moved := filepath.Join(s.base, "elsewhere")
	s.must(os.Mkdir(moved, 0o700))
	for _, n := range []string{"os.vmdk", "os-flat.vmdk", "data.raw"} {
		s.must(os.Rename(filepath.Join(s.base, n), filepath.Join(moved, n)))
	}
	if code, _, errs := local(t, nil, "journal", "extract", s.dir, "1", "os", filepath.Join(s.base, "y.raw")); code != 1 || !strings.Contains(errs, "What to do:") {
		t.Errorf("without the disk: %d, %s", code, errs)
	}
	s.extractAll("--disk", "db/os="+filepath.Join(moved, "os.vmdk"), "--disk", "data="+filepath.Join(moved, "data.raw"))
}

// TestJournalExtractWithinAMove stops a move half way, in either direction, and kills its writer: every point can be extracted.
func TestJournalExtractWithinAMove(t *testing.T) {
	for _, to := range []replication.PointID{1, 4} {
		s := newJournalStand(t)
		if to == 4 {
			s.move(2)
		}
		err := s.j.Move(t.Context(), []retention.Disk{&failing{s.disks[0], 1}, s.disks[1]}, to, nil)
		if u := s.j.Unfinished(); err == nil || u == nil || u.To != to {
			t.Fatalf("to %d: unfinished %v, %v", to, u, err)
		}
		s.kill()
		out := string(ok(t, nil, "journal", "list", s.dir))
		if !strings.Contains(out, fmt.Sprintf("to %d that is not finished", to)) {
			t.Errorf("list does not tell of the move: %s", out)
		}
		ok(t, nil, "journal", "check", s.dir)
		s.extractAll()
	}
}

// failing is a disk that fails after some writes.
type failing struct {
	blockio.Target
	left int
}

func (f *failing) WriteAt(b []byte, off int64) (int, error) {
	if f.left--; f.left < 0 {
		return 0, os.ErrDeadlineExceeded
	}
	return f.Target.WriteAt(b, off)
}

func TestJournalExtractRefuses(t *testing.T) {
	s := newJournalStand(t)
	x := func(more ...string) (int, string) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "x.raw")
		code, _, errs := local(t, nil, append([]string{"journal", "extract", s.dir, "2", "os", path}, more...)...)
		if _, err := os.Stat(path); (err == nil) != (code == 0) {
			t.Errorf("exit code %d, and the file: %v", code, err)
		}
		return code, errs
	}
	if code, errs := x(); code != 1 || !strings.Contains(errs, "failback export") {
		t.Errorf("beside a master target: %d, %s", code, errs)
	}
	s.end()
	for _, args := range [][]string{{"--format", "none"}, {"--disk", "os"}, {"--disk", "none=/x"}} {
		if code, errs := x(args...); code != 2 {
			t.Errorf("%v: %d, %s", args, code, errs)
		}
	}
	if code, _, errs := local(t, nil, "journal", "extract", s.dir, "9", "os", filepath.Join(s.base, "x.raw")); code != 1 || !strings.Contains(errs, "journal list") {
		t.Errorf("no such point: %d, %s", code, errs)
	}
	there := filepath.Join(s.base, "there.raw")
	s.must(os.WriteFile(there, []byte("mine"), 0o600))
	if code, _, errs := local(t, nil, "journal", "extract", s.dir, "2", "os", there); code != 1 || !strings.Contains(errs, "left alone") {
		t.Errorf("over a file: %d, %s", code, errs)
	}
	if b, _ := os.ReadFile(there); string(b) != "mine" {
		t.Error("a file was written over")
	}
	flat := filepath.Join(s.base, "half.vmdk")
	s.must(os.WriteFile(filepath.Join(s.base, "half-flat.vmdk"), []byte("mine"), 0o600))
	if code, _, errs := local(t, nil, "journal", "extract", s.dir, "2", "os", flat); code != 1 || !strings.Contains(errs, "left alone") {
		t.Errorf("over a data file: %d, %s", code, errs)
	}
	if b, _ := os.ReadFile(filepath.Join(s.base, "half-flat.vmdk")); string(b) != "mine" {
		t.Error("a data file was written over")
	}
	if _, err := os.Stat(flat); err == nil {
		t.Error("a descriptor without its data was left")
	}
	// A copy, with another time, is warned of.
	copied := filepath.Join(s.base, "copied.raw")
	b, err := os.ReadFile(s.paths[1])
	s.must(err)
	s.must(os.WriteFile(copied, b, 0o600))
	out := filepath.Join(s.base, "of-copy.raw")
	if code, _, errs := local(t, nil, "journal", "extract", s.dir, "2", "data", out, "--disk", "data="+copied); code != 0 || !strings.Contains(errs, "may be a copy") {
		t.Errorf("a copy: %d, %s", code, errs)
	}
	if !bytes.Equal(s.reread(out), s.truth[2][1]) {
		t.Error("wrong bytes")
	}
	// Another writes to the disks.
	ok(t, strings.NewReader("stranger"), "disk", "write", s.paths[0], "--offset", "0")
	if code, errs := x(); code != 1 || !strings.Contains(errs, "content id") || !strings.Contains(errs, "What to do:") {
		t.Errorf("a VMDK that another wrote: %d, %s", code, errs)
	}
	if code, errs := x("--accept-changed-disk"); code != 0 || !strings.Contains(errs, "WARNING") {
		t.Errorf("accepted: %d, %s", code, errs)
	}
	ok(t, strings.NewReader("stranger"), "disk", "write", s.paths[1], "--offset", "0")
	path := filepath.Join(s.base, "data-out.raw")
	if code, _, errs := local(t, nil, "journal", "extract", s.dir, "2", "data", path); code != 1 || !strings.Contains(errs, "changed by something else") {
		t.Errorf("a raw disk that another wrote: %d, %s", code, errs)
	}
}

// TestJournalExtractWarns: after a session that ended badly, nothing can be told of a raw disk.
func TestJournalExtractWarns(t *testing.T) {
	s := newJournalStand(t)
	s.kill()
	path := filepath.Join(s.base, "out.raw")
	code, _, errs := local(t, nil, "journal", "extract", s.dir, "2", "data", path)
	if code != 0 || !strings.Contains(errs, "WARNING: ") || !strings.Contains(errs, "can't be told") {
		t.Errorf("%d, %s", code, errs)
	}
	if !bytes.Equal(s.reread(path), s.truth[2][1]) {
		t.Error("wrong bytes")
	}
}

// TestJournalCheckFindsFlips flips bits of files: check exits with 1 and names file and offset; extract of a point that needs the part fails, and leaves nothing.
func TestJournalCheckFindsFlips(t *testing.T) {
	s := newJournalStand(t)
	s.end()
	ok(t, nil, "journal", "check", s.dir)
	names := filesBelow(t, filepath.Join(s.dir, "seg"), filepath.Join(s.dir, "save"))
	r := rand.New(rand.NewPCG(1, 2))
	failed := 0
	for range 40 {
		name := names[r.IntN(len(names))]
		good, err := os.ReadFile(name)
		s.must(err)
		at := int64(r.IntN(len(good)))
		bad := bytes.Clone(good)
		bad[at] ^= 1 << r.IntN(8)
		s.must(os.WriteFile(name, bad, 0o600))
		code, out, errs := local(t, nil, "journal", "check", s.dir, "--json")
		doc := document(t, string(out))
		found := slices.ContainsFunc(doc["findings"].([]any), func(x any) bool {
			f := x.(map[string]any)
			off, n := int64(f["offset"].(float64)), int64(f["length"].(float64))
			return f["file"] == name && f["damage"] == true && off <= at && at < off+n
		})
		if code != 1 || !found || doc["sound"] != false {
			t.Errorf("%s, byte %d: %d, %s %s", name, at, code, out, errs)
		}
		for _, x := range doc["damaged_points"].([]any) {
			hurt := x.(map[string]any)
			p := int(hurt["points"].([]any)[0].(float64))
			path := filepath.Join(t.TempDir(), "x.raw")
			code, _, errs := local(t, nil, "journal", "extract", s.dir, fmt.Sprint(p), hurt["disk"].(string), path)
			if code == 0 {
				d := slices.Index([]string{"db/os", "db/data"}, hurt["disk"].(string))
				if !bytes.Equal(s.reread(path), s.truth[replication.PointID(p)][d]) {
					t.Errorf("%s, byte %d: wrong bytes were served", name, at)
				}
				continue
			}
			failed++
			if left, _ := filepath.Glob(path + "*"); !strings.Contains(errs, name) || len(left) > 0 {
				t.Errorf("%s, byte %d: left %v, %s", name, at, left, errs)
			}
		}
		s.must(os.WriteFile(name, good, 0o600))
	}
	if failed == 0 {
		t.Error("no flip hurt a point")
	}
}

func filesBelow(t *testing.T, dirs ...string) (names []string) {
	t.Helper()
	for _, d := range dirs {
		in, err := filepath.Glob(filepath.Join(d, "*"))
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, in...)
	}
	return names
}

// TestJournalText holds the text of each command against what it was, of a journal with an open cycle beside a master target that was killed, with damage.
func TestJournalText(t *testing.T) {
	s := newJournalStand(t)
	s.must(s.j.Pin(2, noon.Add(time.Hour), ""))
	s.must(s.j.MarkVerified(3, replication.Verify{Time: noon, Equal: true}))
	a := s.lane()
	s.change(a, 0, 3)
	s.must(a.Sync())
	running := string(ok(t, nil, "journal", "list", s.dir))
	if !strings.Contains(running, "a master target has it open: this is as of record") || !strings.Contains(running, "not sealed") {
		t.Errorf("beside a master target: %s", running)
	}
	s.kill()
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_RDWR, 0)
	s.must(err)
	defer log.Close()
	info, err := log.Stat()
	s.must(err)
	_, err = log.WriteAt([]byte("torn"), info.Size())
	s.must(err)
	seg := filepath.Join(s.dir, "seg", "3-1-1-0-3.seg")
	f, err := os.OpenFile(seg, os.O_RDWR, 0)
	s.must(err)
	defer f.Close()
	_, err = f.WriteAt([]byte{0xff, 0, 0xff}, 300)
	s.must(err)
	say := func(name string, want int, args ...string) {
		t.Helper()
		code, out, errs := local(t, nil, args...)
		if code != want {
			t.Errorf("%s: exit code %d, %s", name, code, errs)
		}
		text := strings.ReplaceAll(string(out), s.base, "BASE")
		for d, id := range s.ids {
			text = strings.ReplaceAll(text, fmt.Sprintf("%08x", id), fmt.Sprintf("cid%d....", d))
			text = strings.ReplaceAll(text, fmt.Sprintf("%d", id), fmt.Sprintf("cid%d", d))
		}
		for what, with := range map[string]string{` {3,}`: "  ", `[0-9a-f]{64}`: "CHAIN", `takes .*`: "takes  SIZE", `"index_crc":[0-9]+`: `"index_crc":CRC`} { // what depends on where the test runs
			text = regexp.MustCompile(what).ReplaceAllString(text, with)
		}
		golden(t, "journal-"+name+".txt", text)
	}
	say("list", 0, "journal", "list", s.dir)
	say("check", 1, "journal", "check", s.dir)
	say("dump-records", 0, "journal", "dump", s.dir, "--records")
	say("dump-file", 0, "journal", "dump", s.dir, "--file", "seg/3-1-1-0-3.seg")
	for _, args := range [][]string{{"list"}, {"check"}, {"dump"}, {"dump", "--records"}, {"dump", "--file", "seg/2-1-1-0-2.seg"}} {
		_, out, _ := local(t, nil, append([]string{"journal", args[0], s.dir, "--json"}, args[1:]...)...)
		document(t, string(out))
	}
}

// golden holds text against a file; FAILBACK_UPDATE=1 writes it.
func golden(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("FAILBACK_UPDATE") != "" {
		if err := os.MkdirAll("testdata", 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, text, want)
	}
}

func TestPointRanges(t *testing.T) {
	for want, points := range map[string][]replication.PointID{"point 3": {3}, "points 3-5": {3, 4, 5}, "points 1, 3-4, 9": {1, 3, 4, 9}} {
		if got := pointRanges(points); got != want {
			t.Errorf("%v: got %q want %q", points, got, want)
		}
	}
}

// TestJournalExtractOfCommitted: after the disks were given to their machine, points are read as long as they are as they were left; and the list says so.
func TestJournalExtractOfCommitted(t *testing.T) {
	s := newJournalStand(t)
	s.end()
	j, err := retention.Open(s.dir, "erp")
	s.must(err)
	head := j.Head()
	s.must(j.RecordCutover(&retention.Cutover{Step: retention.CutoverCommitted, Since: noon, Point: head, From: head}))
	s.must(j.Close())
	s.extractAll()
	if code, out, errs := local(t, nil, "journal", "list", s.dir); code != 0 || !strings.Contains(string(out), "when they were given to their machine") {
		t.Errorf("list: %d, %s%s", code, out, errs)
	}
	path := filepath.Join(s.base, "later.raw")
	if code, _, errs := local(t, nil, "journal", "extract", s.dir, "2", "data", path); code != 0 || !strings.Contains(errs, "must not be started") {
		t.Errorf("extract: %d, %s", code, errs)
	}
	ok(t, strings.NewReader("a machine was here"), "disk", "write", s.paths[1], "--offset", "0")
	if code, _, errs := local(t, nil, "journal", "extract", s.dir, "2", "data", path+"2"); code != 1 || !strings.Contains(errs, "changed by something else") {
		t.Errorf("extract once the machine ran: %d, %s", code, errs)
	}
	if code, _, errs := local(t, nil, "journal", "extract", s.dir, "2", "data", path+"2", "--accept-changed-disk"); code != 0 || !strings.Contains(errs, "may be of any time") {
		t.Errorf("accepted: %d, %s", code, errs)
	}
}
