package replication

import (
	"fmt"
	"testing"
)

func TestLacks(t *testing.T) {
	complete := DiskStatus{State: DiskComplete, Ledger: Ledger{Total: 1, Done: 1}}
	of := func(d DiskStatus, names ...string) (all []DiskStatus) {
		for _, n := range names {
			d.Disk = DiskID(n)
			all = append(all, d)
		}
		return all
	}
	shipping, queued := DiskStatus{State: "shipping", Ledger: Ledger{Total: 2, Done: 1}}, DiskStatus{State: "queued", Queue: 1}
	for _, c := range []struct {
		open  PointID
		disks []DiskStatus
		want  string
	}{
		{8, append(of(complete, "db/os"), of(shipping, "db/data")...), "db/data"},
		{8, append(of(complete, "db/os"), of(queued, "db/data")...), "db/data"},
		{8, append(of(complete, "a"), of(shipping, "b", "c", "d", "e", "f")...), "b, c, d, 2 more"},
		{0, append(of(complete, "db/os"), of(shipping, "db/data")...), ""},
		{8, of(shipping, "db/os", "db/data"), ""},
		{8, append(of(complete, "db/os"), of(DiskStatus{State: "shipping"}, "db/data")...), ""}, // which changed nothing
	} {
		g := GroupStatus{Open: c.open, Disks: c.disks}
		if got := g.Lacks(); got != c.want {
			t.Errorf("%s: %q, want %q", fmt.Sprint(c.disks), got, c.want)
		}
	}
}
