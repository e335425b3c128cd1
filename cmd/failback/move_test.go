package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"failback/replication"
	"failback/transport/operatortest"
)

// question is a command that asks before something is lost, what is answered, and what comes of it.
type question struct {
	name, answer string
	asks         bool // on a terminal
	flags        string
	code         int
	said         string // on standard error
}

// asked runs a command for each question; it says done where it succeeds, and only there.
func asked(t *testing.T, command, done string, questions []question) {
	address := operatortest.Serve(t, staged())
	for _, c := range questions {
		t.Run(c.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			args := append(strings.Fields(command+" "+c.flags), "--operator", address)
			code := run(t.Context(), args, streams{in: strings.NewReader(c.answer), out: &out, err: &errs}, pace{asks: c.asks})
			if code != c.code || !strings.Contains(errs.String(), c.said) || (code == 0) != strings.Contains(out.String(), done) {
				t.Errorf("exit code %d want %d; %s%s", code, c.code, out.String(), errs.String())
			}
		})
	}
}

// TestMoveAsksBeforeHistoryGoes: on a terminal, somebody is asked; elsewhere, the command fails and says what would do it.
func TestMoveAsksBeforeHistoryGoes(t *testing.T) {
	asked(t, "rewind erp 3", "stand at point 3", []question{
		{"Script", "y\n", false, "", 1, "failback rewind erp 3 --give-up-history"},
		{"ScriptThatMay", "", false, "--give-up-history", 0, ""},
		{"Yes", "y\n", true, "", 0, "Give up 2 points for good, and move? [y/N]"},
		{"No", "n\n", true, "", 1, "nothing was moved"},
		{"NoAnswer", "", true, "", 1, "nothing was moved"},
		{"JSON", "y\n", true, "--json", 1, `"code":"move-gives-up"`},
	})
}

// TestUnprotectAsksBeforeTheOriginalGoes does so where no point is listed yet, and the disks as they were would be lost.
func TestUnprotectAsksBeforeTheOriginalGoes(t *testing.T) {
	asked(t, "unprotect new", "not replicated any more", []question{
		{"Script", "y\n", false, "", 1, "3 GiB would be lost"},
		{"ScriptThatMay", "", false, "--give-up-original", 0, ""},
		{"Kept", "", false, "--keep-journal", 0, ""},
		{"Yes", "y\n", true, "", 0, "Lose it for good, and unprotect? [y/N]"},
		{"No", "n\n", true, "", 1, "nothing was unprotected"},
		{"NoAnswer", "", true, "", 1, "nothing lost"},
		{"JSON", "y\n", true, "--json", 1, `"code":"original-lost"`},
	})
}

// TestUnprotectAsksBeforePointsGo does so where there are any, and they are not kept.
func TestUnprotectAsksBeforePointsGo(t *testing.T) {
	asked(t, "unprotect erp", "not replicated any more", []question{
		{"Script", "y\n", false, "", 2, "say --yes, or --keep-journal"},
		{"ScriptThatMay", "", false, "--yes", 0, ""},
		{"Kept", "", false, "--keep-journal", 0, ""},
		{"Yes", "y\n", true, "", 0, "Remove all points of group erp for good"},
		{"No", "n\n", true, "", 1, "nothing was removed"},
		{"NoAnswer", "", true, "", 1, "nothing was removed"},
		{"JSON", "y\n", true, "--json", 2, `"code":"usage"`},
	})
}

func TestDryRunSaysWhatAMoveTakes(t *testing.T) {
	address := operatortest.Serve(t, staged())
	for point, c := range map[string]struct {
		code int
		want string
	}{
		"2": {0, "group erp: a move of the disks from point 2 to point 2\n  writes 3.0 GiB to the disks\n" +
			"  saves 1.0 GiB that only the disks hold; with the reserve, 2.0 GiB have to be free on the retention volume, 4.0 GiB are\n  takes about 48s\nIt fits: 4 GiB are free\n"},
		"3": {1, "It costs history: it fits after dropping points 1, 2\nWith --give-up-history it gives these points up.\n"},
		"1": {1, "It does not fit: 1 GiB are lacking\n"},
	} {
		if got := failback(t.Context(), "", "rewind", "erp", point, "--dry-run", "--operator", address); got.code != c.code || !strings.HasSuffix(got.out, c.want) || got.err != "" {
			t.Errorf("point %s: got %+v want %+v", point, got, c)
		}
	}
}

func TestMoveInStatus(t *testing.T) {
	g := group(replication.StateProtected, 3)
	g.Head, g.Behind, g.CatchUp = 1, 2, 4*time.Second
	g.Move = &replication.MoveStatus{From: 1, To: 3, Phase: "write", Done: 1 << 30, Total: 4 << 30, Rate: 128 << 20, Left: 24 * time.Second}
	var b strings.Builder
	printGroup(&b, g, noon)
	for _, want := range []string{"(2 points ahead of the disks, about 4s to move)", "moving from point 1 to point 3: write 25 % of 4.0 GiB, 128.0 MiB/s, about 24s left\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("status does not say %q: %s", want, b.String())
		}
	}
}
