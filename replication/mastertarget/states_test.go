package mastertarget

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"failback/replication"
	"failback/retention"
)

var update = flag.Bool("update", false, "write golden files anew")

// golden holds what was said against a file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	g, w := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := range max(len(g), len(w)) {
		switch {
		case i >= len(g):
			t.Fatalf("%s: line %d is missing: %s", path, i+1, w[i])
		case i >= len(w) || g[i] != w[i]:
			t.Fatalf("%s: line %d is new, or another: %s", path, i+1, g[i])
		}
	}
}

var cutoverSteps = []retention.CutoverStep{"", retention.CutoverFinal, retention.CutoverClosing, retention.CutoverCommitted, retention.CutoverUndoing}

// TestStateOfEveryFooting keeps the state that each footing gives.
func TestStateOfEveryFooting(t *testing.T) {
	var said strings.Builder
	no := map[bool]string{false: "-"}
	for _, step := range cutoverSteps {
		for _, final := range []bool{false, true} {
			var lines []string
			all := map[replication.GroupState]bool{}
			for _, points := range []int{0, 3} {
				for _, cycle := range []replication.Mode{"", replication.Changes, replication.Compare} {
					for _, waits := range []bool{false, true} {
						for _, held := range []bool{false, true} {
							s := footing{cutover: step, final: final, points: points, cycle: cycle, waits: waits, held: held}
							all[s.state()] = true
							lines = append(lines, fmt.Sprintf("  points %d  cycle %-7s  waits %-5v  held %-5v  %s", points, cycle+replication.Mode(no[cycle != ""]), waits, held, s.state()))
						}
					}
				}
			}
			fmt.Fprintf(&said, "cutover %-9s  last point being made %v", string(step)+no[step != ""], final)
			if len(all) == 1 {
				fmt.Fprintf(&said, "  %s, whatever else is\n", slices.Collect(maps.Keys(all))[0])
				continue
			}
			fmt.Fprintf(&said, "\n%s\n", strings.Join(lines, "\n"))
		}
	}
	golden(t, "states.txt", said.String())
}

var turns = []turn{turnCommit, turnChosen, turnSealed, turnGiveUp, turnUndo, turnTaken, turnWritten, turnBack}

// TestTurns keeps what each turn makes of each step: what is not drawn with cutting is refused, and what a turn starts from stays as it is.
func TestTurns(t *testing.T) {
	var said strings.Builder
	past, now := time.Unix(1000, 0).UTC(), time.Unix(2000, 0)
	drawn := map[string]bool{
		"none commit": true, "final chosen": true, "closing sealed": true, "final give up": true, "closing give up": true, "closing undo": true, "committed undo": true,
		"undoing, untaken taken": true, "undoing, untaken written": true, "undoing back": true,
	}
	for _, held := range []bool{false, true} {
		for _, step := range append(cutoverSteps, "undoing, untaken") {
			for _, turn := range turns {
				at := &retention.Cutover{Step: step, Since: past, Point: 5, From: 4, Held: held, After: "start"}
				switch step {
				case "":
					at, step = nil, "none"
				case "undoing, untaken":
					at.Step, at.Untaken = retention.CutoverUndoing, true
				}
				was := "none"
				if at != nil {
					was = fmt.Sprintf("%+v", *at)
				}
				for _, origin := range []bool{false, true} {
					if origin && turn != turnUndo {
						continue
					}
					next, err := turned(at, turning{turn: turn, now: now, point: 6, head: 3, held: held, last: 7, origin: origin, request: replication.CommitRequest{Point: 2, Stop: "halt", After: "start"}})
					if at != nil && was != fmt.Sprintf("%+v", *at) {
						t.Fatalf("%s %s: it changed what was before: %+v", step, turn, at)
					}
					if pair := string(step) + " " + string(turn); drawn[pair] != (err == nil) {
						t.Errorf("%s: drawn %v, %v", pair, drawn[pair], err)
					}
					if err != nil {
						continue
					}
					to := "none"
					if next != nil {
						to = fmt.Sprintf("%s  since %v  point %d  from %d  held %v  back %d  keep %v  untaken %v  asked %d  stop %q  after %q", next.Step, next.Since.Equal(past), next.Point, next.From, next.Held, next.Back, next.Keep, next.Untaken, next.Asked, next.Stop, next.After)
						to = strings.Replace(strings.Replace(to, "since true", "since then", 1), "since false", "since now", 1)
					}
					fmt.Fprintf(&said, "held %-5v  %-16s  %-7s  origin %-5v  %s\n", held, step, turn, origin, to)
				}
				if step == "none" {
					step = ""
				}
			}
		}
	}
	golden(t, "turns.txt", said.String())
}

