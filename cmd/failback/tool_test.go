package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"failback/replication"
	"failback/replication/link"
	"failback/transport"
	"failback/transport/operatortest"
)

func TestMain(m *testing.M) {
	time.Local = time.UTC // before anyone reads it
	os.Exit(m.Run())
}

// result is what one run of the tool came to.
type result struct {
	code     int
	out, err string
}

// failback runs the tool in this process, with no patience.
func failback(ctx context.Context, stdin string, args ...string) result {
	var out, errs bytes.Buffer
	p := pace{poll: time.Millisecond, watch: time.Millisecond}
	code := run(ctx, args, streams{in: strings.NewReader(stdin), out: &out, err: &errs}, p)
	return result{code, out.String(), errs.String()}
}

// document returns the one JSON document in s.
func document(t *testing.T, s string) (doc map[string]any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(s))
	if err := d.Decode(&doc); err != nil {
		t.Fatalf("no JSON document: %v in %q", err, s)
	}
	if _, err := d.Token(); err != io.EOF {
		t.Fatalf("more than one document in %q", s)
	}
	return doc
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// group is a group as the tests stage it.
func group(state replication.GroupState, last replication.PointID) replication.GroupStatus {
	return replication.GroupStatus{
		Group: "erp", State: state, Since: noon, Head: last, Last: last, Open: last + 1, ProcessServer: "ps1", Notices: []string{}, WaitsFor: "ps1",
		Disks: []replication.DiskStatus{
			{Disk: "db/os", State: "shipping", Size: 40 << 30, Ledger: replication.Ledger{Total: 40 << 30, Done: 10 << 30, Payload: 3 << 20}, Rate: 120 << 20},
			{Disk: "db/data", State: "waiting", Size: 1 << 40},
		},
	}
}

func statusFrom(groups ...replication.GroupStatus) func(replication.GroupID) (replication.Status, error) {
	next := 0 // each question gets the next answer, the last one for ever
	var mu sync.Mutex
	return func(replication.GroupID) (replication.Status, error) {
		mu.Lock()
		defer mu.Unlock()
		g := groups[min(next, len(groups)-1)]
		next++
		return replication.Status{Groups: []replication.GroupStatus{g}, Workers: []replication.WorkerStatus{{Name: "ps1", Connected: true, Version: "v1", Since: noon}}}, nil
	}
}

