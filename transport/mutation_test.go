//go:build mutation

package transport

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// edit replaces a part of a file, which is in it once; at the end where old is empty.
type edit struct{ old, new string }

// mutation is a fault planted on the way from a frame to the word that it is durable, and what finds it: of a package, the tests that `make test` runs.
type mutation struct {
	name  string
	file  string // within the module
	edits []edit
	pkg   string
	run   string
}

const (
	arriveFile  = "replication/mastertarget/arrive.go"
	throughFile = "replication/mastertarget/through.go"
	repeatsFile = "replication/mastertarget/repeats.go"
	laneFile    = "replication/processserver/lane.go"

	masterTests = "./replication/mastertarget"
	linkTests   = "./transport"
)

var mutations = []mutation{
	// What is counted twice.
	{"PagesCountedTwice", "replication/pages.go", []edit{{"p.n += int64(c.n - was)", "p.n += stop - first\n\t\t_ = was"}}, "./replication", "TestPages"},
	{"CountsOfBytesAlone", "retention/cycle.go", []edit{{"(n != w.Bytes || dig != w.Digest)", "n != w.Bytes"}}, masterTests, "TestFinishRefuses"},

	// Streams over the attempts of a lane.
	{"DecoderKept", arriveFile, []edit{
		{"a.stream = block.NewStreamDecoder()", "d, _ := keptStreams.LoadOrStore(fmt.Sprint(a.group.id, a.lane.Session, a.lane.Lane), block.NewStreamDecoder())\n\t\ta.stream = d.(*block.StreamDecoder)"},
		{"", "\nvar keptStreams sync.Map\n"},
	}, linkTests, "TestFlaps"},
	{"EncoderKept", laneFile, []edit{
		{"l.stream = block.NewStreamEncoder()", "e, _ := keptStreams.LoadOrStore(fmt.Sprint(l.s.fence.Session, l.no), block.NewStreamEncoder())\n\t\t\tl.stream = e.(*block.StreamEncoder)"},
		{"", "\nvar keptStreams sync.Map\n"},
	}, linkTests, "TestFlaps"},

	// What is acknowledged before it is durable.
	{"FlushWithoutDisks", arriveFile, []edit{{"if a.through != nil {\n\t\tbegin := time.Now()", "if a.through != nil && a.group == nil {\n\t\tbegin := time.Now()"}}, masterTests, "TestNothingIsToldDurable"},
	{"FlushWithoutJournal", arriveFile, []edit{{"a.ended.Do(func() { err = a.journal.Close() })", ""}}, masterTests, "TestNothingIsToldDurable"},
	{"JournalNotSynced", "retention/arrival.go", []edit{{"a.j.note(a.w.sync())", "a.j.note(nil)"}}, "./retention", "TestModel|TestCrash"},
	{"DisksNotSynced", throughFile, []edit{{"errs[disk] = t.targets[disk].Sync()", "errs[disk] = nil"}}, masterTests, "TestNothingIsToldDurable"},
	{"FailedSyncForgotten", throughFile, []edit{{"t.failed = err\n", ""}}, masterTests, "TestNoLaneIsToldDurable"},
	{"NotedWhileSyncing", throughFile, []edit{{"if err := errors.Join(errs...); err != nil {", "t.mu.Lock()\n\tfor d, s := range t.written {\n\t\tif written[d] == nil {\n\t\t\twritten[d] = replication.NewPages(t.targets[d].Size())\n\t\t}\n\t\twritten[d].AddAll(s)\n\t}\n\tt.mu.Unlock()\n\tif err := errors.Join(errs...); err != nil {"}}, masterTests, "TestWhatIsWrittenDuring"},
	{"CoverageBeforeSync", arriveFile, []edit{{"sets = append(sets, g.journal.Coverage(d.No))", "s := g.journal.Coverage(d.No)\n\t\tif t := g.through; t != nil {\n\t\t\tt.mu.Lock()\n\t\t\tif w := t.written[d.No]; w != nil {\n\t\t\t\ts.AddAll(w)\n\t\t\t}\n\t\t\tt.mu.Unlock()\n\t\t}\n\t\tsets = append(sets, s)"}}, masterTests, "TestNothingIsToldDurable"},
	{"OriginalGathers", throughFile, []edit{{"unsaved = t.keeping.flush()", ""}}, masterTests, "TestNothingIsToldDurable"},

	// What is taken of attempts and sessions that are over.
	{"StaleTaken", arriveFile, []edit{{"if a.stale.Load() {\n\t\treturn a.superseded()", "if false {\n\t\treturn a.superseded()"}}, masterTests, "TestAnEarlierAttempt"},
	{"StaleFlushed", arriveFile, []edit{{"if a.stale.Load() { //", "if false { //"}}, masterTests, "TestAnEarlierAttempt"},
	{"FenceOpen", arriveFile, []edit{{"if err := a.group.checkFence(a.lane.Session); err != nil {\n\t\treturn err\n\t}", ""}}, masterTests, "TestCallsOfEarlier"},
	{"AttemptTwice", arriveFile, []edit{{"case seen && newest >= l.Attempt:", "case seen && newest > l.Attempt:"}}, masterTests, "TestAnEarlierAttempt"},
	{"EarlierGoesOn", arriveFile, []edit{{"earlier = append(earlier, was)", "_ = was"}}, masterTests, "TestAnEarlierAttempt"},

	// What the sender takes for there.
	{"LostForgotten", laneFile, []edit{{"\ts.used.breaks(no, fmt.Errorf(\"lane %d: %w\", no, err))", ""}}, linkTests, "TestFlaps"},
	{"SentIsDurable", laneFile, []edit{{"\terr := l.Send(f.Frame)\n", "\tof := map[replication.DiskNo][]replication.Extent{}\n\tfor i := range f.Blocks {\n\t\tof[f.Blocks[i].Disk] = append(of[f.Blocks[i].Disk], f.Blocks[i].Extents...)\n\t}\n\terr := l.Send(f.Frame)\n\tfor d, x := range of {\n\t\tl.s.disks[d].mu.Lock()\n\t\tfor _, e := range x {\n\t\t\tl.s.disks[d].durable.Add(e)\n\t\t}\n\t\tl.s.disks[d].mu.Unlock()\n\t}\n"}}, linkTests, "TestFlaps"},
	{"FramesNotCounted", "transport/lane.go", []edit{{"if ack.Frames != l.frames {", "if false {"}}, linkTests, "TestALaneThatLacks"},

	// What stands for content.
	{"RepeatBelieved", repeatsFile, []edit{{"return replication.HashRegion(replication.HashPages(pages[:0], raw)) == o.Hash", "_ = pages\n\treturn true"}}, linkTests, "TestFlaps"},
	{"ByValueForgotten", repeatsFile, []edit{{"a.byValue += int64(b.Raw)", ""}}, linkTests, "TestFlaps"},
	{"PayloadsMisplaced", "transport/frame.go", []edit{{"if n > len(rest) {", "if i > 0 && n > 0 && n <= len(payload) {\n\t\t\tf.Blocks[i].Payload, rest = payload[:n:n], rest[min(n, len(rest)):]\n\t\t\tcontinue\n\t\t}\n\t\tif n > len(rest) {"}}, linkTests, "TestFrame|TestLane"},
	{"GivenBackEarly", "transport/frame.go", []edit{{"return append(wire, mem.NewBuffer(&last, framePool{f.frame})), nil // written last: with it, all is", "f.frame.Free()\n\treturn append(wire, mem.SliceBuffer(last)), nil"}}, linkTests, "TestFlaps"},
	{"TakenAfterFree", arriveFile, []edit{{"\tdefer f.Free()\n\tdefer func() { a.group.mend(err) }()", "\tf.Free()\n\tdefer func() { a.group.mend(err) }()"}}, masterTests, "TestAFramesMemory"},
}

