package retention

import (
	"encoding/json"
	"fmt"
	"testing"
)

// TestCheckpointOfMuchDamageFitsARecord: a journal on which an array went bad can still be shortened, and taken over.
func TestCheckpointOfMuchDamageFitsARecord(t *testing.T) {
	s := &state{}
	for f := range 40 {
		for p := range maxParts {
			held := make([]Held, maxHeld)
			for i := range held {
				held[i] = Held{Disk: 3, Off: 1 << 40, End: 1<<40 + 4096}
			}
			s.damage = append(s.damage, Part{File: fmt.Sprintf("pack/%d.pack", f), Off: int64(p) << 16, Len: 4096, What: "bad format: checksum of an entry's payload", Held: held})
		}
	}
	c := s.checkpoint(chain{})
	b, err := json.Marshal(c)
	if err != nil || len(b) > maxRecord {
		t.Errorf("%d bytes, %v; a record has at most %d", len(b), err, maxRecord)
	}
	if len(c.Damage) != len(s.damage) || c.Damage[len(c.Damage)-1].More != maxHeld || len(s.damage[len(s.damage)-1].Held) != maxHeld {
		t.Errorf("%d parts of %d; the last tells of %d more", len(c.Damage), len(s.damage), c.Damage[len(c.Damage)-1].More)
	}
}