// staged returns a master target that knows the group erp with points 1 to 3, its head at 2.
func staged() *operatortest.Fake {
	noGroup := &replication.Problem{Code: "no-such-group", Message: "there is no group", Remedy: "failback status lists the groups"}
	know := func(g replication.GroupID) error {
		if g != "erp" {
			return noGroup
		}
		return nil
	}
	f := &operatortest.Fake{}
	f.OnCheck = func(plan []byte, ask replication.PathAsk) (replication.Checked, error) {
		if ask.Churn > 0 {
			return replication.Checked{Group: "erp", Findings: []replication.Finding{}, Path: &replication.Path{Connections: 4, Up: replication.PathRate{Rate: ask.Churn, Bytes: ask.MaxBytes, Lasted: ask.Each}}}, nil
		}
		findings := []replication.Finding{{Severity: replication.Warning, Code: "source", ASR: "78093", Subject: "db/os", Message: "it is slow", Remedy: "wait"}}
		if bytes.Contains(plan, []byte("bad")) {
			findings = append(findings, replication.Finding{Severity: replication.Error, Code: "target-in-use", Subject: "db/data", Message: "it is mounted", Remedy: "unmount it"})
		}
		return replication.Checked{Group: "erp", Findings: findings}, nil
	}
	f.OnReprotect = func(plan []byte) (replication.GroupID, bool, error) {
		return "erp", bytes.Contains(plan, []byte("again")), nil
	}
	erp := statusFrom(group(replication.StateProtected, 3))
	f.OnStatus = func(id replication.GroupID) (replication.Status, error) {
		if id != "new" {
			return erp(id)
		}
		g := group(replication.StateBaseline, 0)
		g.Group = id
		return replication.Status{Groups: []replication.GroupStatus{g}}, nil
	}
	f.OnEvents = func(_ context.Context, r replication.EventsRequest, tell func(replication.Event) error) error {
		for i, e := range []replication.Event{
			{Kind: replication.EventPoint, Group: "erp", Subject: "erp", Level: replication.Healthy, Point: 3, Message: "point 3 is listed"},
			{Kind: replication.EventAlert, Group: "", Subject: "ps1", Level: replication.Critical, Rule: "heartbeat", Code: "806", Message: "it is gone", Remedy: "start it"},
		} {
			if e.No, e.Time = uint64(i+1), noon.Add(time.Duration(i)*time.Minute); !r.Wants(e) {
				continue
			}
			if err := tell(e); err != nil {
				return err
			}
		}
		return nil
	}
	f.OnCut = func(g replication.GroupID, _ bool) (replication.PointID, error) { return 3, know(g) }
	f.OnPoints = func(g replication.GroupID) (replication.PointID, []replication.Point, error) {
		return 2, []replication.Point{
			{ID: 1, Time: noon, Kind: replication.Crash, Skew: 1500 * time.Microsecond, NotApp: "machine db:\nno", Bytes: 4096, Stored: 100, Pinned: true, Verified: &replication.Verify{Time: noon, Equal: true},
				Drill: &replication.Drilled{Outcome: replication.DrillPassed, Time: noon, Note: "boots"}},
			{ID: 2, Time: noon.Add(time.Minute), Kind: replication.App, Skew: 2340 * time.Millisecond, Bytes: 1 << 30, Suspect: true, Verified: &replication.Verify{Time: noon, Differs: 8192}},
			{ID: 3, Time: noon.Add(2 * time.Minute), Kind: replication.Final},
		}, know(g)
	}
	f.OnMove = func(_ context.Context, g replication.GroupID, r replication.MoveRequest, progress func(replication.MoveStatus)) (replication.PointID, error) {
		to := r.To
		if costs := []replication.PointID{1, 2}; to == 3 && !r.Allows(costs) {
			return 0, &replication.Problem{Code: replication.CodeMoveGivesUp, Message: "the move costs history", Remedy: "`failback rewind erp 3 --give-up-history`"}
		}
		if to > 3 {
			return 0, &replication.Problem{Code: "no-such-point", Message: fmt.Sprintf("group erp has no point %d", to), Remedy: "failback points erp lists them"}
		}
		progress(replication.MoveStatus{From: 2, To: to, Phase: "write", Done: 1 << 20, Total: 4 << 20})
		if r.Advance && to == 0 {
			to = 3
		}
		return to, know(g)
	}
	f.OnPlanMove = func(g replication.GroupID, r replication.MoveRequest) (replication.MovePlan, error) {
		p := replication.MovePlan{From: 2, To: r.To, Write: 3 << 30, Save: 1 << 30, Need: 2 << 30, Free: 4 << 30, Fits: true, Why: "4 GiB are free", Takes: 48 * time.Second}
		switch r.To {
		case 3:
			p.GiveUp, p.Why = []replication.PointID{1, 2}, "it fits after dropping points 1, 2"
		case 1:
			p.Fits, p.Lacks, p.Pinned, p.Why = false, 1<<30, []replication.PointID{2}, "1 GiB are lacking"
		}
		return p, know(g)
	}
	f.OnCancelMove = func(g replication.GroupID, finish bool, progress func(replication.MoveStatus)) (replication.PointID, error) {
		progress(replication.MoveStatus{From: 2, To: 3, Phase: "write", Done: 1 << 20, Total: 4 << 20})
		if finish {
			return 3, know(g)
		}
		return 2, know(g)
	}
	f.OnVerify = func(g replication.GroupID, p replication.PointID, _ func([]replication.Ledger)) (replication.PointID, replication.Verify, []replication.DiskID, error) {
		if p == 2 {
			return 2, replication.Verify{Time: noon, Differs: 8192}, []replication.DiskID{"db/os"}, nil
		}
		return 3, replication.Verify{Time: noon, Equal: true}, nil, know(g)
	}
	f.OnExport = func(g replication.GroupID, _ replication.PointID, _ string) (link.Content, error) {
		return exported(), know(g)
	}
	f.OnVolumes = func() ([]replication.Volume, error) {
		refused := replication.Finding{Severity: replication.Error, Code: "volume-root", Subject: "/", Message: "volume /: it is the root", Remedy: "mount another"}
		warned := refused
		warned.Severity, warned.Remedy = replication.Warning, ""
		return []replication.Volume{
			{Path: "/", Type: "ext4", Device: "/dev/sda", Size: 2 << 30, Free: 1 << 30, Findings: []replication.Finding{refused}},
			{Path: "/mnt/retention", Type: "xfs", Device: "/dev/sdb", Size: 1 << 40, Free: 0, Retention: true, Usable: true, Findings: []replication.Finding{}},
			{Path: "/odd", Type: "minix", Usable: true, Findings: []replication.Finding{warned}},
		}, nil
	}
	f.OnDrill = func(ctx context.Context, g replication.GroupID, r replication.DrillRequest, started func(replication.DrillStatus)) (string, error) {
		if err := know(g); err != nil {
			return "", err
		}
		d := drilling()
		d.Point, d.Mountpoint, d.Writable, d.Scratch.Dir, d.Scratch.Limit = r.Point, r.Mountpoint, r.Writable, r.Scratch, r.ScratchSize
		if r.For > 0 {
			d.Until = noon.Add(r.For)
		}
		started(d)
		return "its time was over", nil
	}
	f.OnEndDrill = func(mountpoint string, force bool) (replication.GroupID, replication.DrillStatus, error) {
		if !force && mountpoint == "/busy" {
			return "", replication.DrillStatus{}, &replication.Problem{Code: "drill-in-use", Message: "it is in use", Remedy: "unmount it"}
		}
		return "erp", drilling(), nil
	}
	f.OnRecordDrill = func(g replication.GroupID, _ replication.PointID, outcome replication.DrillOutcome, note string) (replication.Drilled, error) {
		return replication.Drilled{Outcome: outcome, Time: noon, Note: note}, know(g)
	}
	f.OnPin = func(g replication.GroupID, p replication.Pin) (replication.Point, error) {
		return replication.Point{ID: p.Point, Time: noon, Kind: replication.Crash, Pinned: true, PinnedUntil: p.Until, PinNote: p.Note}, know(g)
	}
	f.OnResync = func(r replication.ResyncRequest) (replication.ResyncStatus, error) {
		if r.Group == "new" && (!r.Overwrite || r.Seen != "the disks as they are") {
			return replication.ResyncStatus{}, &replication.ResyncOverwrites{Seen: "the disks as they are", Problem: &replication.Problem{Code: replication.CodeResyncOverwrites, Message: "7 points would be lost", Remedy: "`failback resync new --yes` does it"}}
		}
		return replication.ResyncStatus{Why: "its state was lost", Since: noon}, nil
	}
	f.OnUnpin = func(g replication.GroupID, p replication.PointID) (replication.Point, error) {
		return replication.Point{ID: p, Time: noon, Kind: replication.Crash}, know(g)
	}
	f.OnUnprotect = func(g replication.GroupID, keep, giveUp bool) (replication.PointID, string, error) {
		if g == "new" && !keep && !giveUp {
			return 0, "", &replication.Problem{Code: replication.CodeOriginalLost, Message: "3 GiB would be lost", Remedy: "wait"}
		}
		if g == "new" {
			return replication.NoPoint, "", nil
		}
		if keep {
			return 2, "/retention/erp", know(g)
		}
		return 2, "", know(g)
	}
	return f
}

