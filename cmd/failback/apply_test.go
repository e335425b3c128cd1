package main

import (
	"bytes"
	"strings"
	"testing"

	"failback/replication"
	"failback/transport/operatortest"
)

// TestApplyShowsBeforeItDoes: the differences are shown, somebody is asked, and exactly what was shown is applied; nobody there means no.
func TestApplyShowsBeforeItDoes(t *testing.T) {
	path := planFile(t, "joins")
	f := staged()
	applied := 0
	f.OnApply = func(r replication.ApplyRequest) (replication.Applied, error) {
		a := replication.Applied{Group: "erp", From: "before", Changes: []replication.PlanChange{}, Findings: []replication.Finding{}}
		switch string(r.Plan) {
		case "joins":
			a.Changes = append(a.Changes, replication.PlanChange{Subject: "db/logs", Key: "disk", Now: "image:/a to /b", Effect: "joins"}, replication.PlanChange{Subject: "erp", Key: "priority", Was: "10", Now: "20", Effect: "at once"})
		case "leaves":
			a.Changes = append(a.Changes, replication.PlanChange{Subject: "db/old", Key: "disk", Was: "image:/a to /b", Effect: "leaves"})
		case "refused":
			a.Changes = append(a.Changes, replication.PlanChange{Subject: "db/os", Key: "disk", Was: "image:/a to /b", Effect: "it can't leave", Remedy: "put it back", Refused: true})
		}
		if r.DryRun {
			return a, nil
		}
		if r.From != "before" {
			t.Errorf("applied what was not shown: %+v", r)
		}
		applied++
		a.Applied = true
		return a, nil
	}
	address := operatortest.Serve(t, f)
	const diff = "+ db/logs disk: image:/a to /b\n    joins\n~ erp priority: 10 -> 20\n    at once\n"
	const done = "group erp: the plan is in force, with 2 changes; see failback status erp\n"
	for _, c := range []struct {
		name, answer string
		asks         bool
		args         string
		code         int
		out, said    string
		applied      int
	}{
		{"DryRun", "", false, path + " --dry-run", 0, diff, "", 0},
		{"Script", "y\n", false, path, 2, "", "--yes", 0},
		{"ScriptThatMay", "", false, path + " --yes", 0, diff + done, "", 1},
		{"Yes", "y\n", true, path, 0, done, diff + "Put this plan of group erp into force? [y/N] ", 1},
		{"No", "n\n", true, path, 1, "", "nothing was changed", 0},
		{"NoAnswer", "", true, path, 1, "", "nothing was changed", 0},
		{"Refused", "", false, planFile(t, "refused") + " --yes", 1, "- db/os disk: image:/a to /b\n    REFUSED: it can't leave\n    What to do: put it back\ngroup erp: this plan can't be applied; nothing is changed\n", "", 0},
		{"LeavesYes", "y\n", true, planFile(t, "leaves"), 0, "group erp: the plan is in force, with 1 change; see failback status erp\n", "- db/old disk: image:/a to /b\n    leaves\nReplication of db/old ends. Put this plan of group erp into force? [y/N] ", 1},
		{"Same", "", false, planFile(t, "same") + " --yes", 0, "group erp: this plan is in force already\n", "", 0},
		{"JSON", "", false, path + " --yes --json", 0, `"applied":true`, "", 1},
		{"Both", "", false, path + " --yes --dry-run", 2, "", "give one of them", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			applied = 0
			var out, errs bytes.Buffer
			args := append(append([]string{"apply"}, strings.Fields(c.args)...), "--operator", address)
			code := run(t.Context(), args, streams{in: strings.NewReader(c.answer), out: &out, err: &errs}, pace{asks: c.asks})
			got := strings.ReplaceAll(out.String(), `": `, `":`)
			if code != c.code || !strings.Contains(got, c.out) || c.out == "" && got != "" || !strings.Contains(errs.String(), c.said) || applied != c.applied {
				t.Errorf("exit code %d want %d, applied %d times want %d;\n%s%s", code, c.code, applied, c.applied, out.String(), errs.String())
			}
		})
	}
}

// TestUnbornDisksAreTold: of a point before a disk's birth, moves and drills say what they do without it.
func TestUnbornDisksAreTold(t *testing.T) {
	f := staged()
	g := group(replication.StateProtected, 3)
	g.Disks[1].Joined = 3
	g.Departed = []replication.DepartedDisk{{Disk: "db/old", Last: 4, Head: 3, Target: "/t/old.vmdk"}}
	f.OnStatus = statusFrom(g)
	address := operatortest.Serve(t, f)
	if got := failback(t.Context(), "", "rewind", "erp", "2", "--operator", address); got.code != 0 || !strings.Contains(got.out, "disk db/data joined at point 3: it stays as it was there\n  disk db/old left after point 4: its target stays as it was left\n") {
		t.Errorf("rewind: %+v", got)
	}
	if got := failback(t.Context(), "", "status", "--operator", address); !strings.Contains(got.out, "joined at point 3") || !strings.Contains(got.out, "Disk db/old left after point 4") {
		t.Errorf("status: %+v", got)
	}
	var b bytes.Buffer
	printWithout(&b, replication.DrillStatus{Without: []replication.UnbornDisk{{Disk: "db/data", Joined: 3}, {Disk: "db/new"}}})
	printWithout(&b, replication.DrillStatus{Without: []replication.UnbornDisk{{Disk: "db/old", Left: 4}}})
	if want := "    without disk db/data, which joined at point 3\n    without disk db/new, which no point has yet\n    without disk db/old, which left after point 4\n"; b.String() != want {
		t.Errorf("drill: %q", b.String())
	}
}
