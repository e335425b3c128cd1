package main

import (
	"strings"
	"testing"
	"time"

	"failback/replication"
	"failback/transport/operatortest"
)

func TestTimeOf(t *testing.T) {
	now := time.Date(2026, 12, 1, 17, 30, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"2h": "2026-12-01 19:30:00", "7d": "2026-12-08 17:30:00", "1h30m": "2026-12-01 19:00:00", "18:00": "2026-12-01 18:00:00", "17:30": "2026-12-02 17:30:00", "9:05": "2026-12-02 09:05:00",
		"2026-12-24": "2026-12-25 00:00:00", "2026-12-01": "2026-12-02 00:00:00", "2026-12-24 18:00": "2026-12-24 18:00:00", "2026-12-24 18:00:07": "2026-12-24 18:00:07",
		"2026-12-24T18:00": "2026-12-24 18:00:00", "2026-12-24T18:00:00+02:00": "2026-12-24 16:00:00", " 3d ": "2026-12-04 17:30:00",
		"": "", "0s": "", "never": "", "2026-11-30": "", "2026-12-01 17:30": "", "12": "", "25:00": "", "2026-13-01": "", "2200-01-01": "",
	} {
		got, err := timeOf(text, now)
		if want == "" {
			if err == nil {
				t.Errorf("%q was taken: %s", text, got)
			}
		} else if err != nil || got.UTC().Format(time.DateTime) != want {
			t.Errorf("%q: got %s, %v want %s", text, got, err, want)
		}
	}
}

func TestPinSaysHowLong(t *testing.T) {
	address := operatortest.Serve(t, staged())
	for args, want := range map[string]string{
		"pin erp 2 --until 2199-12-24T18:00:00Z --note why": "group erp: point 2 is pinned until 2199-12-24 18:00:00: why\n",
		"pin erp 2":   "group erp: point 2 is pinned\n",
		"unpin erp 2": "group erp: point 2 is not pinned; policy says how long it is kept\n",
	} {
		if got := failback(t.Context(), "", append(strings.Fields(args), "--operator", address)...); got != (result{0, want, ""}) {
			t.Errorf("%s: got %+v want %q", args, got, want)
		}
	}
	for _, args := range []string{"pin erp 2 --until yesterday", "pin erp x", "pin erp", "unpin erp 1 2"} {
		if got := failback(t.Context(), "", append(strings.Fields(args), "--operator", address)...); got.code != 2 {
			t.Errorf("%s: exit code %d want 2: %+v", args, got.code, got)
		}
	}
	var b strings.Builder
	g := group(replication.StateProtected, 3)
	g.Pins = []replication.Pin{{Point: 2, Until: noon, Note: "why"}, {Point: 1}}
	printGroup(&b, g, noon)
	for _, want := range []string{"  Point 2 is pinned until 2026-03-01 12:00:00: why\n", "  Point 1 is pinned\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("status does not say %q: %s", want, b.String())
		}
	}
}