func drilling() replication.DrillStatus {
	return replication.DrillStatus{Point: 2, Mountpoint: "/mnt/d", Since: noon, Files: []replication.DrillFile{{Disk: "db/os", Path: "/mnt/d/db-os.raw", Size: 1 << 30}}}
}

// exported is a disk of 1 MiB and a bit with two pages of data.
func exported() *operatortest.Content {
	c := &operatortest.Content{Bytes: make([]byte, 1<<20+512)}
	c.Bytes[4096], c.Bytes[1<<20+511] = 1, 2
	return c
}

func planFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "plan.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestJSON says what each command's document is, to the letter.
func TestJSON(t *testing.T) {
	address := operatortest.Serve(t, staged())
	good, bad := planFile(t, "group: erp"), planFile(t, "group: bad")
	file := filepath.Join(t.TempDir(), "disk.raw")
	warning := `{"severity":"warning","code":"source","asr":"78093","subject":"db/os","message":"it is slow","remedy":"wait"}`
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"check " + good, 0, `{"group":"erp","findings":[` + warning + `],"ok":true}`},
		{"check --path-time 2s --path-bytes 1M --churn 20MB/s " + good, 0, `{"group":"erp","findings":[],"ok":true,"path":{"connections":4,"connect_ns":0,"handshake_ns":0,"rtt_ns":0,"rtt_loaded_ns":0,"clock_skew_ns":0,"clock_skew_within_ns":0,` +
			`"up":{"rate":20000000,"bytes":1048576,"lasted_ns":2000000000,"again":0},"down":{"rate":0,"bytes":0,"lasted_ns":0,"again":0},"segment":0,"vanished_segment":0,"passing_segment":0,"vanished_down":false}}`},
		{"check " + bad, 1, `{"group":"erp","findings":[` + warning + `,{"severity":"error","code":"target-in-use","subject":"db/data","message":"it is mounted","remedy":"unmount it"}],"ok":false}`},
		{"reprotect " + good, 0, `{"group":"erp","carried_on":false}`},
		{"reprotect --wait " + good, 0, `{"group":"erp","carried_on":false,"point":3}`},
		{"cut erp", 0, `{"point":3}`},
		{"cut erp --wait", 0, `{"point":3}`},
		{"points erp", 0, `{"group":"erp","head":2,"points":[` +
			`{"point":1,"time":"2026-03-01T12:00:00Z","kind":"crash","head":false,"pinned":true,"verified":{"time":"2026-03-01T12:00:00Z","equal":true,"differs":0},"drill":{"outcome":"passed","time":"2026-03-01T12:00:00Z","note":"boots"},"suspect":false,"damaged":0,"bytes":4096,"stored":100,"skew_nanos":1500000,"not_app":"machine db:\nno"},` +
			`{"point":2,"time":"2026-03-01T12:01:00Z","kind":"app","head":true,"pinned":false,"verified":{"time":"2026-03-01T12:00:00Z","equal":false,"differs":8192},"drill":null,"suspect":true,"damaged":0,"bytes":1073741824,"stored":0,"skew_nanos":2340000000},` +
			`{"point":3,"time":"2026-03-01T12:02:00Z","kind":"final","head":false,"pinned":false,"verified":null,"drill":null,"suspect":false,"damaged":0,"bytes":0,"stored":0,"skew_nanos":0}]}`},
		{"events --since 2026-03-01T12:00:30Z", 0, `{"events":[{"no":2,"time":"2026-03-01T12:01:00Z","kind":"alert","group":"","subject":"ps1","level":"critical","code":"806","rule":"heartbeat","point":0,"message":"it is gone","remedy":"start it"}]}`},
		{"events erp", 0, `{"events":[{"no":1,"time":"2026-03-01T12:00:00Z","kind":"point","group":"erp","subject":"erp","level":"healthy","code":"","rule":"","point":3,"message":"point 3 is listed","remedy":""}]}`},
		{"rewind erp 1", 0, `{"group":"erp","head":1}`},
		{"rewind erp 0", 0, `{"group":"erp","head":0}`},
		{"advance erp", 0, `{"group":"erp","head":3}`},
		{"advance erp 2", 0, `{"group":"erp","head":2}`},
		{"rewind erp 3 --give-up-history", 0, `{"group":"erp","head":3}`},
		{"rewind erp 2 --dry-run", 0, `{"group":"erp","from":2,"to":2,"write":3221225472,"save":1073741824,"need":2147483648,"free":4294967296,"fits":true,"compact":false,"spares":false,"give_up":[],"lacks":0,"pinned":[],"in_use":[],"why":"4 GiB are free","takes_nanos":48000000000}`},
		{"rewind erp 3 --dry-run", 1, `{"group":"erp","from":2,"to":3,"write":3221225472,"save":1073741824,"need":2147483648,"free":4294967296,"fits":true,"compact":false,"spares":false,"give_up":[1,2],"lacks":0,"pinned":[],"in_use":[],"why":"it fits after dropping points 1, 2","takes_nanos":48000000000}`},
		{"move cancel erp", 0, `{"group":"erp","head":2}`},
		{"move cancel erp --finish", 0, `{"group":"erp","head":3}`},
		{"verify erp", 0, `{"group":"erp","point":3,"time":"2026-03-01T12:00:00Z","equal":true,"differs":0,"disks":[]}`},
		{"verify erp 2", 1, `{"group":"erp","point":2,"time":"2026-03-01T12:00:00Z","equal":false,"differs":8192,"disks":["db/os"]}`},
		{"export erp 2 db/os " + file, 0, `{"group":"erp","point":2,"disk":"db/os","file":"` + file + `","size":1049088,"data":4608}`},
		{"volumes", 0, `{"volumes":[` +
			`{"path":"/","type":"ext4","device":"/dev/sda","size":2147483648,"free":1073741824,"retention":false,"usable":false,"findings":[{"severity":"error","code":"volume-root","subject":"/","message":"volume /: it is the root","remedy":"mount another"}]},` +
			`{"path":"/mnt/retention","type":"xfs","device":"/dev/sdb","size":1099511627776,"free":0,"retention":true,"usable":true,"findings":[]},` +
			`{"path":"/odd","type":"minix","device":"","size":0,"free":0,"retention":false,"usable":true,"findings":[{"severity":"warning","code":"volume-root","subject":"/","message":"volume /: it is the root","remedy":""}]}]}`},
		{"drill erp 2 /mnt/d --for 2h --detach", 0, `{"group":"erp","point":2,"mountpoint":"/mnt/d","files":[{"disk":"db/os","path":"/mnt/d/db-os.raw","size":1073741824}],` +
			`"since":"2026-03-01T12:00:00Z","until":"2026-03-01T14:00:00Z","writable":false,"scratch":{"dir":"","used":0,"limit":0},"errors":0,"last_error":""}`},
		{"drill erp 2 /mnt/d --writable --scratch /s --scratch-size 1G", 0, `{"group":"erp","point":2,"mountpoint":"/mnt/d","files":[{"disk":"db/os","path":"/mnt/d/db-os.raw","size":1073741824}],` +
			`"since":"2026-03-01T12:00:00Z","writable":true,"scratch":{"dir":"/s","used":0,"limit":1073741824},"errors":0,"last_error":""}`},
		{"drill --end /busy --force", 0, `{"group":"erp","point":2,"mountpoint":"/mnt/d","files":[{"disk":"db/os","path":"/mnt/d/db-os.raw","size":1073741824}],` +
			`"since":"2026-03-01T12:00:00Z","writable":false,"scratch":{"dir":"","used":0,"limit":0},"errors":0,"last_error":""}`},
		{"drill --record failed erp 2 --note boots-not", 0, `{"group":"erp","point":2,"outcome":"failed","time":"2026-03-01T12:00:00Z","note":"boots-not"}`},
		{"resync erp", 0, `{"group":"erp","resync":{"why":"its state was lost","since":"2026-03-01T12:00:00Z","asked":false}}`},
		{"pin erp 2", 0, `{"group":"erp","point":2,"pinned":true,"pin_note":""}`},
		{"pin erp 2 --until 2199-12-24T18:00:00Z --note why", 0, `{"group":"erp","point":2,"pinned":true,"pinned_until":"2199-12-24T18:00:00Z","pin_note":"why"}`},
		{"unpin erp 2", 0, `{"group":"erp","point":2,"pinned":false,"pin_note":""}`},
		{"unprotect erp --yes", 0, `{"group":"erp","at_point":true,"head":2,"journal":""}`},
		{"unprotect erp --keep-journal", 0, `{"group":"erp","at_point":true,"head":2,"journal":"/retention/erp"}`},
	} {
		t.Run(c.args, func(t *testing.T) {
			got := failback(t.Context(), "", append(strings.Fields(c.args), "--json", "--operator", address)...)
			if got != (result{c.code, c.want + "\n", ""}) {
				t.Errorf("got  %+v\nwant %s", got, c.want)
			}
			flagsFirst := append([]string{"--json", "--operator", address}, strings.Fields(c.args)...)
			if strings.HasPrefix(c.args, "export") {
				os.Remove(file)
			}
			if again := failback(t.Context(), "", flagsFirst...); again != got {
				t.Errorf("flags first: got %+v\nwant %+v", again, got)
			}
		})
	}
}

