package main

import (
	"strings"
	"testing"

	"failback/replication"
)

// TestLedgerTableAddsUp shows a ledger in which each part is another power of two: what was to look at is told by its parts.
func TestLedgerTableAddsUp(t *testing.T) {
	l := replication.Ledger{Zero: 1 << 20, Equal: 2 << 20, Kept: 4 << 20, Repeated: 8 << 20, Raw: 48 << 20, Again: 32 << 20, Payload: 48 << 20, Wire: 49 << 20}
	l.Codecs.None = replication.Sent{Raw: l.Raw, Payload: l.Payload}
	l.Total = 31 << 20
	l.Done = l.Total
	if err := l.Check(); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	printLedgers(&b, replication.GroupStatus{Group: "erp", Disks: []replication.DiskStatus{{Disk: "m/d", Ledger: l}}})
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	head, row := strings.Fields(strings.ReplaceAll(lines[1], "TO DO", "TODO")), strings.Fields(strings.ReplaceAll(strings.ReplaceAll(lines[2], " MiB", ""), " B", ""))
	told := map[string]string{}
	for i, name := range head {
		told[name] = row[i]
	}
	for name, want := range map[string]string{"TODO": "31.0", "ZERO": "1.0", "EQUAL": "2.0", "KEPT": "4.0", "REPEATED": "8.0", "SENT": "48.0", "AGAIN": "32.0", "NONE": "48.0", "WIRE": "49.0"} {
		if told[name] != want {
			t.Errorf("%s: got %q, want %s in\n%s", name, told[name], want, b.String())
		}
	}
}
