package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"failback/replication"
)

// Space is what is known of a group's journal and of its volume at one moment.
type Space struct {
	Files  []File
	Other  int64 // bytes of the journal in other files: the open cycle's, the log
	Limits Limits
	Volume Volume
	Points []Point
	Grid   Grid
	Yield  int64 // bytes that would be dead if all points went that may be dropped; negative: not known
}

// File is one sealed file of the journal. What is neither dead nor spare is live: its own headers and index, and what only it holds of versions that listed points need.
type File struct {
	Name  string
	Bytes int64 // on the volume
	Dead  int64 // of versions that no listed point needs
	Spare int64 // of versions that the disks hold as well
	Cold  int64 // of Spare: of versions that came no later than the oldest listed point's, which no rewind within the history writes
}

func (f *File) live() int64 { return f.Bytes - f.Dead - f.Spare }

// Volume is a retention volume.
type Volume struct {
	Total    int64
	Free     int64
	Limits   Limits // of all that lies on it; Reserve counts beside the group's: the larger holds
	Journals int64  // bytes of all groups' journals
	Groups   int    // how many these are
}

// Pressure is what Next has to remember: where it stands within the thresholds. The zero Pressure is right after a start.
type Pressure struct {
	Soft bool `json:"soft"` // above a soft limit: spares go
	Hard bool `json:"hard"` // above a hard limit: history goes
	Held bool `json:"held"` // replication is held back
}

// Do says what is to be done.
type Do string

// What Next may ask for.
const (
	Nothing Do = "nothing"
	Rewrite Do = "rewrite" // File, without its dead bytes; one that has nothing else is removed
	Evict   Do = "evict"   // File's spares are dropped from the index, and so become dead; only the cold ones if Cold
	Give    Do = "drop"    // Point, early
	Hold    Do = "hold"    // no new cycle is begun, and the open one waits
	Release Do = "release" // replication goes on
)

// Action is what is to be done next. Why is for status and log.
type Action struct {
	Do    Do
	File  string
	Cold  bool
	Point replication.PointID
	Frees int64 // bytes that it gives back, at once or when the file is rewritten; negative: not known
	Why   string
}

// Thresholds. A limit that was reached is left below slack less than it: a twentieth. A hard limit that is exceeded by a twentieth holds replication back even while there is work to do.
const (
	slack     = 20
	halfDead  = 2  // a file of which 1/2 can go is rewritten
	tightDead = 8  // above the hard limit: 1/8
	leastGain = 16 // thinning a point must give 1/16 of what dropping the oldest gives
)

// MinPoints is how many points are left when space is given up: the last, and one to go back to. What rewrites all disks at once, such as ransomware, fills the journal like nothing else;
// then it is better to hold replication back, and ask, than to be left with what it made of them.
const MinPoints = 2

// least is what rewriting a file must give back to be worth it.
const least = 4096

// gauge is one thing that is filled, with its limits in bytes; 0: none.
type gauge struct {
	name             string
	used, soft, hard int64
}

func (g gauge) over(limit int64, was bool) bool {
	if was {
		limit -= limit / slack
	}
	return limit > 0 && g.used >= limit
}

// state is a Space with what is derived from it.
type state struct {
	*Space
	now     time.Time
	group   gauge
	volume  gauge
	reserve int64
	line    []Point
	safe    map[replication.PointID]string
	was, is Pressure
	low     bool // so little is free that arrivals would take the reserve
	over    bool // this group's history has to give way
}

// Next returns what to do next about space, and the pressure to tell it the next time. It is asked again after each thing done, with the new state of affairs: a drop makes
// bytes dead, and an eviction does, which only a rewrite gives back. What the grid does not keep is dropped before (see Drop). When replication is held back, that is told once as
// Hold; after it comes what is to be done about it, or Nothing with the reason.
//
// At the volume's hard limit a group whose journal is smaller than an equal share lets the larger ones give way, until the limit is exceeded by a twentieth.
func Next(s Space, now time.Time, was Pressure) (Action, Pressure) {
	x := s.reckon(now, was)
	work := x.work()
	held := x.hold(work)
	switch x.is.Held = held != ""; {
	case held != "" && !was.Held:
		return Action{Do: Hold, Why: "replication is held back: " + held}, x.is
	case held == "" && was.Held:
		return Action{Do: Release, Why: fmt.Sprintf("replication goes on: %s, %s free", x.fill(), size(x.Volume.Free))}, x.is
	case work.Do == Nothing && held != "":
		work.Why = "replication is held back: " + held
	}
	return work, x.is
}