func TestStatusJSON(t *testing.T) {
	address := operatortest.Serve(t, staged())
	got := failback(t.Context(), "", "status", "erp", "--operator", address, "--json")
	doc := document(t, got.out)
	g := doc["groups"].([]any)[0].(map[string]any)
	if got.code != 0 || g["group"] != "erp" || g["state"] != "protected" || g["last"] != 3.0 || g["since"] != "2026-03-01T12:00:00Z" {
		t.Errorf("got %+v", got)
	}
	if _, there := g["next_cut"]; there {
		t.Error("a time that is not known is told")
	}
	if ledger := g["disks"].([]any)[0].(map[string]any)["ledger"].(map[string]any); ledger["done"] != float64(10<<30) {
		t.Errorf("got %v", ledger)
	}
}

func TestPKIInit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	got := failback(t.Context(), "", "pki", "init", dir, "--json")
	doc := document(t, got.out)
	if got.code != 0 || doc["directory"] != dir || len(doc["files"].([]any)) != 10 || doc["fingerprint"] == "" {
		t.Errorf("got %+v", got)
	}
	got = failback(t.Context(), "", "pki", "init", dir)
	if got.code != 1 || got.out != "" || !strings.Contains(got.err, "nothing was made") || !strings.Contains(got.err, "What to do: ") {
		t.Errorf("a second time: got %+v", got)
	}
}

