package throttle

import (
	"testing"
	"time"
)

func TestWindow(t *testing.T) {
	at := func(s string) time.Time {
		x, err := time.Parse("Mon 2006-01-02 15:04", s)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	for _, c := range []struct {
		window, now, opens string
	}{
		{"always", "Wed 2026-07-01 12:00", "Wed 2026-07-01 12:00"},
		{"18:00-06:00", "Wed 2026-07-01 12:00", "Wed 2026-07-01 18:00"},
		{"18:00-06:00", "Wed 2026-07-01 19:30", "Wed 2026-07-01 19:30"},
		{"18:00-06:00", "Wed 2026-07-01 05:59", "Wed 2026-07-01 05:59"},
		{"18:00-06:00; in Europe/Berlin", "Wed 2026-07-01 15:59", "Wed 2026-07-01 16:00"},
		{"mon-fri 22:00-05:00; sat,sun", "Wed 2026-07-01 06:00", "Wed 2026-07-01 22:00"},
		{"mon-fri 22:00-05:00; sat,sun", "Sat 2026-07-04 12:00", "Sat 2026-07-04 12:00"},
		{" ;18:00-06:00; ;", "Wed 2026-07-01 12:00", "Wed 2026-07-01 18:00"},
		{"sun", "Wed 2026-07-01 06:00", "Sun 2026-07-05 00:00"},
	} {
		w, err := ParseWindow(c.window)
		if err != nil {
			t.Errorf("%s: %v", c.window, err)
			continue
		}
		now, want := at(c.now), at(c.opens)
		if got := w.Opens(now); !got.Equal(want) {
			t.Errorf("%s on %s: opens %s, want %s", c.window, c.now, got, want)
		}
		if got := w.Open(now); got != now.Equal(want) {
			t.Errorf("%s on %s: open is %v", c.window, c.now, got)
		}
		again, err := ParseWindow(w.String())
		if err != nil || again.String() != w.String() {
			t.Errorf("%s is written as %q, which reads as %q (%v)", c.window, w, again, err)
		}
	}
	for _, bad := range []string{"20Mbps", "18:00", "18:00-18:00", "in Europe/Berlin", "18:00-06:00; in Atlantis", "none", ";", "18:00-06:00\n20Mbps", "18:00-06:00\nnone"} {
		if w, err := ParseWindow(bad); err == nil {
			t.Errorf("%q is read as %q", bad, w)
		}
	}
}

// FuzzWindow: what is read as a window is written in a form that is read as the same one.
func FuzzWindow(f *testing.F) {
	for _, seed := range []string{"18:00-06:00;", "mon-fri 22:00-05:00; sat,sun; in Europe/Berlin", "sat\n\nin\tUTC", "18:00-06:00\nnone", "0Mbps; sun", "always;"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		w, err := ParseWindow(text)
		if err != nil {
			return
		}
		if again, err := ParseWindow(w.String()); err != nil || again.String() != w.String() {
			t.Errorf("%q is written as %q, which reads as %q (%v)", text, w, again, err)
		}
	})
}
