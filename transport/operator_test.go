package transport_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"failback/replication"
	"failback/replication/link"
	"failback/transport"
	"failback/transport/operatortest"
	"failback/transport/pki"
)

func dial(t *testing.T, address string, id *pki.Identity) *transport.OperatorClient {
	t.Helper()
	c, err := transport.DialOperator(address, id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func wantProblem(t *testing.T, err error, code string, texts ...string) {
	t.Helper()
	var p *replication.Problem
	if !errors.As(err, &p) {
		t.Fatalf("got %v, want a problem of code %s", err, code)
	}
	if p.Code != code {
		t.Errorf("got %+v, want code %s", p, code)
	}
	for _, text := range texts {
		if !strings.Contains(p.Message+"; "+p.Remedy, text) {
			t.Errorf("got %+v, want %q in it", p, text)
		}
	}
}

func same[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\ngot  %+v\nwant %+v", what, got, want)
	}
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)

var cuttingOver = replication.CutoverStatus{Step: "closing", Since: noon, Point: 1, From: 2, Held: true, NotBefore: noon.Add(1), Doing: "moving", Done: 3, Total: 4, Left: 5, Next: "more", Stop: "stop", After: "start", Down: 3 * time.Second, Ended: "done"}

// TestOperatorEventsArriveWhole fills every field, too.
func TestOperatorEventsArriveWhole(t *testing.T) {
	want := replication.Event{No: 1, Time: noon, Kind: replication.EventAlert, Group: "erp", Subject: "s", Level: replication.Warned, Code: "806", Rule: "r", Point: 2, Message: "m", Remedy: "d"}
	ask := replication.EventsRequest{Group: "erp", Since: noon, After: 3}
	c := dial(t, operatortest.Serve(t, &operatortest.Fake{OnEvents: func(_ context.Context, r replication.EventsRequest, tell func(replication.Event) error) error {
		if r != ask {
			t.Errorf("asked for %+v, want %+v", r, ask)
		}
		return errors.Join(tell(want), tell(want))
	}}), nil)
	var got []replication.Event
	if err := c.Events(t.Context(), ask, func(e replication.Event) error { got = append(got, e); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0] != want || got[1] != want {
		t.Errorf("got %+v, want %+v twice", got, want)
	}
}

// TestOperatorStatusArrivesWhole fills every field, so that one that is forgotten on the way shows.
func TestOperatorStatusArrivesWhole(t *testing.T) {
	alert := replication.Alert{Rule: "r", Code: "806", Group: "erp", Subject: "s", Level: replication.Critical, Raised: noon, Message: "m", Remedy: "d"}
	want := replication.Status{
		Groups: []replication.GroupStatus{{
			Group: "erp", State: replication.StateHeld, Since: noon, WaitsFor: "ps1", Problem: &replication.Problem{Code: "c", Message: "m", Remedy: "r"},
			Head: 3, Last: 7, LastTime: noon.Add(time.Minute), LastApp: 6, LastAppTime: noon, Held: true, Open: 8, Mode: replication.Changes, ProcessServer: "ps1",
			Disks: []replication.DiskStatus{{
				Disk: "m/d", State: "shipping", Size: 4096, Ledger: replication.Ledger{Disk: 2, Total: 9, Done: 8, Read: 7, Zero: 6, Equal: 5, Raw: 4, Payload: 3, Repeated: 2, Kept: 10, Again: 11, Wire: 12, Codecs: replication.Codecs{
					None: replication.Sent{Raw: 1, Payload: 2}, LZ4: replication.Sent{Raw: 3, Payload: 4}, S2: replication.Sent{Raw: 5, Payload: 6}, Zstd: replication.Sent{Raw: 7, Payload: 8}},
					Spent: replication.Spent{Read: 1, Hash: 2, Compress: 3, Send: 4, Target: 5}},
				Backlog: replication.Backlog{Source: 1, ProcessServer: 2, MasterTarget: 3}, Bottleneck: "link", Because: "so", Stages: []replication.StageShare{{Stage: "link", Share: 0.5}},
				Durable: 11, Rate: 12.5, Source: "image:/s", Target: "/t", Format: "vmfs", View: "reflink", Joined: 3, Unborn: true, Queue: 4,
			}},
			Departed: []replication.DepartedDisk{{Disk: "m/gone", Joined: 2, Last: 5, Head: 4, Target: "/t/gone", Left: noon}},
			Move:     &replication.MoveStatus{From: 7, To: 3, Phase: "write", Done: 1, Total: 2, Rate: 2.5, Left: time.Second}, Notices: []string{"one", "two"},
			LagSeconds: 1.5, Behind: 4, CatchUp: time.Second, Generation: 4, NextCut: noon.Add(time.Hour),
			Space:  &replication.SpaceStatus{Used: 1, Dead: 2, Spare: 3, Limit: 4, Free: 5, Total: 6, Points: 7, Covers: time.Hour, Full: time.Unix(9, 0).UTC(), Runway: "covers 31 h", Doing: "rewriting"},
			Scrub:  &replication.ScrubStatus{Whole: noon, Next: noon, Running: true, Done: 1, Total: 2, Parts: 3, Lost: 4, Points: []replication.PointID{5}, Found: []string{"a flip"}},
			Drills: []replication.DrillStatus{drilling()},
			Pins:   []replication.Pin{{Point: 3, Until: noon, Note: "why"}},
			Link:   &replication.LinkStatus{Lanes: 4, Most: 8, Mix: []replication.LevelShare{{Level: "s2", Share: .25}}, Rate: 1e6, Takes: 2e6, Binds: "link", Limit: 3e6},

			Original: &replication.OriginalStatus{Saving: true, Stored: 10},
			Resync:   &replication.ResyncStatus{Asked: true, Why: "why", Since: time.Unix(11, 0).UTC(), Opens: time.Unix(12, 0).UTC()},
			Cutover:  &cuttingOver,
			Health:   replication.Critical, Alerts: []replication.Alert{alert}, Bottleneck: "hash", Because: "it is", SilentSince: noon,
		}},
		Workers: []replication.WorkerStatus{{Name: "ps1", Connected: true, Version: "v1", Since: noon, ClockSkew: -time.Second, NoClock: true, Health: replication.Warned, Alerts: []replication.Alert{alert},
			Figures: &replication.Figures{Time: noon, CPU: 0.5, Memory: -1, StateFree: 1, StateTotal: 2, Shipping: 3, Frozen: []string{"erp/db"}, Clock: noon}}},
	}
	everyFieldSet(t, reflect.ValueOf(want), "status")
	c := dial(t, operatortest.Serve(t, &operatortest.Fake{OnStatus: func(g replication.GroupID) (replication.Status, error) {
		if g != "erp" {
			return replication.Status{}, fmt.Errorf("asked for %q", g)
		}
		return want, nil
	}}), nil)
	got, err := c.Status(t.Context(), "erp")
	if err != nil {
		t.Fatal(err)
	}
	same(t, "status", got, want)
}

func drilling() replication.DrillStatus {
	return replication.DrillStatus{
		Point: 5, Mountpoint: "/mnt", Files: []replication.DrillFile{{Disk: "m/d", Path: "/mnt/m-d.raw", Size: 4096}}, Since: noon, Until: noon.Add(time.Hour), Writable: true,
		Scratch: replication.DrillScratch{Dir: "/s", Used: 1, Limit: 2}, Errors: 3, LastError: "e", Without: []replication.UnbornDisk{{Disk: "m/d", Joined: 4, Left: 6}},
	}
}

// TestOperatorDrills starts, ends and records drills, attached and detached; a caller who goes ends the call.
func TestOperatorDrills(t *testing.T) {
	want := replication.DrillRequest{Point: 5, Mountpoint: "/mnt", Writable: true, Scratch: "/s", ScratchSize: 2, For: time.Hour}
	everyFieldSet(t, reflect.ValueOf(drilling()), "drill")
	held, gone := make(chan struct{}), make(chan struct{})
	recorded := replication.Drilled{Outcome: replication.DrillFailed, Time: noon, Note: "does not boot"}
	c := dial(t, operatortest.Serve(t, &operatortest.Fake{
		OnDrill: func(ctx context.Context, g replication.GroupID, r replication.DrillRequest, started func(replication.DrillStatus)) (string, error) {
			detached := r.Detach
			r.Detach = false
			same(t, "request", r, want)
			if g == "none" {
				return "", &replication.Problem{Code: "no-such-group", Message: "m", Remedy: "r"}
			}
			started(drilling())
			if g == "held" {
				close(held)
				<-ctx.Done()
				close(gone)
				return "", ctx.Err()
			}
			if detached {
				return "", nil
			}
			return "its time was over", nil
		},
		OnEndDrill: func(m string, force bool) (replication.GroupID, replication.DrillStatus, error) {
			if m != "/mnt" || !force {
				return "", replication.DrillStatus{}, &replication.Problem{Code: "no-such-drill", Message: "m", Remedy: "r"}
			}
			return "erp", drilling(), nil
		},
		OnRecordDrill: func(g replication.GroupID, p replication.PointID, o replication.DrillOutcome, note string) (replication.Drilled, error) {
			same(t, "recorded", fmt.Sprintf("%s %d %s %s", g, p, o, note), "erp 5 failed does not boot")
			return recorded, nil
		},
	}), nil)
	for _, detach := range []bool{false, true} {
		var got []replication.DrillStatus
		r := want
		r.Detach = detach
		why, err := c.Drill(t.Context(), "erp", r, func(d replication.DrillStatus) { got = append(got, d) })
		if err != nil || (why == "its time was over") == detach {
			t.Errorf("detached %v: %q, %v", detach, why, err)
		}
		same(t, "drill", got, []replication.DrillStatus{drilling()})
	}
	never := func(replication.DrillStatus) { t.Error("started") }
	_, err := c.Drill(t.Context(), "none", want, never)
	wantProblem(t, err, "no-such-group")
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-held; cancel() }()
	_, err = c.Drill(ctx, "held", want, func(replication.DrillStatus) {})
	wantProblem(t, err, transport.CodeCancelled)
	<-gone
	g, d, err := c.EndDrill(t.Context(), "/mnt", true)
	if g != "erp" || err != nil {
		t.Errorf("end: %s, %v", g, err)
	}
	same(t, "ended", d, drilling())
	_, _, err = c.EndDrill(t.Context(), "/mnt", false)
	wantProblem(t, err, "no-such-drill")
	r, err := c.RecordDrill(t.Context(), "erp", 5, replication.DrillFailed, "does not boot")
	if err != nil {
		t.Error(err)
	}
	same(t, "recorded", r, recorded)
}

// TestOperatorPins sends a pin there, and what became of the point back.
func TestOperatorPins(t *testing.T) {
	want := replication.Pin{Point: 5, Until: noon, Note: "before the upgrade"}
	pinned := replication.Point{ID: 5, Time: noon, Kind: replication.Crash, Pinned: true, PinnedUntil: noon, PinNote: "before the upgrade"}
	gone := &replication.Problem{Code: "no-such-point", Message: "m", Remedy: "r"}
	c := dial(t, operatortest.Serve(t, &operatortest.Fake{
		OnPin: func(g replication.GroupID, p replication.Pin) (replication.Point, error) {
			if p.Point == 9 {
				return replication.Point{}, gone
			}
			same(t, "pin", fmt.Sprint(g, p), fmt.Sprint("erp", want))
			return pinned, nil
		},
		OnUnpin: func(g replication.GroupID, p replication.PointID) (replication.Point, error) {
			if p == 9 {
				return replication.Point{}, gone
			}
			return replication.Point{ID: p, Time: noon, Kind: replication.App}, nil
		},
	}), nil)
	p, err := c.Pin(t.Context(), "erp", want)
	if err != nil {
		t.Error(err)
	}
	same(t, "pinned", p, pinned)
	p, err = c.Unpin(t.Context(), "erp", 5)
	if err != nil {
		t.Error(err)
	}
	same(t, "unpinned", p, replication.Point{ID: 5, Time: noon, Kind: replication.App})
	_, err = c.Pin(t.Context(), "erp", replication.Pin{Point: 9})
	wantProblem(t, err, "no-such-point")
	_, err = c.Unpin(t.Context(), "erp", 9)
	wantProblem(t, err, "no-such-point")
}

// everyFieldSet fails where a field is zero: the test above would not see it lost.
func everyFieldSet(t *testing.T, v reflect.Value, path string) {
	t.Helper()
	switch v.Kind() {
	case reflect.Pointer:
		everyFieldSet(t, v.Elem(), path)
	case reflect.Slice:
		for i := range v.Len() {
			everyFieldSet(t, v.Index(i), path)
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range v.NumField() {
			name := path + "." + v.Type().Field(i).Name
			if v.Field(i).IsZero() && !strings.HasSuffix(name, "Problem.Err") {
				t.Errorf("%s is not set", name)
			}
			everyFieldSet(t, v.Field(i), name)
		}
	}
}

func TestOperatorCallsArriveAsMeant(t *testing.T) {
	plan := []byte("group: erp")
	findings := []replication.Finding{{Severity: replication.Warning, Code: "c", ASR: "806", Subject: "s", Message: "m", Remedy: "r"}}
	points := []replication.Point{
		{ID: 1, Time: noon, Kind: replication.App, Bytes: 5, Stored: 6, Pinned: true, PinnedUntil: noon.Add(time.Hour), PinNote: "why", Skew: 9, NotApp: "no", Suspect: true, Damaged: 8, Verified: &replication.Verify{Time: noon, Equal: true, Differs: 7},
			Drill: &replication.Drilled{Outcome: replication.DrillPassed, Time: noon, Note: "n"}},
		{ID: 2, Time: noon.Add(1), Kind: replication.Crash},
	}
	verified := replication.Verify{Time: noon, Differs: 4096}
	volumes := []replication.Volume{
		{Path: "/mnt/retention", Type: "xfs", Device: "/dev/sdb", Size: 5, Free: 4, Retention: true, Usable: true, Findings: findings},
		{Path: "/odd\xff", Findings: []replication.Finding{}},
	}
	everyFieldSet(t, reflect.ValueOf(volumes[0]), "volume")
	pathAsk := replication.PathAsk{Each: time.Second, MaxBytes: 5, Churn: 7.5}
	path := &replication.Path{Connections: 1, Connect: 2, Handshake: 3, RTT: 4, Loaded: 5, Skew: -6, SkewWithin: 7, Up: replication.PathRate{Rate: 1.5, Bytes: 8, Lasted: 9, Again: 0.25},
		Down: replication.PathRate{Rate: 2.5, Bytes: 10, Lasted: 11, Again: 0.5}, Segment: 12, Vanished: 13, Passes: 14, VanishedDown: true}
	everyFieldSet(t, reflect.ValueOf(*path), "path")
	moving := replication.MoveStatus{From: 9, To: 2, Phase: "save", Done: 1, Total: 4, Rate: 2.5, Left: time.Second}
	planned := replication.MovePlan{From: 9, To: 2, Write: 1, Save: 2, Need: 3, Free: 4, Fits: true, Compact: true, Spares: true, GiveUp: []replication.PointID{5}, Lacks: 6,
		Pinned: []replication.PointID{7}, InUse: []replication.PointID{8}, Why: "why", Takes: time.Minute, Unborn: []replication.UnbornDisk{{Disk: "m/d", Joined: 10, Left: 11}}}
	everyFieldSet(t, reflect.ValueOf(planned), "planned")
	ledgers := []replication.Ledger{{Disk: 1, Total: 10, Done: 5}}
	var asked []string
	note := func(format string, args ...any) { asked = append(asked, fmt.Sprintf(format, args...)) }
	c := dial(t, operatortest.Serve(t, &operatortest.Fake{
		OnCheck: func(y []byte, ask replication.PathAsk) (replication.Checked, error) {
			note("check %s", y)
			same(t, "path ask", ask, pathAsk)
			return replication.Checked{Group: "erp", Findings: findings, Path: path}, nil
		},
		OnReprotect: func(y []byte) (replication.GroupID, bool, error) { note("reprotect %s", y); return "erp", true, nil },
		OnCut: func(g replication.GroupID, app bool) (replication.PointID, error) {
			note("cut %s %v", g, app)
			return 9, nil
		},
		OnPoints: func(g replication.GroupID) (replication.PointID, []replication.Point, error) {
			note("points %s", g)
			return 2, points, nil
		},
		OnMove: func(_ context.Context, g replication.GroupID, r replication.MoveRequest, progress func(replication.MoveStatus)) (replication.PointID, error) {
			note("move %s %+v", g, r)
			progress(moving)
			return r.To, nil
		},
		OnPlanMove: func(g replication.GroupID, r replication.MoveRequest) (replication.MovePlan, error) {
			note("plan move %s %+v", g, r)
			return planned, nil
		},
		OnCancelMove: func(g replication.GroupID, finish bool, progress func(replication.MoveStatus)) (replication.PointID, error) {
			note("cancel move %s %v", g, finish)
			progress(moving)
			return 9, nil
		},
		OnVerify: func(g replication.GroupID, p replication.PointID, progress func([]replication.Ledger)) (replication.PointID, replication.Verify, []replication.DiskID, error) {
			note("verify %s %d", g, p)
			progress(ledgers)
			return 7, verified, []replication.DiskID{"m/d"}, nil
		},
		OnCommit: func(g replication.GroupID, r replication.CommitRequest, progress func(replication.CutoverStatus)) (replication.PointID, error) {
			note("commit %s %d %s %s %v %v", g, r.Point, r.Stop, r.After, r.Verify, r.NotBefore.Equal(noon))
			progress(cuttingOver)
			return 5, nil
		},
		OnUndo: func(g replication.GroupID, toOriginal bool, progress func(replication.CutoverStatus)) (replication.PointID, error) {
			note("undo %s %v", g, toOriginal)
			progress(cuttingOver)
			return 6, nil
		},
		OnFinish: func(g replication.GroupID) (replication.PointID, error) {
			note("finish %s", g)
			return replication.NoPoint, nil
		},
		OnUnprotect: func(g replication.GroupID, keep, giveUp bool) (replication.PointID, string, error) {
			note("unprotect %s %v %v", g, keep, giveUp)
			return 2, "/retention/erp", nil
		},
		OnVolumes: func() ([]replication.Volume, error) { note("volumes"); return volumes, nil },
	}), nil)
	ctx := t.Context()

	found, err := c.Check(ctx, plan, pathAsk)
	same(t, "check", fmt.Sprintf("%v %v", found.Group, err), "erp <nil>")
	same(t, "findings", found.Findings, findings)
	same(t, "path", found.Path, path)
	group, carriedOn, err := c.Reprotect(ctx, plan)
	same(t, "reprotect", fmt.Sprintf("%v %v %v", group, carriedOn, err), "erp true <nil>")
	point, err := c.Cut(ctx, "erp", true)
	same(t, "cut", fmt.Sprintf("%v %v", point, err), "9 <nil>")
	head, gotPoints, err := c.Points(ctx, "erp")
	same(t, "points", fmt.Sprintf("%v %v", head, err), "2 <nil>")
	same(t, "points", gotPoints, points)
	var gotMoving []replication.MoveStatus
	request := replication.MoveRequest{To: 2, Advance: true, GiveUp: []replication.PointID{4, 5}, GiveUpAny: true}
	gotPlan, err := c.PlanMove(ctx, "erp", request)
	same(t, "plan of a move", err, nil)
	same(t, "plan of a move", gotPlan, planned)
	head, err = c.CancelMove(ctx, "erp", true, nil)
	same(t, "cancel", fmt.Sprintf("%v %v", head, err), "9 <nil>")
	head, err = c.Move(ctx, "erp", request, func(m replication.MoveStatus) { gotMoving = append(gotMoving, m) })
	same(t, "move", fmt.Sprintf("%v %v", head, err), "2 <nil>")
	same(t, "progress of move", gotMoving, []replication.MoveStatus{moving})
	var gotLedgers []replication.Ledger
	point, gotVerified, differing, err := c.Verify(ctx, "erp", 0, func(l []replication.Ledger) { gotLedgers = l })
	same(t, "verify", fmt.Sprintf("%v %v %v", point, differing, err), "7 [m/d] <nil>")
	same(t, "verify", gotVerified, verified)
	same(t, "progress of verify", gotLedgers, ledgers)
	var gotCutting []replication.CutoverStatus
	cutting := func(s replication.CutoverStatus) { gotCutting = append(gotCutting, s) }
	head, err = c.Commit(ctx, "erp", replication.CommitRequest{Point: 5, Stop: "stop", After: "start", Verify: true, NotBefore: noon}, cutting)
	same(t, "commit", fmt.Sprintf("%v %v", head, err), "5 <nil>")
	head, err = c.Undo(ctx, "erp", true, cutting)
	same(t, "undo", fmt.Sprintf("%v %v", head, err), "6 <nil>")
	same(t, "progress of a cutover; a commit ends with the last of it", gotCutting, []replication.CutoverStatus{cuttingOver, cuttingOver, cuttingOver})
	head, err = c.FinishCutover(ctx, "erp")
	same(t, "finish", fmt.Sprintf("%v %v", head == replication.NoPoint, err), "true <nil>")
	head, journal, err := c.Unprotect(ctx, "erp", true, true)
	same(t, "unprotect", fmt.Sprintf("%v %v %v", head, journal, err), "2 /retention/erp <nil>")
	gotVolumes, err := c.Volumes(ctx)
	same(t, "volumes", err, nil)
	volumes[1].Path = "/odd\uFFFD" // a path may be any bytes
	same(t, "volumes", gotVolumes, volumes)
	same(t, "calls", asked, []string{"check group: erp", "reprotect group: erp", "cut erp true", "points erp", "plan move erp {To:2 Advance:true GiveUp:[4 5] GiveUpAny:true}", "cancel move erp true",
		"move erp {To:2 Advance:true GiveUp:[4 5] GiveUpAny:true}", "verify erp 0", "commit erp 5 stop start true true", "undo erp true", "finish erp", "unprotect erp true true", "volumes"})
}

func TestOperatorProblemsArriveAsTold(t *testing.T) {
	told := &replication.Problem{Code: "no-such-point", Message: "group erp has no point 9", Remedy: "see failback points erp"}
	c := dial(t, operatortest.Serve(t, &operatortest.Fake{
		OnCut: func(replication.GroupID, bool) (replication.PointID, error) { return 0, fmt.Errorf("cut: %w", told) },
		OnMove: func(context.Context, replication.GroupID, replication.MoveRequest, func(replication.MoveStatus)) (replication.PointID, error) {
			return 0, told
		},
		OnPoints: func(replication.GroupID) (replication.PointID, []replication.Point, error) {
			return 0, nil, io.ErrUnexpectedEOF
		},
	}), nil)
	_, err := c.Cut(t.Context(), "erp", false)
	wantProblem(t, err, "no-such-point", "cut: group erp has no point 9", told.Remedy)
	_, err = c.Move(t.Context(), "erp", replication.MoveRequest{To: 9}, nil)
	wantProblem(t, err, "no-such-point", told.Message, told.Remedy)
	_, _, err = c.Points(t.Context(), "erp")
	wantProblem(t, err, "internal", "unexpected EOF")
	_, err = c.Check(t.Context(), make([]byte, transport.MaxPlan+1), replication.PathAsk{})
	wantProblem(t, err, "plan", "at most 1048576")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = c.Status(ctx, "")
	wantProblem(t, err, transport.CodeCancelled)
}

func TestStatusOf(t *testing.T) {
	for _, c := range []struct {
		err  error
		want codes.Code
	}{
		{nil, codes.OK},
		{&replication.Problem{Code: "no-such-group"}, codes.NotFound},
		{&replication.Problem{Code: "95226"}, codes.FailedPrecondition},
		{fmt.Errorf("around: %w", &replication.Problem{Code: "plan"}), codes.InvalidArgument},
		{context.Canceled, codes.Canceled},
		{fmt.Errorf("around: %w", context.DeadlineExceeded), codes.DeadlineExceeded},
		{io.EOF, codes.Internal},
		{status.Error(codes.Aborted, "x"), codes.Aborted},
	} {
		if got := status.Code(transport.StatusOf(c.err)); got != c.want {
			t.Errorf("%v: got %v want %v", c.err, got, c.want)
		}
	}
	if p := transport.ProblemOf(nil); p != nil {
		t.Errorf("got %+v for nil", p)
	}
	p := &replication.Problem{Code: "x", Message: "m", Remedy: "r", Err: io.EOF}
	same(t, "there and back", *transport.ProblemOf(transport.StatusOf(p)), replication.Problem{Code: "x", Message: "m: EOF", Remedy: "r"})
}

func TestOperatorExport(t *testing.T) {
	const size = 3<<20 + 1536
	content := &operatortest.Content{Bytes: make([]byte, size), Data: []replication.Extent{{Off: 8192, End: 1 << 20}, {Off: 1 << 20, End: 1<<20 + 8192}, {Off: 3 << 20, End: size}}}
	for _, at := range []int{8192, 300 << 10, 1<<20 - 1, 1 << 20, 3<<20 + 1535} {
		content.Bytes[at] = 1
	}
	c := dial(t, operatortest.Serve(t, &operatortest.Fake{OnExport: func(g replication.GroupID, p replication.PointID, disk string) (link.Content, error) {
		if g != "erp" || p != 4 || disk != "m/d" {
			return nil, fmt.Errorf("asked for %s %d %s", g, p, disk)
		}
		return content, nil
	}}), nil)
	x, err := c.Export(t.Context(), "erp", 4, "m/d")
	if err != nil {
		t.Fatal(err)
	}
	got, sent := make([]byte, x.Size), 0
	for {
		off, data, err := x.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		sent += copy(got[off:], data)
	}
	if !bytes.Equal(got, content.Bytes) {
		t.Error("the content differs")
	}
	if want := 4*replication.Page + 1536; sent != want {
		t.Errorf("got %d bytes on the wire, want the %d of the pages that are not zero", sent, want)
	}
	if !content.Closed {
		t.Error("the content was left open")
	}
}

func TestOperatorExportFailsWhereTheReadDoes(t *testing.T) {
	content := &operatortest.Content{Bytes: bytes.Repeat([]byte{1}, 1<<20), FailAt: 512 << 10, Err: &replication.Problem{Code: "journal-damaged", Message: "m", Remedy: "r"}}
	c := dial(t, operatortest.Serve(t, &operatortest.Fake{OnExport: func(replication.GroupID, replication.PointID, string) (link.Content, error) { return content, nil }}), nil)
	x, err := c.Export(t.Context(), "erp", 4, "d")
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, _, err = x.Next()
	}
	wantProblem(t, err, "journal-damaged", "read at offset")
}

func TestDialOperatorNobodyThere(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "s")
	c := dial(t, "unix:"+socket, nil)
	_, err := c.Status(t.Context(), "")
	wantProblem(t, err, transport.CodeUnreachable, "unix:"+socket, "no such socket", "start master-target")

	deadSocket(t, socket)
	_, err = dial(t, "unix:"+socket, nil).Status(t.Context(), "")
	wantProblem(t, err, transport.CodeUnreachable, "not running")

	for _, address := range []string{"", "unix:", "host", "/run/x"} {
		_, err := transport.DialOperator(address, nil)
		wantProblem(t, err, "bad-address", "unix:PATH")
	}
	_, err = transport.DialOperator("127.0.0.1:1", nil)
	wantProblem(t, err, "no-certificate", "--pki")
}