func TestPKIIssueAndRevoke(t *testing.T) {
	dir, out := filepath.Join(t.TempDir(), "pki"), filepath.Join(t.TempDir(), "ps2")
	for _, step := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"pki", "init", dir}, 0, "an enroller"},
		{[]string{"pki", "issue", dir, "process-server", "--name", "ps2", "--out", out}, 0, "process-server.crt"},
		{[]string{"pki", "issue", dir, "process-server", "--out", out}, 1, "--keep-key"},
		{[]string{"pki", "issue", dir, "operator", "--name", "x", "--out", out}, 1, "only a process server"},
		{[]string{"pki", "issue", dir, "king", "--out", out}, 1, "no role"},
		{[]string{"pki", "issue", out, "operator", "--out", dir}, 1, "ca.key"},
		{[]string{"pki", "revoke", dir, filepath.Join(out, "process-server.crt")}, 0, "names 1 certificates"},
		{[]string{"pki", "issue", dir, "process-server", "--out", out, "--keep-key"}, 0, "process-server.crt"},
		{[]string{"pki", "revoke", dir, filepath.Join(out, "process-server.crt"), "00:ab"}, 0, "names 3 certificates"},
		{[]string{"pki", "revoke", dir, filepath.Join(dir, "ca.crt")}, 1, "the CA itself"},
		{[]string{"pki", "revoke", dir, "nothing"}, 1, "serial number"},
	} {
		if got := failback(t.Context(), "", step.args...); got.code != step.code || !strings.Contains(got.out+got.err, step.says) {
			t.Errorf("%v: got %+v, want code %d and %q", step.args, got, step.code, step.says)
		}
	}
}

func TestErrorsAreOneDocumentOnStandardError(t *testing.T) {
	address := operatortest.Serve(t, staged())
	for args, want := range map[string]struct {
		code int
		word string
	}{
		"rewind erp 9":                         {1, "no-such-point"},
		"points other":                         {1, "no-such-group"},
		"check /none/plan.yaml":                {1, "plan"},
		"rewind erp x":                         {2, "usage"},
		"rewind erp -1":                        {2, "usage"},
		"advance erp 0":                        {2, "usage"},
		"points ../erp":                        {2, "usage"},
		"points":                               {2, "usage"},
		"points erp more":                      {2, "usage"},
		"drill erp 2":                          {2, "usage"},
		"drill erp -1 /mnt/d":                  {2, "usage"},
		"drill other 2 /mnt/d":                 {1, "no-such-group"},
		"drill --end /busy":                    {1, "drill-in-use"},
		"drill --end /a erp":                   {2, "usage"},
		"drill --record well erp 2":            {2, "usage"},
		"drill --record passed erp":            {2, "usage"},
		"drill erp 2 /m --force":               {2, "usage"},
		"drill erp 2 /m --note x":              {2, "usage"},
		"drill erp 2 /m --for 0s":              {2, "usage"},
		"drill erp 2 /m --scratch x":           {2, "usage"},
		"drill --end /m --writable":            {2, "usage"},
		"drill --end /m --record passed erp 2": {2, "usage"},
		"points erp --nope":                    {2, "usage"},
		"pionts erp":                           {2, "usage"},
		"":                                     {2, "usage"},
		"pki":                                  {2, "usage"},
		"pki make":                             {2, "usage"},
		"status --watch":                       {2, "usage"},
		"export erp 1 os -":                    {2, "usage"},
		"points erp --config /non":             {2, "config"},
		"status --operator nowhere":            {1, "bad-address"},
		"status --operator unix:/n":            {1, "unreachable"},
	} {
		t.Run(args, func(t *testing.T) {
			t.Setenv(operatorEnv, address)
			got := failback(t.Context(), "", append(strings.Fields(args), "--json")...)
			if got.code != want.code || got.out != "" {
				t.Errorf("got %+v", got)
			}
			problem, _ := document(t, got.err)["error"].(map[string]any)
			if len(problem) != 3 || problem["code"] != want.word || problem["message"] == "" || problem["remedy"] == "" {
				t.Errorf("got %+v, want code %s", problem, want.word)
			}
		})
	}
}

func TestWithoutAnAddress(t *testing.T) {
	t.Setenv(operatorEnv, "")
	if got := failback(t.Context(), "", "status"); got.code != 2 || !strings.Contains(got.err, operatorEnv) {
		t.Errorf("got %+v", got)
	}
}

func TestConfigFile(t *testing.T) {
	t.Setenv(operatorEnv, "")
	address := operatortest.Serve(t, staged())
	config := planFile(t, "operator: "+address+"\njson: true\nkeep-journal: true\n")
	if got := failback(t.Context(), "", "--config", config, "cut", "erp"); got.out != "{\"point\":3}\n" {
		t.Errorf("got %+v", got)
	}
	if got := failback(t.Context(), "", "unprotect", "erp", "--yes", "--config", config, "--keep-journal=false"); !strings.Contains(got.out, `"journal":""`) {
		t.Errorf("got %+v", got)
	}
	if got := failback(t.Context(), "", "cut", "erp", "--config", planFile(t, "operater: x\n")); got.code != 2 || !strings.Contains(got.err, `did you mean "operator"?`) {
		t.Errorf("got %+v", got)
	}
}

