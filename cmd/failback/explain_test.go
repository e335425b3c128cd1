package main

import (
	"bytes"
	"testing"
	"time"

	"failback/replication"
)

func TestExplainTellsWhatBinds(t *testing.T) {
	g := group(replication.StateProtected, 3)
	g.LagSeconds, g.Bottleneck, g.Because = 75, "link", "it carries 12 MB/s"
	g.Disks[0].Bottleneck, g.Disks[0].Backlog = "link", replication.Backlog{Source: 30 << 30, ProcessServer: 16 << 20, MasterTarget: 1 << 20}
	g.Disks[0].Stages = []replication.StageShare{{Stage: "link", Share: 0.68}, {Stage: "hash", Share: 0.2}, {Stage: "journal", Share: 0.001}}
	var b bytes.Buffer
	printExplanation(&b, g, noon.Add(2*time.Hour))
	want := `erp: protected for 2h00m, last point 3 is 1m15s old
  Point 4 is on its way, bound by: link (it carries 12 MB/s)
  Waits for: ps1
  Next: point 4 is listed, and the disks follow
DISK     STATE     BOUND BY  AT SOURCE  AT PROCESS SERVER  AT MASTER TARGET  STAGES
db/os    shipping  link      30.0 GiB   16.0 MiB           1.0 MiB           link 68 %, hash 20 %
db/data  waiting   -         0 B        0 B                0 B               -
`
	if got := b.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
