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
	ruleLeftovers: {"BeginAfterDrop", "DropCycle"},
}

// mutations are the rules, each with how many seeds may be needed: the model test must find that the rule is missing, or a crash in the midst of an operation.
var mutations = []struct {
	rule rule
	name string
	max  int
}{
	{ruleSecondLook, "SecondLook", 200},
	{ruleOutward, "Outward", 200},
	{ruleSave, "Save", 200},
	{ruleRecord, "Record", 200},
	{ruleProgressSynced, "ProgressSynced", 200},
	{ruleProgressWritten, "ProgressWritten", 200},
	{ruleMoveSynced, "MoveSynced", 200},
	{ruleTurnFromStart, "TurnFromStart", 200},
	{ruleSaveNameDurable, "SaveNameDurable", 200},
	{rulePackNameDurable, "PackNameDurable", 200},
	{ruleSaveLabel, "SaveLabel", 200},
	{ruleSparesStill, "SparesStill", 200},
	{ruleSparesLock, "SparesLock", 200},
	{ruleBaseContradicted, "BaseContradicted", 200},
	{ruleGoneStays, "GoneStays", 200},
	{ruleClassNotBefore, "ClassNotBefore", 200},
	{ruleClassOldest, "ClassOldest", 200},
	{ruleContentAbove, "ContentAbove", 200},
	{ruleLaterWins, "LaterWins", 200},
	{ruleCatalogKeepsFiles, "CatalogKeepsFiles", 200},
	{ruleEndsStay, "EndsStay", 200},
	{rulePinned, "Pinned", 200},
	{ruleSettled, "Settled", 200},
	{ruleEndMark, "EndMark", 200},
	{ruleLogSynced, "LogSynced", 200},
	{rulePadding, "Padding", 200},
	{ruleScanPadding, "ScanPadding", 200},
	{ruleLeftovers, "Leftovers", 20},
	{ruleSweep, "Sweep", 200},
	{ruleRegionFiles, "RegionFiles", 200},
	{ruleExact, "Exact", 200},
	{ruleLostStays, "LostStays", 60},
	{ruleMendShown, "MendShown", 60},
	{ruleOriginal, "Original", 20},
	{ruleOriginalOnce, "OriginalOnce", 20},
	{ruleOriginalDurable, "OriginalDurable", 20},
	{ruleOriginalOver, "OriginalOver", 20},
	{ruleBirth, "Birth", 200},
	{ruleBornWhole, "BornWhole", 200},
	{ruleLeftKept, "LeftKept", 200},
}

// scenes are the rules that keep two master targets apart, and those that hardly any world needs, each with what finds that it is missing.
var scenes = []struct {
	rule rule
	name string
	find func(t *testing.T) error
}{
	{ruleOwner, "Owner", func(t *testing.T) error { w := newRivals(t); w.a.Close(); clear(w.m.locks); return w.refused() }},
	{ruleStillOurs, "StillOurs", func(t *testing.T) error { w := newRivals(t); return w.try(w.olds()["Move"]) }},
	{ruleBegun, "Begun", func(t *testing.T) error { return newRivals(t).wakesUp() }},
	{ruleLostAboveGone, "LostAboveGone", staleGone},
	{ruleEntriesFirst, "EntriesFirst", func(t *testing.T) error { return sealedWhole(t, 200) }},
	{ruleLostBuried, "LostBuried", lostBuried},
	{ruleSentBuried, "SentBuried", sentBefore},
	{ruleLostOfAttempts, "LostOfAttempts", lostAttempt},
	{ruleSaveKnowsDamage, "SaveKnowsDamage", damagedWhileSaving},
	{ruleOriginalAcknowledged, "OriginalAcknowledged", func(t *testing.T) error {
		return harmedOriginal(t, "original-1.sav", fileHeaderSize+entryFixed+extentSize+9)
	}},
	{ruleCutOne, "CutOne", func(*testing.T) error { return overlays(2000) }},
	{ruleDoubt, "Doubt", blindSegment},
	{ruleDoubtWrittenOver, "DoubtWrittenOver", blindSegment},
	{ruleDoubtNoSpare, "DoubtNoSpare", blindSegment},
	{ruleDoubtUnchanged, "DoubtUnchanged", blindOver},
	{ruleCommitted, "Committed", committedDisks},
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
			for n := range max {
				leaveOut = m.rule
				if err := live(uint64(n)); err != nil {
					t.Logf("found by seed %d: %v", n, err)
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
	for _, m := range scenes {
		all[m.rule] = true
		t.Run(m.name, func(t *testing.T) {
			defer func() { leaveOut = ruleNone }()
			if err := m.find(t); err != nil {
				t.Fatal(err)
			}
			leaveOut = m.rule
			err := m.find(t)
			if err == nil {
				t.Fatal("the journal does without this rule")
			}
			t.Logf("found: %v", err)
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
