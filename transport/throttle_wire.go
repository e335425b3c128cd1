package transport

import (
	"time"

	failbackpb "failback/proto"
	"failback/replication"
	"failback/replication/throttle"
)

func limitsToWire(l throttle.Limits) *failbackpb.LimitsOrder {
	r := &failbackpb.LimitsOrder{Rate: int64(l.Rate)}
	for group, s := range l.Groups {
		r.Groups = append(r.Groups, &failbackpb.GroupShare{Group: group, Weight: uint32(s.Weight), Pass: s.Pass})
	}
	return r
}

func limitsFromWire(r *failbackpb.LimitsOrder) throttle.Limits {
	l := throttle.Limits{Rate: throttle.Rate(max(r.Rate, 0)), Groups: map[string]throttle.Share{}}
	for _, s := range r.Groups {
		l.Groups[s.Group] = throttle.Share{Weight: int(min(s.Weight, replication.MaxPriority)), Pass: s.Pass}
	}
	return l
}

func throttleToWire(s replication.ThrottleStatus) *failbackpb.ThrottleReply {
	r := &failbackpb.ThrottleReply{Schedule: s.Schedule, Limit: s.Limit, NextUnixNanos: nanos(s.Next), Use: s.Use}
	for _, g := range s.Groups {
		r.Groups = append(r.Groups, &failbackpb.GroupThrottle{Group: string(g.Group), Priority: uint32(g.Priority), PassUntilUnixNanos: nanos(g.PassUntil), Limit: g.Limit, Use: g.Use})
	}
	return r
}

func throttleFromWire(r *failbackpb.ThrottleReply) replication.ThrottleStatus {
	s := replication.ThrottleStatus{Schedule: r.GetSchedule(), Limit: r.GetLimit(), Next: timeOf(r.GetNextUnixNanos()), Use: r.GetUse(), Groups: []replication.GroupThrottle{}}
	for _, g := range r.GetGroups() {
		s.Groups = append(s.Groups, replication.GroupThrottle{Group: replication.GroupID(g.Group), Priority: int(g.Priority), PassUntil: timeOf(g.PassUntilUnixNanos), Limit: g.Limit, Use: g.Use})
	}
	return s
}

func throttleChangeToWire(c replication.ThrottleChange) *failbackpb.ThrottleRequest {
	r := &failbackpb.ThrottleRequest{Group: string(c.Group), Priority: uint32(c.Priority), Let: c.Let, PassNanos: int64(c.Pass)}
	if c.Schedule != nil {
		r.Set, r.Schedule = true, *c.Schedule
	}
	return r
}

func throttleChangeFromWire(r *failbackpb.ThrottleRequest) replication.ThrottleChange {
	c := replication.ThrottleChange{Group: replication.GroupID(r.Group), Priority: int(min(r.Priority, replication.MaxPriority+1)), Let: r.Let, Pass: time.Duration(r.PassNanos)}
	if r.Set {
		c.Schedule = &r.Schedule
	}
	return c
}
