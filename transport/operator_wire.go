package transport

import (
	"strings"
	"time"

	failbackpb "failback/proto"
	"failback/replication"
)

// This file says, for each message of operator.proto, which value of the vocabulary it is; both directions side by side.

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func timeOf(nanos int64) time.Time {
	if nanos == 0 {
		return time.Time{}
	}
	return time.Unix(0, nanos).UTC()
}

func findingToWire(f replication.Finding) *failbackpb.Finding {
	return &failbackpb.Finding{Severity: string(f.Severity), Code: f.Code, Subject: f.Subject, Message: f.Message, Remedy: f.Remedy, Asr: f.ASR}
}

func findingFromWire(f *failbackpb.Finding) replication.Finding {
	return replication.Finding{
		Severity: replication.Severity(f.Severity), Code: f.Code, ASR: f.Asr, Subject: f.Subject, Message: f.Message, Remedy: f.Remedy,
	}
}

func statusToWire(s replication.Status) *failbackpb.StatusReply {
	r := &failbackpb.StatusReply{}
	for _, g := range s.Groups {
		r.Groups = append(r.Groups, groupToWire(g))
	}
	for _, w := range s.Workers {
		r.Workers = append(r.Workers, &failbackpb.WorkerStatus{
			Name: w.Name, Connected: w.Connected, Version: w.Version, SinceUnixNanos: nanos(w.Since), ClockSkewNanos: int64(w.ClockSkew), NoClock: w.NoClock,
			Health: string(w.Health), Alerts: alertsToWire(w.Alerts), Figures: toldFigures(w.Figures), FiguresUnixNanos: toldWhen(w.Figures),
		})
	}
	return r
}

func statusFromWire(r *failbackpb.StatusReply) replication.Status {
	s := replication.Status{Groups: []replication.GroupStatus{}, Workers: []replication.WorkerStatus{}}
	for _, g := range r.Groups {
		s.Groups = append(s.Groups, groupFromWire(g))
	}
	for _, w := range r.Workers {
		s.Workers = append(s.Workers, replication.WorkerStatus{
			Name: w.Name, Connected: w.Connected, Version: w.Version, Since: timeOf(w.SinceUnixNanos), ClockSkew: time.Duration(w.ClockSkewNanos), NoClock: w.NoClock,
			Health: replication.Level(w.Health), Alerts: alertsFromWire(w.Alerts),
		})
		if w.Figures != nil {
			f := figuresFromWire(w.Figures)
			f.Time = timeOf(w.FiguresUnixNanos)
			s.Workers[len(s.Workers)-1].Figures = f
		}
	}
	return s
}

func groupToWire(g replication.GroupStatus) *failbackpb.GroupStatus {
	r := &failbackpb.GroupStatus{
		Group: string(g.Group), State: string(g.State), SinceUnixNanos: nanos(g.Since), WaitsFor: g.WaitsFor, Problem: problemToWire(g.Problem),
		Head: uint64(g.Head), Last: uint64(g.Last), LastUnixNanos: nanos(g.LastTime), Held: g.Held, Open: uint64(g.Open), Mode: string(g.Mode),
		ProcessServer: g.ProcessServer, Notices: g.Notices, LagSeconds: g.LagSeconds, Generation: uint64(g.Generation), NextCutUnixNanos: nanos(g.NextCut),
		Behind: int64(g.Behind), CatchUpNanos: int64(g.CatchUp), LastApp: uint64(g.LastApp), LastAppUnixNanos: nanos(g.LastAppTime),
		Health: string(g.Health), Alerts: alertsToWire(g.Alerts), Bottleneck: g.Bottleneck, Because: g.Because, SilentSinceUnixNanos: nanos(g.SilentSince),
	}
	for _, d := range g.Disks {
		r.Disks = append(r.Disks, &failbackpb.DiskStatus{
			Disk: string(d.Disk), State: d.State, Size: d.Size, Ledger: ledgerToWire(d.Ledger), Durable: d.Durable, Rate: d.Rate,
			Source: d.Source, Target: d.Target, Format: d.Format, View: d.View, Joined: uint64(d.Joined), Unborn: d.Unborn, Queue: uint32(d.Queue),
			AtSource: d.Backlog.Source, AtProcessServer: d.Backlog.ProcessServer, AtMasterTarget: d.Backlog.MasterTarget, Bottleneck: d.Bottleneck, Because: d.Because, Stages: stagesToWire(d.Stages),
		})
	}
	r.Link, r.Departed = linkToWire(g.Link), departedToWire(g.Departed)
	for _, d := range g.Drills {
		r.Drills = append(r.Drills, drillToWire(d))
	}
	for _, p := range g.Pins {
		r.Pins = append(r.Pins, pinToWire(p))
	}
	if g.Cutover != nil {
		r.Cutover = cutoverToWire(*g.Cutover)
	}
	r.Resync = resyncToWire(g.Resync)
	if o := g.Original; o != nil {
		r.Original = &failbackpb.OriginalStatus{Saving: o.Saving, Stored: o.Stored}
	}
	if g.Move != nil {
		r.Move = moveToWire(*g.Move)
	}
	if g.Scrub != nil {
		r.Scrub = scrubToWire(*g.Scrub)
	}
	if s := g.Space; s != nil {
		r.Space = &failbackpb.SpaceStatus{
			Used: s.Used, Dead: s.Dead, Spare: s.Spare, Limit: s.Limit, Free: s.Free, Total: s.Total, Points: int64(s.Points), CoversNanos: int64(s.Covers),
			FullUnixNanos: nanos(s.Full), Runway: s.Runway, Doing: s.Doing,
		}
	}
	return r
}

