package replication

import "testing"

func TestDuration(t *testing.T) {
	for text, want := range map[string]string{"90s": "1m30s", "5m": "5m", "60m": "1h", "24h": "24h", "2d": "48h", "1d12h": "36h", "1h 30m": "1h30m", "250ms": "250ms", "0s": "0s"} {
		d, err := ParseDuration(text)
		if err != nil || d.String() != want {
			t.Errorf("%s: got %v, %v, want %s", text, d, err, want)
		}
	}
	for _, text := range []string{"", "5", "m", "-1h", "1w", "99999999d", "200000d", "-1d", "1.5d"} {
		if d, err := ParseDuration(text); err == nil {
			t.Errorf("%q: got %v, want an error", text, d)
		}
	}
}