// TestText says what people read.
func TestText(t *testing.T) {
	address := operatortest.Serve(t, staged())
	bad := planFile(t, "group: bad")
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"points erp", 0, `POINT  TIME                 KIND   SKEW   CHANGED  STORED  NOTES
1      2026-03-01 12:00:00  crash  2 ms   4.0 KiB  100 B   pinned, not app: machine db: no, equal (2026-03-01 12:00:00), drill passed (2026-03-01 12:00:00): boots
2      2026-03-01 12:01:00  app    2.3 s  1.0 GiB  0 B     head, suspect, DIFFERS in 8.0 KiB (2026-03-01 12:00:00)
3      2026-03-01 12:02:00  final  -      0 B      0 B     -
`},
		{"check " + bad, 1, `error    db/data: it is mounted  [target-in-use]
         What to do: unmount it
warning  db/os: it is slow  [source, ASR 78093]
         What to do: wait
group erp: would not work: 1 error, 1 warning
`},
		{"drill erp 2 /mnt/d", 0, "group erp: the disks of point 2 are mounted at /mnt/d, read-only\n  /mnt/d/db-os.raw  db/os  1.0 GiB\nIt ends with ^C\n"},
		{"drill erp 2 /mnt/d --detach --for 2h --writable --scratch-size 1G", 0, "group erp: the disks of point 2 are mounted at /mnt/d, writable: up to 1.0 GiB, thrown away at the end\n" +
			"  /mnt/d/db-os.raw  db/os  1.0 GiB\nIt ends at 2026-03-01 14:00:00, or with failback drill --end /mnt/d\n"},
		{"drill --end /mnt/d", 0, "group erp: the drill of point 2 at /mnt/d has ended\nRecord what it came to: failback drill --record passed erp 2\n"},
		{"drill --record passed erp 2", 0, "group erp: recorded on point 2: drill passed\n"},
		{"cut erp", 0, "3\n"},
		{"rewind erp 1", 0, "group erp: the disks stand at point 1 and are held there; failback advance erp moves them forward again\n"},
		{"advance erp", 0, "group erp: the disks stand at point 3, the latest, and follow new points again\n"},
		{"verify erp", 0, "group erp: point 3 equals its source\n"},
		{"volumes", 0, `VOLUME          TYPE   DEVICE    SIZE     FREE     VERDICT
/               ext4   /dev/sda  2.0 GiB  1.0 GiB  refused
/mnt/retention  xfs    /dev/sdb  1.0 TiB  0 B      in use
/odd            minix  -         -        -        warned

error    volume /: it is the root  [volume-root]
         What to do: mount another

warning  volume /: it is the root  [volume-root]
`},
		{"unprotect erp --yes", 0, "group erp is not replicated any more; its disks stand at point 2\nIts journal was removed.\n"},
	} {
		got := failback(t.Context(), "", append(strings.Fields(c.args), "--operator", address)...)
		if got.code != c.code || got.out != c.want {
			t.Errorf("%s: got %d\n%s%swant %d\n%s", c.args, got.code, got.out, got.err, c.code, c.want)
		}
	}
}