func (s *Space) reckon(now time.Time, was Pressure) *state {
	x := &state{Space: s, now: now, was: was, line: byNumber(s.Points)}
	x.safe = protection(x.line, now)
	v := s.Volume
	x.group = gauge{"journal", s.used(), s.Limits.Soft.Of(v.Total), s.Limits.Hard.Of(v.Total)}
	x.volume = gauge{"volume", v.Total - v.Free, v.Limits.Soft.Of(v.Total), v.Limits.Hard.Of(v.Total)}
	x.reserve = max(s.Limits.Reserve.Of(v.Total), v.Limits.Reserve.Of(v.Total))
	free := x.reserve
	if was.Held {
		free += x.reserve / 2
	}
	x.low = v.Free <= free
	group, volume := x.group.over(x.group.hard, was.Hard), x.volume.over(x.volume.hard, was.Hard)
	fair := v.Groups < 2 || x.group.used >= v.Journals/int64(v.Groups) || x.volume.over(x.volume.hard+x.volume.hard/slack, false) || x.low
	x.is.Soft = x.group.over(x.group.soft, was.Soft) || x.volume.over(x.volume.soft, was.Soft) || group || volume || x.low
	x.is.Hard = group || volume
	x.over = group || volume && fair || x.low
	return x
}

func (s *Space) used() int64 {
	n := s.Other
	for _, f := range s.Files {
		n += f.Bytes
	}
	return n
}

// work returns what can be done about the space that is taken.
func (x *state) work() Action {
	if a, ok := x.compact(); ok {
		return a
	}
	if !x.over {
		return Action{Do: Nothing}
	}
	return x.give()
}

// compact finds the file that gives back most for what rewriting it costs.
func (x *state) compact() (Action, bool) {
	part := int64(halfDead)
	if x.over {
		part = tightDead
	}
	// goes is what of a file may go; it is worth a rewrite if that is enough of it.
	goes := func(f *File) int64 {
		if x.is.Soft {
			return f.Dead + f.Spare
		}
		return f.Dead + f.Cold
	}
	var best *File
	for i := range x.Files {
		f := &x.Files[i]
		n, stays := goes(f), f.Bytes-goes(f)
		if n < least && stays > 0 || n <= 0 || n < f.Bytes/part || stays > 0 && stays > x.Volume.Free {
			continue
		}
		if best == nil || cmp.Or(cmp.Compare(float64(n)/float64(f.Bytes), float64(goes(best))/float64(best.Bytes)), cmp.Compare(n, goes(best))) > 0 {
			best = f
		}
	}
	if best == nil {
		return Action{}, false
	}
	n, stays := goes(best), best.Bytes-goes(best)
	a := Action{Do: Rewrite, File: best.Name, Frees: n}
	switch evict := n - best.Dead; {
	case evict > 0 && x.is.Soft:
		a.Do = Evict
		a.Why = fmt.Sprintf("dropping %s of spare copies in %s: %s", size(evict), best.Name, x.tight())
	case evict > 0:
		a.Do, a.Cold = Evict, true
		a.Why = fmt.Sprintf("dropping %s of spare copies in %s: they are older than the oldest point", size(evict), best.Name)
	case stays == 0:
		a.Why = fmt.Sprintf("removing %s: no point needs any of its %s", best.Name, size(best.Bytes))
	default:
		a.Why = fmt.Sprintf("rewriting %s: %s of its %s are needed by no point", best.Name, size(n), size(best.Bytes))
	}
	return a, true
}