// TestMutations plants one fault after the other, and has the tests find each.
func TestMutations(t *testing.T) {
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mutations {
		t.Run(m.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(root, m.file)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			changed := string(text)
			for _, e := range m.edits {
				if e.old == "" {
					changed += e.new
					continue
				}
				if n := strings.Count(changed, e.old); n != 1 {
					t.Fatalf("%s has %q %d times, want once: the code has changed, and the fault with it", m.file, e.old, n)
				}
				changed = strings.Replace(changed, e.old, e.new, 1)
			}
			fake, overlay := filepath.Join(dir, "changed.go"), filepath.Join(dir, "overlay.json")
			list, err := json.Marshal(map[string]map[string]string{"Replace": {path: fake}})
			if err == nil {
				err = os.WriteFile(fake, []byte(changed), 0o600)
			}
			if err == nil {
				err = os.WriteFile(overlay, list, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			c := exec.Command("go", "test", "-overlay", overlay, "-count=1", "-timeout", "5m", "-run", m.run, m.pkg)
			c.Dir = root
			out, err := c.CombinedOutput()
			switch said := string(out); {
			case err == nil:
				t.Errorf("%s does without: %s", m.run, said)
			case strings.Contains(said, "[build failed]") || strings.Contains(said, "[setup failed]"):
				t.Errorf("the fault does not build: %s", said)
			default:
				t.Logf("found: %s", firstFailure(said))
			}
		})
	}
}

// firstFailure returns what a test said first that failed.
func firstFailure(said string) string {
	for l := range strings.Lines(said) {
		if strings.Contains(l, "_test.go:") || strings.HasPrefix(l, "panic:") {
			return fmt.Sprintf("%.200s", strings.TrimSpace(l))
		}
	}
	return fmt.Sprintf("%.200s", said)
}