func groupFromWire(r *failbackpb.GroupStatus) replication.GroupStatus {
	g := replication.GroupStatus{
		Resync: resyncFromWire(r.Resync),
		Group:  replication.GroupID(r.Group), State: replication.GroupState(r.State), Since: timeOf(r.SinceUnixNanos), WaitsFor: r.WaitsFor,
		Problem: problemFromWire(r.Problem), Head: replication.PointID(r.Head), Last: replication.PointID(r.Last), LastTime: timeOf(r.LastUnixNanos), LastApp: replication.PointID(r.LastApp), LastAppTime: timeOf(r.LastAppUnixNanos),
		Held: r.Held, Open: replication.PointID(r.Open), Mode: replication.Mode(r.Mode), ProcessServer: r.ProcessServer,
		Disks: []replication.DiskStatus{}, Notices: append([]string{}, r.Notices...), LagSeconds: r.LagSeconds,
		Generation: replication.Generation(r.Generation), NextCut: timeOf(r.NextCutUnixNanos),
		Behind: int(r.Behind), CatchUp: time.Duration(r.CatchUpNanos),
		Health: replication.Level(r.Health), Alerts: alertsFromWire(r.Alerts), Bottleneck: r.Bottleneck, Because: r.Because, SilentSince: timeOf(r.SilentSinceUnixNanos),
	}
	for _, d := range r.Disks {
		g.Disks = append(g.Disks, replication.DiskStatus{
			Disk: replication.DiskID(d.Disk), State: d.State, Size: d.Size, Ledger: ledgerFromWire(d.Ledger), Durable: d.Durable, Rate: d.Rate,
			Source: d.Source, Target: d.Target, Format: d.Format, View: d.View, Joined: replication.PointID(d.Joined), Unborn: d.Unborn, Queue: int(d.Queue),
			Backlog:    replication.Backlog{Source: d.AtSource, ProcessServer: d.AtProcessServer, MasterTarget: d.AtMasterTarget},
			Bottleneck: d.Bottleneck, Because: d.Because, Stages: stagesFromWire(d.Stages),
		})
	}
	if r.Cutover != nil {
		c := cutoverFromWire(r.Cutover)
		g.Cutover = &c
	}
	g.Link, g.Departed = linkFromWire(r.Link), departedFromWire(r.Departed)
	g.Drills = []replication.DrillStatus{}
	for _, d := range r.Drills {
		g.Drills = append(g.Drills, drillFromWire(d))
	}
	g.Pins = []replication.Pin{}
	for _, p := range r.Pins {
		g.Pins = append(g.Pins, pinFromWire(p))
	}
	if o := r.Original; o != nil {
		g.Original = &replication.OriginalStatus{Saving: o.Saving, Stored: o.Stored}
	}
	if r.Move != nil {
		m := moveFromWire(r.Move)
		g.Move = &m
	}
	if r.Scrub != nil {
		s := scrubFromWire(r.Scrub)
		g.Scrub = &s
	}
	if s := r.Space; s != nil {
		g.Space = &replication.SpaceStatus{
			Used: s.Used, Dead: s.Dead, Spare: s.Spare, Limit: s.Limit, Free: s.Free, Total: s.Total, Points: int(s.Points), Covers: time.Duration(s.CoversNanos),
			Full: timeOf(s.FullUnixNanos), Runway: s.Runway, Doing: s.Doing,
		}
	}
	return g
}

func scrubToWire(s replication.ScrubStatus) *failbackpb.ScrubStatus {
	r := &failbackpb.ScrubStatus{
		WholeUnixNanos: nanos(s.Whole), NextUnixNanos: nanos(s.Next), Running: s.Running, Done: s.Done, Total: s.Total, Parts: int64(s.Parts), Lost: s.Lost, Found: s.Found,
	}
	for _, p := range s.Points {
		r.Points = append(r.Points, uint64(p))
	}
	return r
}