// deadSocket leaves a socket as a killed process does.
func deadSocket(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
}

func TestListenOperator(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	deadSocket(t, socket)
	l, err := transport.ListenOperator("unix:" + socket)
	if err != nil {
		t.Fatalf("over a dead socket: %v", err)
	}
	fi, err := os.Stat(socket)
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v, want mode 0600", fi, err)
	}
	_, err = transport.ListenOperator("unix:" + socket)
	wantProblem(t, err, "listen", "another master target answers")
	l.Close()
	if _, err := os.Lstat(socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket stays after Close: %v", err)
	}
	if err := os.WriteFile(socket, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = transport.ListenOperator("unix:" + socket)
	wantProblem(t, err, "listen", "is not a socket")
	_, err = transport.ListenOperator("unix:" + filepath.Join(socket+"-none", "s"))
	wantProblem(t, err, "listen", "directory first")
	_, err = transport.ListenOperator("unix:/" + strings.Repeat("x", 200))
	wantProblem(t, err, "bad-address", "shorter")
}

func newPKI(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "pki")
	if _, err := pki.Init(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func serveTLS(t *testing.T, dir string, log io.Writer) (address string) {
	t.Helper()
	id, err := pki.Open(dir, pki.MasterTarget, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l, err := transport.ListenOperator("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := transport.NewOperatorServer(&operatortest.Fake{OnStatus: func(replication.GroupID) (replication.Status, error) { return replication.Status{}, nil }},
		id, slog.New(slog.NewTextHandler(log, nil)))
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() { s.Stop(); <-served })
	return l.Addr().String()
}

func identity(t *testing.T, dir string, role pki.Role) *pki.Identity {
	t.Helper()
	id, err := pki.Open(dir, role, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestOperatorOverTLS(t *testing.T) {
	dir := newPKI(t)
	address := serveTLS(t, dir, io.Discard)
	if _, err := dial(t, address, identity(t, dir, pki.Operator)).Status(t.Context(), ""); err != nil {
		t.Errorf("an operator: got %v", err)
	}
	c := dial(t, address, identity(t, dir, pki.ProcessServer))
	_, err := c.Status(t.Context(), "")
	wantProblem(t, err, transport.CodeWrongRole, "process-server", "operator")
	_, err = c.Move(t.Context(), "g", replication.MoveRequest{To: 1}, nil)
	wantProblem(t, err, transport.CodeWrongRole, "process-server", "operator")

	_, err = dial(t, address, identity(t, newPKI(t), pki.Operator)).Status(t.Context(), "")
	wantProblem(t, err, pki.CodeOtherCA, address, "failback pki init")
}

// lockedBuffer is a log that two goroutines use.
type lockedBuffer struct {
	lines chan string
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.lines <- string(p)
	return len(p), nil
}

func TestOperatorTurnedAwayIsLoggedWithTheReason(t *testing.T) {
	log := &lockedBuffer{lines: make(chan string, 16)}
	theirs, ours := newPKI(t), newPKI(t)
	address := serveTLS(t, theirs, log)
	var both []byte // a client that trusts both authorities, as while one takes the other's place
	for _, dir := range []string{ours, theirs} {
		ca, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
		if err != nil {
			t.Fatal(err)
		}
		both = append(both, ca...)
	}
	if err := os.WriteFile(filepath.Join(ours, "ca.crt"), both, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := dial(t, address, identity(t, ours, pki.Operator)).Status(t.Context(), "")
	wantProblem(t, err, transport.CodeRefused, address, "its log says why")
	if line := <-log.lines; !strings.Contains(line, pki.CodeOtherCA) || !strings.Contains(line, "failback pki init") {
		t.Errorf("the log does not say why: %s", line)
	}
}
