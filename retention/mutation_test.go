//go:build mutation

package retention

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
)

// crashes names, for rules that hardly any world misses, operations in whose midst a crash finds that they are missing.
var crashes = map[rule][]string{
	ruleEntriesFirst: {"Arrival", "ArrivalOfEqual"},
	ruleLeftovers:    {"BeginAfterDrop", "DropCycle"},
}

// mutations are the rules, each with the first seed to try and how many may be needed: the model test must find that the rule is missing, or a crash in the midst of an operation.
var mutations = []struct {
	rule  rule
	name  string
	first uint64
	max   int
}{
	{ruleSecondLook, "SecondLook", 0, 200},
	{ruleOutward, "Outward", 0, 200},
	{ruleSave, "Save", 0, 200},
	{ruleRecord, "Record", 0, 200},
	{ruleProgressSynced, "ProgressSynced", 0, 200},
	{ruleMoveSynced, "MoveSynced", 0, 200},
	{ruleTurnFromStart, "TurnFromStart", 0, 200},
	{ruleSaveNameDurable, "SaveNameDurable", 0, 200},
	{rulePackNameDurable, "PackNameDurable", 0, 200},
	{ruleSaveLabel, "SaveLabel", 0, 200},
	{ruleSparesStill, "SparesStill", 0, 200},
	{ruleSparesLock, "SparesLock", 0, 200},
	{ruleBaseContradicted, "BaseContradicted", 0, 200},
	{ruleGoneStays, "GoneStays", 0, 200},
	{ruleClassNotBefore, "ClassNotBefore", 0, 200},
	{ruleClassOldest, "ClassOldest", 0, 200},
	{ruleContentAbove, "ContentAbove", 0, 200},
	{ruleLaterWins, "LaterWins", 0, 200},
	{ruleCutOne, "CutOne", 0, 200},
	{ruleCatalogKeepsFiles, "CatalogKeepsFiles", 0, 200},
	{ruleEndsStay, "EndsStay", 0, 200},
	{rulePinned, "Pinned", 0, 200},
	{ruleSettled, "Settled", 0, 200},
	{ruleEndMark, "EndMark", 0, 200},
	{ruleLogSynced, "LogSynced", 0, 200},
	{rulePadding, "Padding", 0, 200},
	{ruleScanPadding, "ScanPadding", 0, 200},
	{ruleEntriesFirst, "EntriesFirst", 0, 20},
	{ruleLeftovers, "Leftovers", 0, 20},
	{ruleSweep, "Sweep", 0, 200},
	{ruleCutLost, "CutLost", 0, 300},
	{ruleRegionFiles, "RegionFiles", 0, 200},
	{ruleExact, "Exact", 0, 200},
	{ruleLostAboveGone, "LostAboveGone", 0, 0}, // too rare for worlds: a scene of its own
	{ruleLostStays, "LostStays", 0, 60},
	{ruleLostBuried, "LostBuried", 0, 200},
	{ruleSentBuried, "SentBuried", 0, 400},
	{ruleLostOfAttempts, "LostOfAttempts", 0, 400},
	{ruleMendShown, "MendShown", 0, 60},
	{ruleOriginal, "Original", 0, 20},
	{ruleOriginalOnce, "OriginalOnce", 0, 20},
	{ruleOriginalDurable, "OriginalDurable", 0, 20},
	{ruleOriginalOver, "OriginalOver", 0, 20},
}

// rivalries are the rules that keep two master targets apart, each with what finds that it is missing.
var rivalries = []struct {
	rule rule
	name string
	find func(t *testing.T) error
}{
	{ruleOwner, "Owner", func(t *testing.T) error { w := newRivals(t); w.a.Close(); clear(w.m.locks); return w.refused() }},
	{ruleStillOurs, "StillOurs", func(t *testing.T) error { w := newRivals(t); return w.try(w.olds()["Move"]) }},
	{ruleBegun, "Begun", func(t *testing.T) error { return newRivals(t).wakesUp() }},
}

// TestMutations leaves one rule after the other out: worlds that are well with all rules must not be without.
func TestMutations(t *testing.T) {
	all := map[rule]bool{}
	for _, m := range mutations {
		all[m.rule] = true
		t.Run(m.name, func(t *testing.T) {
			defer func() { leaveOut = ruleNone }()
			max := m.max
			if n, err := strconv.Atoi(os.Getenv("FAILBACK_SEEDS")); err == nil {
				max = n
			}
			if m.max == 0 {
				leaveOut = m.rule
				if err := staleGone(t); err != nil {
					t.Logf("found: %v", err)
					return
				}
			}
			for n := range max {
				leaveOut = m.rule
				if err := live(m.first + uint64(n)); err != nil {
					t.Logf("found by seed %d, the %d. tried: %v", m.first+uint64(n), n+1, err)
					return
				}
			}
			for i := range operations {
				if !slices.Contains(crashes[m.rule], operations[i].name) {
					continue
				}
				for round := range 40 {
					for k, ended := 1, false; !ended; k++ {
						var err error
						if ended, err = dies(&operations[i], k, round); err != nil {
							t.Logf("found by a crash at change %d of %s, round %d: %v", k, operations[i].name, round, err)
							return
						}
					}
				}
			}
			t.Errorf("%d worlds do without this rule", max)
		})
	}
	for _, m := range rivalries {
		all[m.rule] = true
		t.Run(m.name, func(t *testing.T) {
			defer func() { leaveOut = ruleNone }()
			if err := m.find(t); err != nil {
				t.Fatal(err)
			}
			leaveOut = m.rule
			if err := m.find(t); err == nil {
				t.Error("the journal does without this rule")
			}
		})
	}
	for r := ruleNone + 1; r <= lastRule; r++ {
		if !all[r] {
			t.Errorf("rule %d is not tried", r)
		}
	}
}

// live lives a world. What the journal can't go on from counts as found too.
func live(seed uint64) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return newWorld(seed).run(120)
}

// dies crashes an operation.
func dies(o *operation, k, round int) (ended bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return o.crash(1, k, round)
}