// TestActs keeps what a cutover's goroutine does next in each step, whatever is wished for.
func TestActs(t *testing.T) {
	var said strings.Builder
	reached := map[act]bool{}
	for _, step := range cutoverSteps {
		for i := range 16 {
			d := deciding{step: step, wish: i&8 != 0, quits: i&4 != 0, written: i&2 != 0, again: i&1 != 0}
			reached[d.act()] = true
			fmt.Fprintf(&said, "%-9s  wish %-5v  quits %-5v  written %-5v  again %-5v  %s\n", step, d.wish, d.quits, d.written, d.again, d.act())
		}
	}
	for _, a := range []act{actRest, actTellGone, actGiveUp, actTurnBack, actFinal, actClosing, actUndoing, actTakeBack, actRefuse, actAgain, actAfter} {
		if !reached[a] {
			t.Errorf("nothing leads to %q", a)
		}
	}
	golden(t, "acts.txt", said.String())
}

// lifeEvent is what may happen to a group that is open; where it can't, it says so.
type lifeEvent struct {
	name string
	does func(at **retention.Cutover, s *footing) bool
}

func turnEvent(x turn, also func(*footing)) lifeEvent {
	return lifeEvent{string(x), func(at **retention.Cutover, s *footing) bool {
		next, err := turned(*at, turning{turn: x})
		if err != nil || s.points == 0 {
			return false
		}
		if *at = next; also != nil {
			also(s)
		}
		return true
	}}
}

// lifeEvents are all of them; no cycle begins or ends in a step of a cutover that has the disks.
var lifeEvents = []lifeEvent{
	{"compare begins", func(at **retention.Cutover, s *footing) bool {
		ok := s.cycle == "" && !s.waits && ((*at) == nil || (*at).Step == retention.CutoverFinal)
		s.cycle = replication.Compare
		return ok
	}},
	{"cycle begins", func(at **retention.Cutover, s *footing) bool {
		ok := s.cycle == "" && s.points > 0 && !s.waits && ((*at) == nil || (*at).Step == retention.CutoverFinal)
		s.cycle = replication.Changes
		return ok
	}},
	{"point listed", func(_ **retention.Cutover, s *footing) bool {
		ok := s.cycle != ""
		s.cycle, s.points = "", 1
		return ok
	}},
	{"tracking lost outside the window", func(at **retention.Cutover, s *footing) bool {
		ok := s.points > 0 && !s.final && s.cycle != replication.Compare && (*at) == nil
		s.cycle, s.waits = "", true
		return ok
	}},
	{"window opens", func(_ **retention.Cutover, s *footing) bool { ok := s.waits; s.waits = false; return ok }},
	{"rewind", func(at **retention.Cutover, s *footing) bool {
		ok := *at == nil && s.points > 0 && !s.held
		s.held = true
		return ok
	}},
	{"advance", func(at **retention.Cutover, s *footing) bool { ok := *at == nil && s.held; s.held = false; return ok }},
	turnEvent(turnCommit, nil),
	{"not before has come", func(at **retention.Cutover, s *footing) bool {
		ok := *at != nil && (*at).Step == retention.CutoverFinal && !s.final
		s.final, s.waits = true, false
		return ok
	}},
	turnEvent(turnChosen, nil), turnEvent(turnSealed, nil), turnEvent(turnGiveUp, func(s *footing) { s.final = false }),
	turnEvent(turnUndo, nil), turnEvent(turnTaken, nil), turnEvent(turnWritten, nil), turnEvent(turnBack, func(s *footing) { s.final = false }),
}

// TestLifeIsAsDrawn goes wherever a group's life may lead, and finds every transition of the package doc, and no other.
func TestLifeIsAsDrawn(t *testing.T) {
	type place struct {
		at retention.Cutover
		s  footing
	}
	found := map[string]bool{}
	seen := map[place]bool{{}: true}
	for todo := []place{{}}; len(todo) > 0; {
		p := todo[0]
		todo = todo[1:]
		for _, e := range lifeEvents {
			s, at := p.s, p.at
			cutover := &at
			if at.Step == "" {
				cutover = nil
			}
			if !e.does(&cutover, &s) {
				continue
			}
			next := place{s: s}
			if cutover != nil {
				next.at = *cutover
			}
			next.s.cutover = next.at.Step
			if next.at.Step != "" && next.at.Step != retention.CutoverFinal {
				next.s.final = true
			}
			if was, is := p.s.state(), next.s.state(); was != is {
				found[fmt.Sprintf("%s → %s", was, is)] = true
			}
			if !seen[next] {
				seen[next] = true
				todo = append(todo, next)
			}
		}
	}
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	drawn := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		line, isDrawing := strings.CutPrefix(strings.TrimSpace(line), "//\t")
		if from, to, ok := strings.Cut(line, " → "); ok && isDrawing {
			for s := range strings.SplitSeq(to, ",") {
				drawn[strings.TrimSpace(from)+" → "+strings.TrimSpace(s)] = true
			}
		}
	}
	for _, pair := range slices.Sorted(maps.Keys(found)) {
		if !drawn[pair] {
			t.Errorf("%s is not in the package doc", pair)
		}
	}
	for _, pair := range slices.Sorted(maps.Keys(drawn)) {
		if !found[pair] {
			t.Errorf("%s is in the package doc, and nothing leads there", pair)
		}
	}
}