func scrubFromWire(r *failbackpb.ScrubStatus) replication.ScrubStatus {
	s := replication.ScrubStatus{
		Whole: timeOf(r.GetWholeUnixNanos()), Next: timeOf(r.GetNextUnixNanos()), Running: r.GetRunning(), Done: r.GetDone(), Total: r.GetTotal(), Parts: int(r.GetParts()), Lost: r.GetLost(),
		Points: []replication.PointID{}, Found: append([]string{}, r.GetFound()...),
	}
	for _, p := range r.GetPoints() {
		s.Points = append(s.Points, replication.PointID(p))
	}
	return s
}

func ledgerToWire(l replication.Ledger) *failbackpb.DiskLedger {
	return &failbackpb.DiskLedger{
		No: uint32(l.Disk), Total: l.Total, Done: l.Done, Read: l.Read, Zero: l.Zero, Equal: l.Equal, Raw: l.Raw, Payload: l.Payload,
		Kept: l.Kept, Again: l.Again, Wire: l.Wire, Repeated: l.Repeated, Codecs: codecsToWire(l.Codecs), Spent: spentToWire(l.Spent),
	}
}

func ledgerFromWire(l *failbackpb.DiskLedger) replication.Ledger {
	return replication.Ledger{
		Repeated: counted(l.GetRepeated()),
		Disk:     replication.DiskNo(l.GetNo()), Total: counted(l.GetTotal()), Done: counted(l.GetDone()), Read: counted(l.GetRead()), Zero: counted(l.GetZero()), Equal: counted(l.GetEqual()),
		Raw: counted(l.GetRaw()), Payload: counted(l.GetPayload()),
		Kept: counted(l.GetKept()), Again: counted(l.GetAgain()), Wire: counted(l.GetWire()), Codecs: codecsFromWire(l.GetCodecs()), Spent: spentFromWire(l.GetSpent()),
	}
}

func pointToWire(p replication.Point, head replication.PointID) *failbackpb.Point {
	r := &failbackpb.Point{
		Point: uint64(p.ID), UnixNanos: nanos(p.Time), Kind: string(p.Kind), Head: p.ID == head, Pinned: p.Pinned,
		Bytes: p.Bytes, Stored: p.Stored, Suspect: p.Suspect, PinnedUntilUnixNanos: nanos(p.PinnedUntil), PinNote: p.PinNote, Damaged: p.Damaged,
		SkewNanos: int64(p.Skew), NotApp: p.NotApp,
	}
	if p.Verified != nil {
		r.Verified = verifyToWire(*p.Verified)
	}
	if p.Drill != nil {
		r.Drilled = drilledToWire(*p.Drill)
	}
	return r
}

func pointFromWire(r *failbackpb.Point) replication.Point {
	p := replication.Point{
		ID: replication.PointID(r.GetPoint()), Time: timeOf(r.GetUnixNanos()), Kind: replication.Kind(r.GetKind()), Pinned: r.GetPinned(),
		Bytes: r.GetBytes(), Stored: r.GetStored(), Suspect: r.GetSuspect(), PinnedUntil: timeOf(r.GetPinnedUntilUnixNanos()), PinNote: r.GetPinNote(), Damaged: r.GetDamaged(),
		Skew: time.Duration(r.GetSkewNanos()), NotApp: r.GetNotApp(),
	}
	if r.GetVerified() != nil {
		v := verifyFromWire(r.Verified)
		p.Verified = &v
	}
	if r.GetDrilled() != nil {
		d := drilledFromWire(r.Drilled)
		p.Drill = &d
	}
	return p
}

func verifyToWire(v replication.Verify) *failbackpb.Verified {
	return &failbackpb.Verified{UnixNanos: nanos(v.Time), Equal: v.Equal, Differs: v.Differs}
}

func verifyFromWire(r *failbackpb.Verified) replication.Verify {
	return replication.Verify{Time: timeOf(r.GetUnixNanos()), Equal: r.GetEqual(), Differs: r.GetDiffers()}
}

func volumeToWire(v replication.Volume) *failbackpb.Volume {
	r := &failbackpb.Volume{
		Path: utf8(v.Path), Type: utf8(v.Type), Device: utf8(v.Device), Size: v.Size, Free: v.Free, Retention: v.Retention, Usable: v.Usable,
	}
	for _, f := range v.Findings {
		f.Subject, f.Message = utf8(f.Subject), utf8(f.Message)
		r.Findings = append(r.Findings, findingToWire(f))
	}
	return r
}

func volumeFromWire(r *failbackpb.Volume) replication.Volume {
	v := replication.Volume{
		Path: r.Path, Type: r.Type, Device: r.Device, Size: r.Size, Free: r.Free, Retention: r.Retention, Usable: r.Usable, Findings: []replication.Finding{},
	}
	for _, f := range r.Findings {
		v.Findings = append(v.Findings, findingFromWire(f))
	}
	return v
}

// utf8 makes a path fit for the wire: on Linux it may be any bytes.
func utf8(path string) string { return strings.ToValidUTF8(path, "\uFFFD") }