// hold returns why replication has to wait; empty: it does not.
func (x *state) hold(work Action) string {
	stuck := work.Do == Nothing && x.over
	switch g := x.tightest(); {
	case x.low:
		return fmt.Sprintf("%s are free on the volume, of which %s are kept in reserve; %s", size(x.Volume.Free), size(x.reserve), x.outlook(work))
	case x.over && g.hard > 0 && g.used >= g.hard+g.hard/slack, stuck, x.over && x.was.Held:
		return x.tight() + "; " + x.outlook(work)
	}
	return ""
}

// outlook says what will change it: what is being done, or what forbids it and who can help.
func (x *state) outlook(work Action) string {
	if work.Do != Nothing {
		return work.Why
	}
	why := x.forbidden()
	if g := x.tightest(); x.over && g.hard > 0 && g.used > g.hard-g.hard/slack {
		why += fmt.Sprintf("; %s must become free", size(g.used-(g.hard-g.hard/slack)))
	}
	return why
}

// forbidden names what keeps history from giving more way.
func (x *state) forbidden() string {
	var parts []string
	pins, names := 0, []string{}
	for _, p := range x.line {
		why := x.safe[p.ID]
		if strings.HasPrefix(why, "pinned") {
			if pins++; pins > 5 {
				continue
			}
		}
		if why != "" {
			names = append(names, fmt.Sprintf("point %d is %s", p.ID, why))
		}
	}
	if pins > 5 {
		names = append(names, fmt.Sprintf("%d more are pinned", pins-5))
	}
	if len(x.safe) < len(x.line) && len(x.line) <= MinPoints {
		names = append(names, fmt.Sprintf("the last %d points stay", MinPoints))
	}
	if len(names) > 0 && (len(names) > 1 || pins > 0 || len(x.line) <= MinPoints) { // that the last point stays goes without saying
		parts = append(parts, "no more history can be given up: "+strings.Join(names, ", "))
	}
	if x.Other > x.used()/2 {
		parts = append(parts, fmt.Sprintf("the open cycle takes %s", size(x.Other)))
	}
	if len(x.safe) < len(x.line) && x.Yield == 0 {
		parts = append(parts, "dropping the other points would free nothing")
	}
	if strangers := x.volume.used - max(x.Volume.Journals, x.group.used); strangers > x.Volume.Total/slack && strangers > x.group.used/2 {
		parts = append(parts, fmt.Sprintf("%s on the volume are no journal's", size(strangers)))
	}
	remedy := "make the volume larger"
	if pins > 0 {
		remedy = "unpin a point, or " + remedy
	}
	return strings.Join(append(parts, remedy), "; ")
}

// tightest returns the gauge that is nearest to its hard limit.
func (x *state) tightest() gauge {
	if x.volume.hard == 0 || x.group.hard > 0 && float64(x.group.used)/float64(x.group.hard) >= float64(x.volume.used)/float64(x.volume.hard) {
		return x.group
	}
	return x.volume
}

// tight says how full what is fullest is.
func (x *state) tight() string {
	g := x.tightest()
	switch {
	case g.hard > 0 && (x.over || g.soft == 0 || g.used < g.soft):
		return fmt.Sprintf("%s at %d %% of its hard limit of %s", g.name, g.used*100/g.hard, size(g.hard))
	case g.soft > 0:
		return fmt.Sprintf("%s at %d %% of its soft limit of %s", g.name, g.used*100/g.soft, size(g.soft))
	}
	return fmt.Sprintf("%s free on the volume", size(x.Volume.Free))
}

// fill says how much of its hard limit the journal takes.
func (x *state) fill() string {
	if x.group.hard == 0 {
		return "journal takes " + size(x.group.used)
	}
	return fmt.Sprintf("journal at %d %% of its hard limit of %s", x.group.used*100/x.group.hard, size(x.group.hard))
}

// index returns the place in the line of the point with a number.
func (x *state) index(id replication.PointID) int {
	return slices.IndexFunc(x.line, func(p Point) bool { return p.ID == id })
}
