package backup

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"failback/replication"
)

var example = File{
	Made: time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC), Program: "v1", Owner: "0123", Host: "mt1", Machine: "4567",
	Records:     map[string]map[string]json.RawMessage{"groups": {"erp": json.RawMessage(`{"plan":{"group":"erp"},"held":false}`)}},
	Throttle:    "20Mbps mon-fri 08:00-18:00",
	Generations: map[replication.GroupID]replication.Generation{"erp": 7},
	Jobs:        []replication.Job{{ID: 3, Kind: replication.JobKind("move"), Group: "erp", State: replication.JobRunning}},
}

// TestGolden: what version 1 wrote is read for ever.
func TestGolden(t *testing.T) {
	text, err := Encode(example)
	if err != nil {
		t.Fatal(err)
	}
	const file = "testdata/v1.backup"
	if os.Getenv("FAILBACK_UPDATE") != "" {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(text, golden) {
		t.Errorf("another text than %s: %v\n%s", file, err, text)
	}
	got, err := Decode(golden)
	if err != nil {
		t.Fatal(err)
	}
	compact := func(f File) string { b, _ := json.Marshal(f); return string(b) }
	if compact(got) != compact(example) || !reflect.DeepEqual(got.Generations, example.Generations) {
		t.Errorf("got %s want %s", compact(got), compact(example))
	}
}

func TestDecodeRefuses(t *testing.T) {
	text, err := Encode(example)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(text)
	flipped[len(flipped)/2] ^= 1
	for name, c := range map[string]struct {
		text string
		want error
	}{
		"nothing":         {"", ErrNotBackup},
		"something else":  {"group: erp\n", ErrNotBackup},
		"version 0":       {strings.Replace(string(text), magic+" 1 ", magic+" 0 ", 1), ErrNotBackup},
		"a newer version": {magic + " 2 another form\n", ErrNewer},
		"cut off":         {string(text[:len(text)-1]), ErrDamaged},
		"more at the end": {string(text) + " ", ErrDamaged},
		"a flipped bit":   {string(flipped), ErrDamaged},
		"another length":  {strings.Replace(string(text), magic+" 1 ", magic+" 1 1", 1), ErrDamaged},
		"no hash":         {magic + " 1 2\n{}", ErrDamaged},
	} {
		if _, err := Decode([]byte(c.text)); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v want %v", name, err, c.want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	text, err := Encode(example)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(magic + " 1 3 ab\n{}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if got, err := Decode(text); err == nil {
			if _, err := Encode(got); err != nil {
				t.Error(err)
			}
		}
	})
}
