package link

import (
	"errors"
	"strings"
	"testing"

	"failback/replication"
)

func TestVersionsSpeak(t *testing.T) {
	ours := Version{2, 3, "v1.4.0"}
	for other, want := range map[Version]uint32{{2, 3, ""}: 3, {2, 1, "v1.2.0"}: 1, {2, 9, "v9.0.0"}: 3, {2, 0, ""}: 0} {
		if got, err := ours.Speak("process server ps1", other); err != nil || got != want {
			t.Errorf("%v: got %d, %v, want %d", other, got, err, want)
		}
	}
	for _, other := range []Version{{1, 3, "v0.9.0"}, {3, 0, "v2.0.0"}, {0, 0, "v0.0.1"}} {
		_, err := ours.Speak("process server ps1", other)
		var p *replication.Problem
		if !errors.As(err, &p) || p.Code != CodeVersion || p.Remedy == "" {
			t.Fatalf("%v: got %v", other, err)
		}
		for _, word := range []string{"ps1", other.Program, "v1.4.0", "2.3", other.String()} {
			if !strings.Contains(p.Message, word) {
				t.Errorf("%q is not in %q", word, p.Message)
			}
		}
	}
}

func TestMasterTargetMustNotBeNewer(t *testing.T) {
	for _, x := range []struct {
		master, process Version
		want            bool
	}{
		{Version{1, 0, ""}, Version{1, 0, ""}, false},
		{Version{1, 1, ""}, Version{1, 0, ""}, true},
		{Version{1, 0, "v2.0.0"}, Version{1, 1, "v1.0.0"}, false}, // what counts is what they speak
		{Version{1, 1, "v9.5.0"}, Version{1, 1, "v9.4.7"}, true},  // ASR: 9.5 with 9.4
		{Version{1, 1, "v9.4.9"}, Version{1, 1, "v9.4.0"}, false},
		{Version{1, 1, "v9.3.0"}, Version{1, 1, "v9.4.0"}, false},
		{Version{1, 1, "v10.0.0"}, Version{1, 1, "v9.4.0"}, true},
		{Version{1, 1, "v9.5.0"}, Version{1, 1, "(devel)"}, false},
		{Version{1, 1, "(devel)"}, Version{1, 1, "v9.4.0"}, false},
		{Version{1, 1, "v0.0.0-20261123110425-0123456789ab+dirty"}, Version{1, 1, "v0.0.0-20251123110425-0123456789ab"}, false},
	} {
		if got := x.master.NewerThan(x.process); got != x.want {
			t.Errorf("%v newer than %v: got %v want %v", x.master, x.process, got, x.want)
		}
	}
}
