package processserver

import (
	"testing"

	"failback/replication/block"
)

func TestLadderStep(t *testing.T) {
	for name, c := range map[string]struct {
		at                  block.Level
		frames, full, empty int
		idle                float64
		want                block.Level
	}{
		"LinkBindsAndCoresIdle":  {block.LevelS2, 16, 12, 0, 0.6, block.LevelZstd1},
		"LinkBindsButCoresBusy":  {block.LevelS2, 16, 12, 0, 0.05, block.Raw},
		"LinkBindsSomeCoresIdle": {block.LevelS2, 16, 12, 0, 0.15, block.LevelS2},
		"LanesWait":              {block.LevelZstd1, 16, 0, 12, 0.5, block.LevelS2},
		"Balanced":               {block.LevelS2, 16, 4, 4, 0.3, block.LevelS2},
		"TopStays":               {block.LevelZstd2, 16, 16, 0, 0.9, block.LevelZstd2},
		"BottomStays":            {block.Raw, 16, 0, 16, 0, block.Raw},
		"CoresNotKnown":          {block.Raw, 16, 12, 0, -1, block.LevelS2},
		"CoresNotKnownNoHigher":  {block.LevelS2, 16, 12, 0, -1, block.LevelS2},
	} {
		if got := step(c.at, c.frames, c.full, c.empty, c.idle); got != c.want {
			t.Errorf("%s: got %v want %v", name, got, c.want)
		}
	}
}