func TestPrintStatus(t *testing.T) {
	g := group(replication.StateError, 3)
	g.Held, g.LagSeconds, g.LastTime = true, 75, noon
	g.Problem = &replication.Problem{Code: "x", Message: "the journal is full", Remedy: "give it space"}
	g.Move = &replication.MoveStatus{From: 3, To: 1, Phase: "write", Done: 1 << 30, Total: 4 << 30}
	g.Notices = []string{"db/os: no stable view"}
	g.NextCut = noon.Add(2*time.Hour + 3*time.Minute)
	var b bytes.Buffer
	printStatus(&b, replication.Status{Groups: []replication.GroupStatus{g}, Workers: []replication.WorkerStatus{{Name: "ps1", Version: "v1", Since: noon, ClockSkew: 90 * time.Second}, {Name: "ps2", Version: "v0", Since: noon, NoClock: true}}}, noon.Add(2*time.Hour))
	want := `erp: error for 2h00m, disks held at point 3, last point 3 of 2026-03-01 12:00:00, making point 4, next point in 3m00s
  moving from point 3 to point 1: write 25 % of 4.0 GiB
  Problem: the journal is full
  What to do: give it space
  Note: db/os: no stable view
DISK     SIZE      STATE     PROGRESS  RATE         SENT     REPEATED  LAG    WAITS FOR
db/os    40.0 GiB  shipping  25 %      120.0 MiB/s  3.0 MiB  0 B       1m15s  ps1
db/data  1.0 TiB   waiting   -         -            0 B      0 B       1m15s  ps1

PROCESS SERVER  STATE  SINCE                VERSION  CLOCK
ps1             away   2026-03-01 12:00:00  v1       1m30s ahead
ps2             away   2026-03-01 12:00:00  v0       not told
`
	if got := b.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestReprotectWaits(t *testing.T) {
	stopped := group(replication.StateError, 0)
	stopped.Problem = &replication.Problem{Code: "source", Message: "the source went away", Remedy: "bring it back"}
	for name, c := range map[string]struct {
		answers []replication.GroupStatus
		want    result
	}{
		"FirstPoint": {[]replication.GroupStatus{group(replication.StateChecking, 0), group(replication.StateBaseline, 0), group(replication.StateProtected, 1)},
			result{0, "group erp is protected: point 1 is listed\n", "db/os 25 % of 40.0 GiB\nerp: waits for ps1\n"}},
		"Error": {[]replication.GroupStatus{group(replication.StateBaseline, 0), stopped},
			result{1, "", "db/os 25 % of 40.0 GiB\nerp: waits for ps1\nfailback: the source went away\nWhat to do: bring it back\n"}},
		"Unprotected": {[]replication.GroupStatus{{Group: "erp", State: replication.StateUnprotected}},
			result{1, "", "failback: group erp is not protected any more\nWhat to do: failback reprotect PLAN starts again\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := staged()
			f.OnStatus = statusFrom(c.answers...)
			got := failback(t.Context(), "group: erp", "reprotect", "-", "--wait", "--operator", operatortest.Serve(t, f))
			if got != c.want {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}

func TestCutWaits(t *testing.T) {
	f := staged()
	f.OnStatus = statusFrom(group(replication.StateProtected, 2), group(replication.StateProtected, 2), group(replication.StateProtected, 3))
	if got := failback(t.Context(), "", "cut", "erp", "--wait", "--json", "--operator", operatortest.Serve(t, f)); got != (result{0, "{\"point\":3}\n", ""}) {
		t.Errorf("got %+v", got)
	}
	f = staged()
	f.OnStatus = statusFrom(group(replication.StateProtected, 5))
	f.OnCut = func(replication.GroupID, bool) (replication.PointID, error) { return 4, nil }
	if got := failback(t.Context(), "", "cut", "erp", "--wait", "--operator", operatortest.Serve(t, f)); got.code != 1 || !strings.Contains(got.err, "point 4 of group erp is not listed, although point 5 is") {
		t.Errorf("got %+v", got)
	}
}

func TestWaitOutlastsARestart(t *testing.T) {
	tl := &tool{pace: pace{poll: time.Millisecond, patience: time.Hour}}
	away := &replication.Problem{Code: transport.CodeUnreachable, Message: "nobody"}
	answers := []error{away, away, nil, away, nil}
	notes := &notebook{}
	err := tl.until(t.Context(), notes, func() (bool, error) {
		err := answers[0]
		answers = answers[1:]
		return len(answers) == 0, err
	})
	if err != nil || len(notes.said) != 2 {
		t.Errorf("got %v, %q, want no error and two notes", err, notes.said)
	}
	tl.patience = 0
	if err := tl.until(t.Context(), notes, func() (bool, error) { return false, away }); !errors.Is(err, away) {
		t.Errorf("without patience: got %v", err)
	}
}

type notebook struct {
	silent
	said []string
}

func (n *notebook) note(text string) { n.said = append(n.said, text) }

func TestExportFile(t *testing.T) {
	address := operatortest.Serve(t, staged())
	path := filepath.Join(t.TempDir(), "d.raw")
	got := failback(t.Context(), "", "export", "erp", "2", "os", path, "--operator", address)
	if want := path + ": disk os at point 2, 1.0 MiB, of which 4.5 KiB are not zero\n"; got.code != 0 || got.out != want {
		t.Errorf("got %+v\nwant %s", got, want)
	}
	b, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(b, exported().Bytes) {
		t.Errorf("the file differs: %v", err)
	}
	if got := failback(t.Context(), "", "export", "erp", "2", "os", path, "--operator", address); got.code != 1 || !strings.Contains(got.err, "left alone") {
		t.Errorf("over a file: got %+v", got)
	}
	if got := failback(t.Context(), "", "export", "erp", "2", "os", "-", "--operator", address); got.code != 0 || got.out != string(exported().Bytes) {
		t.Errorf("to standard output: got %d, %d bytes, %s", got.code, len(got.out), got.err)
	}
}

func TestExportLeavesNoHalfFile(t *testing.T) {
	f := staged()
	f.OnExport = func(replication.GroupID, replication.PointID, string) (link.Content, error) {
		c := exported()
		c.FailAt, c.Err = 1<<20, &replication.Problem{Code: "journal-damaged", Message: "segment 3 is damaged", Remedy: "choose another point"}
		return c, nil
	}
	dir := t.TempDir()
	got := failback(t.Context(), "", "export", "erp", "2", "os", filepath.Join(dir, "d.raw"), "--operator", operatortest.Serve(t, f))
	if got.code != 1 || !strings.Contains(got.err, "segment 3 is damaged\nWhat to do: choose another point") {
		t.Errorf("got %+v", got)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestInterruptEndsTheWaiting(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	f := staged()
	f.OnStatus = func(replication.GroupID) (replication.Status, error) {
		cancel()
		return statusFrom(group(replication.StateBaseline, 0))("erp")
	}
	got := failback(ctx, "group: erp", "reprotect", "-", "--wait", "--json", "--operator", operatortest.Serve(t, f))
	if got.code != 1 || !strings.Contains(got.err, `"code":"cancelled"`) {
		t.Errorf("got %+v", got)
	}
	if got := failback(ctx, "", "status", "--watch", "--operator", operatortest.Serve(t, f)); got.code != 0 {
		t.Errorf("an interrupted watch: got %+v", got)
	}
}

func TestHelpOfEveryCommandTeaches(t *testing.T) {
	root := (&tool{}).root()
	for _, c := range root.Commands() {
		if c.Name() == "help" || c.Name() == "completion" || c.HasSubCommands() {
			continue
		}
		if c.Name() != "version" && (c.Long == "" || c.Example == "") {
			t.Errorf("%s has no explanation or no example", c.Name())
		}
		if got := failback(t.Context(), "", c.Name(), "--help"); got.code != 0 || !strings.Contains(got.out, c.UseLine()) {
			t.Errorf("%s --help: got %+v", c.Name(), got)
		}
	}
}

func TestHuman(t *testing.T) {
	for _, c := range []struct {
		done, left int64
		elapsed    time.Duration
		want       string
	}{{0, 5, time.Minute, ""}, {5, 5, time.Millisecond, ""}, {60 << 20, 120 << 20, time.Minute, "1.0 MiB/s, 2m00s left"}, {60 << 20, 0, time.Minute, "1.0 MiB/s"}} {
		if got := rateOf(c.done, c.left, c.elapsed); got != c.want {
			t.Errorf("rate of %+v: got %q", c, got)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1<<20 - 1: "1.0 MiB", 1 << 40: "1.0 TiB", 62 << 40: "62.0 TiB"} {
		if got := size(n); got != want {
			t.Errorf("size %d: got %s want %s", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{0: "0s", 999 * time.Millisecond: "999ms", 59 * time.Second: "59s", 61 * time.Second: "1m01s", 25 * time.Hour: "25h00m", 50 * time.Hour: "2d02h", -time.Minute: "-1m00s"} {
		if got := age(d); got != want {
			t.Errorf("age %v: got %s want %s", d, got, want)
		}
	}
	got := []string{percent(0, 0), percent(0, 10), percent(999, 1000), percent(1000, 1000)}
	if want := []string{"-", "0 %", "99 %", "100 %"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q want %q", got, want)
	}
}

// TestPointsByName: the newest application-consistent point that is sound, and the newest at all.
func TestPointsByName(t *testing.T) {
	f := staged()
	points := []replication.Point{{ID: 1, Kind: replication.App}, {ID: 2, Kind: replication.App}, {ID: 3, Kind: replication.App, Suspect: true}, {ID: 4, Kind: replication.App, Damaged: 1}, {ID: 5, Kind: replication.Crash}}
	f.OnPoints = func(replication.GroupID) (replication.PointID, []replication.Point, error) { return 5, points, nil }
	var moved replication.PointID
	f.OnMove = func(_ context.Context, _ replication.GroupID, r replication.MoveRequest, _ func(replication.MoveStatus)) (replication.PointID, error) {
		moved = r.To
		return r.To, nil
	}
	var committed replication.PointID
	f.OnCommit = func(_ replication.GroupID, r replication.CommitRequest, _ func(replication.CutoverStatus)) (replication.PointID, error) {
		committed = r.Point
		return r.Point, nil
	}
	address := operatortest.Serve(t, f)
	if got := failback(t.Context(), "", "__complete", "--operator", address, "rewind", "erp", "l"); !strings.HasPrefix(got.out, "latest\tthe last point\nlatest-app\tthe last that is application-consistent and sound\n1\t") {
		t.Errorf("a shell is told %+v", got)
	}
	for args, want := range map[string]replication.PointID{"rewind erp latest-app": 2, "rewind erp latest": 5, "advance erp latest-app": 2, "commit erp --point latest-app": 2} {
		moved, committed = 0, 0
		if got := failback(t.Context(), "", append(strings.Fields(args), "--operator", address)...); got.code != 0 || max(moved, committed) != want {
			t.Errorf("%s: got %+v, to point %d, want %d", args, got, max(moved, committed), want)
		}
	}
	points = points[2:]
	if got := failback(t.Context(), "", "rewind", "erp", "latest-app", "--operator", address); got.code != 1 || !strings.Contains(got.err, "no application-consistent point that is sound") {
		t.Errorf("got %+v", got)
	}
}

func TestForget(t *testing.T) {
	f := staged()
	f.OnStatus = func(replication.GroupID) (replication.Status, error) {
		return replication.Status{Workers: []replication.WorkerStatus{{Name: "ps1"}, {Name: "ps2", Connected: true}}}, nil
	}
	f.OnForget = func(name string) (string, error) {
		if name != "ps1" {
			return "", &replication.Problem{Code: "process-server-connected", Message: "process server " + name + " is connected", Remedy: "stop it first"}
		}
		return "5f2a", nil
	}
	address := operatortest.Serve(t, f)
	if got := failback(t.Context(), "", "__complete", "--operator", address, "forget", ""); !strings.HasPrefix(got.out, "ps1\taway\n:") {
		t.Errorf("a shell is told %+v", got)
	}
	if got := failback(t.Context(), "", "forget", "ps1", "--operator", address); got.code != 0 || !strings.Contains(got.out, "process server ps1 is forgotten; its key was 5f2a\n") || !strings.Contains(got.out, "failback pki revoke") {
		t.Errorf("got %+v", got)
	}
	if got := failback(t.Context(), "", "forget", "ps1", "--json", "--operator", address); got.code != 0 || got.out != "{\"name\":\"ps1\",\"key\":\"5f2a\"}\n" {
		t.Errorf("got %+v", got)
	}
	if got := failback(t.Context(), "", "forget", "ps2", "--operator", address); got.code != 1 || !strings.Contains(got.err, "ps2 is connected") {
		t.Errorf("got %+v", got)
	}
}

// TestCutApp: a point that could not be made application-consistent is one, and a failure.
func TestCutApp(t *testing.T) {
	f := staged()
	asked := false
	f.OnCut = func(_ replication.GroupID, app bool) (replication.PointID, error) { asked = app; return 1, nil }
	address := operatortest.Serve(t, f)
	if got := failback(t.Context(), "", "cut", "erp", "--app", "--wait", "--operator", address); got.code != 1 || got.out != "1\n" || !strings.Contains(got.err, "point 1 of group erp is listed, and is crash-consistent only: machine db:") || !asked {
		t.Errorf("got %+v, asked for one: %v", got, asked)
	}
	f.OnCut = func(_ replication.GroupID, app bool) (replication.PointID, error) { return 2, nil }
	if got := failback(t.Context(), "", "cut", "erp", "--app", "--wait", "--operator", address); got != (result{0, "2\n", ""}) {
		t.Errorf("got %+v", got)
	}
}
