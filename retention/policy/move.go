package policy

import (
	"fmt"
	"strings"
	"time"

	"failback/replication"
)

// Reclaimable is what could be given up to make room for a move's save.
type Reclaimable struct {
	Dead   int64   // bytes that rewriting files gives back
	Spare  int64   // bytes of spares that the move does not need: those of versions that it will overwrite are not among them, as they would have to be saved again
	Points []Point // both ends of the move have Use Move
	Bound  string  // what else bounds the space that may be taken, such as "the journal's hard limit of 1.0 GiB"; empty: what is free
}

// Verdict says whether a move's save fits, and at what cost.
type Verdict struct {
	Fits    bool                  `json:"fits"`    // now, or when the following are given up
	Need    int64                 `json:"need"`    // bytes to be free before it starts, the reserve included
	Compact bool                  `json:"compact"` // files have to be rewritten first
	Spares  bool                  `json:"spares"`  // spares have to be dropped first
	Points  []replication.PointID `json:"points"`  // have to be dropped first
	Lacks   int64                 `json:"lacks"`   // bytes that are not to be had
	Forbids []replication.PointID `json:"forbids"` // pinned points that would give more
	InUse   []replication.PointID `json:"in_use"`  // points that drills or readers use, which would give more
	Why     string                `json:"why"`
}

// Free says whether the move may start as it is.
func (v *Verdict) Free() bool { return v.Fits && !v.Compact && !v.Spares && len(v.Points) == 0 }

// MoveSpace reckons a move before it starts: raw bytes are what only the disks hold of what it overwrites, uncompressed, as a save may not compress. Points are given up
// in the order of their age, the least that is enough (free is negative where more than may be is taken already); one that gives nothing back, as far as is known, is not given up.
func MoveSpace(raw, free, reserve int64, r Reclaimable, now time.Time) Verdict {
	save := raw + raw/32 // with headers and index
	v := Verdict{Need: save + reserve, Fits: true}
	lacks := v.Need - free
	left := size(free) + " are free"
	if r.Bound != "" {
		left = fmt.Sprintf("%s are left below %s", size(free), r.Bound)
		if free < 0 {
			left = fmt.Sprintf("the journal takes %s more than %s", size(-free), r.Bound)
		}
	}
	if raw <= 0 {
		v.Need, v.Why = 0, "the move saves nothing"
		return v
	}
	if lacks <= 0 {
		v.Why = fmt.Sprintf("the move saves at most %s; %s", size(save), left)
		return v
	}
	var steps []string
	if r.Dead > 0 {
		v.Compact, lacks = true, lacks-r.Dead
		steps = append(steps, "rewriting files")
	}
	if lacks > 0 && r.Spare > 0 {
		v.Spares, lacks = true, lacks-r.Spare
		steps = append(steps, "dropping spare copies")
	}
	line := byNumber(r.Points)
	safe := protection(line, now)
	stay := len(line)
	for _, p := range line {
		if lacks > 0 && safe[p.ID] == "" && p.Frees > 0 && stay > MinPoints {
			v.Points, lacks, stay = append(v.Points, p.ID), lacks-p.Frees, stay-1
		}
	}
	if n := len(v.Points); n > 0 {
		steps = append(steps, "dropping "+names(v.Points))
	}
	what := fmt.Sprintf("the move saves up to %s and %s stay in reserve, but %s", size(save), size(reserve), left)
	if reserve == 0 {
		what = fmt.Sprintf("the move saves up to %s, but %s", size(save), left)
	}
	if lacks <= 0 {
		v.Why = what + ": it fits after " + strings.Join(steps, ", ")
		return v
	}
	v.Fits, v.Lacks = false, lacks
	var pinned, used int64
	for _, p := range line {
		switch busy := p.Use == Drill || p.Use == Reader; {
		case p.Frees <= 0:
		case p.pinned(now) && (p.Use == "" || busy):
			v.Forbids, pinned = append(v.Forbids, p.ID), pinned+p.Frees
		case busy:
			v.InUse, used = append(v.InUse, p.ID), used+p.Frees
		}
	}
	v.Why = fmt.Sprintf("%s: %s are lacking", what, size(lacks))
	if len(steps) > 0 {
		v.Why += " even after " + strings.Join(steps, ", ")
	}
	switch {
	case pinned >= lacks:
		v.Why += fmt.Sprintf("; %s would give %s: unpin, or make the volume larger", pins(v.Forbids), size(pinned))
	case pinned > 0:
		v.Why += fmt.Sprintf("; make the volume larger: even %s would give only %s", pins(v.Forbids), size(pinned))
	case used == 0:
		v.Why += "; make the volume larger"
	}
	if used > 0 {
		v.Why += fmt.Sprintf("; %s, used by drills or readers, would give %s when these end", names(v.InUse), size(used))
	}
	return v
}

func pins(ids []replication.PointID) string { return "pinned " + names(ids) }

// names lists points.
func names(ids []replication.PointID) string {
	if len(ids) == 1 {
		return fmt.Sprintf("point %d", ids[0])
	}
	var all []string
	for _, id := range ids[:min(len(ids), 8)] {
		all = append(all, fmt.Sprint(id))
	}
	s := "points " + strings.Join(all, ", ")
	if n := len(ids) - len(all); n > 0 {
		s += fmt.Sprintf(" and %d more, up to %d", n, ids[len(ids)-1])
	}
	return s
}
