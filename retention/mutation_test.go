//go:build mutation

package retention

import (
	"fmt"
	"os"
	"strconv"
	"testing"
)

// mutations are the rules, each with the first seed to try and how many may be needed: the model test must find that the rule is missing.
var mutations = []struct {
	rule  rule
	name  string
	first uint64
	max   int
}{
	{ruleSecondLook, "SecondLook", 0, 20},
	{ruleOutward, "Outward", 0, 20},
	{ruleSave, "Save", 0, 20},
	{ruleRecord, "Record", 0, 20},
	{ruleProgressSynced, "ProgressSynced", 0, 20},
	{ruleMoveSynced, "MoveSynced", 0, 20},
	{ruleTurnFromStart, "TurnFromStart", 0, 20},
	{ruleSaveNameDurable, "SaveNameDurable", 0, 20},
	{rulePackNameDurable, "PackNameDurable", 0, 20},
	{ruleSaveLabel, "SaveLabel", 0, 20},
	{ruleSparesStill, "SparesStill", 0, 20},
	{ruleSparesLock, "SparesLock", 0, 20},
	{ruleBaseContradicted, "BaseContradicted", 0, 20},
	{ruleGoneStays, "GoneStays", 0, 20},
	{ruleClassNotBefore, "ClassNotBefore", 0, 20},
	{ruleClassOldest, "ClassOldest", 0, 20},
	{ruleContentAbove, "ContentAbove", 0, 20},
	{ruleLaterWins, "LaterWins", 0, 20},
	{ruleCutOne, "CutOne", 0, 20},
	{ruleCatalogKeepsFiles, "CatalogKeepsFiles", 0, 20},
	{ruleEndsStay, "EndsStay", 0, 20},
	{rulePinned, "Pinned", 0, 20},
	{ruleSettled, "Settled", 0, 20},
	{ruleEndMark, "EndMark", 0, 20},
	{ruleLogSynced, "LogSynced", 0, 20},
	{rulePadding, "Padding", 0, 20},
	{ruleScanPadding, "ScanPadding", 0, 20},
	{ruleEntriesFirst, "EntriesFirst", 0, 20},
	{ruleLeftovers, "Leftovers", 0, 20},
	{ruleSweep, "Sweep", 0, 20},
	{ruleExact, "Exact", 0, 20},
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
