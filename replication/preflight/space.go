package preflight

import (
	"fmt"
	"math"
	"time"

	"failback/replication"
	"failback/retention/policy"
)

// Datastore is a file system that targets lie on, or are to be created on.
type Datastore struct {
	Dir     string
	Free    int64 // bytes
	Created int64 // bytes of the targets that are to be created
	Grown   int64 // bytes that targets which are there, and thin, may come to take besides
	Data    int64 // of Created: what the sources hold other than holes, as far as that is known
}

// JudgeDatastore tells what targets may come to take.
func JudgeDatastore(d Datastore) []replication.Finding {
	var j judge
	wanted := d.Created + d.Grown
	if wanted <= 0 {
		return nil
	}
	what := fmt.Sprintf("targets at %s may come to take %s, of %s that are free: %s of disks that are to be created", d.Dir, bytesText(float64(wanted)), bytesText(float64(d.Free)), bytesText(float64(d.Created)))
	if d.Created > 0 {
		what += fmt.Sprintf(", thin, whose sources hold at most %s", bytesText(float64(d.Data)))
	}
	if d.Grown > 0 {
		what += fmt.Sprintf("; %s that thin targets which are there have not taken yet", bytesText(float64(d.Grown)))
	}
	switch {
	case d.Data > d.Free:
		j.find(replication.Warning, CodeTargetSpace, d.Dir, what+": the first point does not fit, unless much of it is zeros", "")
	case wanted > d.Free:
		j.find(replication.Warning, CodeTargetSpace, d.Dir, what+": the first point fits, and all that the machines may write later does not", "")
	default:
		j.find(replication.Info, CodeTargetSpace, d.Dir, what, "none needed")
	}
	return j.found
}

// Journal is what a group's journal may take, and what is going to be kept in it.
type Journal struct {
	Dir      string
	Group    replication.GroupID
	Total    int64 // bytes of the volume
	Free     int64 // bytes
	Used     int64 // bytes by this journal already
	Limits   policy.Limits
	Others   int         // groups besides that have their journals on the volume
	Grid     policy.Grid // which points are kept
	Interval time.Duration
	Disks    int64   // bytes of the group's disks; 0: not known
	Churn    float64 // bytes a second that change; 0: not told
	Original bool    // point 0 is to be kept
	Holds    int64   // bytes that the targets hold other than zeros, if it is
}

// assumedChurn is the share of the disks that is taken to change in a day where nobody says.
const assumedChurn = 0.05

// room returns what the journal may come to take.
func (v *Journal) room() int64 {
	room := v.Free + v.Used - v.Limits.Reserve.Of(v.Total)
	if hard := v.Limits.Hard.Of(v.Total); hard > 0 {
		room = min(room, hard)
	}
	return max(room, 0)
}

// original is what point 0 may take: what is saved, and an index of it.
func (v *Journal) original() int64 {
	if !v.Original {
		return 0
	}
	return v.Holds + v.Holds/32
}

// JudgeJournal tells what the points that are kept may take. It reckons as if no block changed twice between two of them, and nothing compressed: what is kept of each change is one version, the one before or the one after, but never more for
// a point than all disks. Copies of what the disks hold may take as much again; they are given up first, and count for nothing.
func JudgeJournal(v Journal) []replication.Finding {
	var j judge
	room := v.room()
	if most := v.original(); v.Original {
		j.find(replication.Info, CodeOriginal, string(v.Group), fmt.Sprintf("point 0, the disks as they are now, takes at most %d bytes of the retention volume: what of the targets' %d bytes of data differs from the sources, compressed", most, v.Holds), "none needed; failback status tells what it takes. Targets that are created take nothing")
		if most > room {
			j.find(replication.Warning, CodeOriginalSpace, string(v.Group), fmt.Sprintf("point 0 may take up to %d bytes, and %d of the retention volume may be used", most, room), "")
		}
		room = max(room-most, 0)
	}
	churn, from := v.Churn, "as --churn says"
	if churn <= 0 {
		churn, from = assumedChurn*float64(v.Disks)/(24*time.Hour).Seconds(), fmt.Sprintf("assumed: %.0f %% of the disks in a day; --churn says it better", 100*assumedChurn)
	}
	if churn <= 0 { // neither told, nor are sizes known
		return j.found
	}
	reach := v.Grid.Reach()
	takes := churn * reach.Seconds()
	if v.Disks > 0 {
		takes = math.Min(takes, float64(v.Disks)*float64(v.Grid.Count(v.Interval)))
	}
	cycle := churn * v.Interval.Seconds()
	if v.Disks > 0 {
		cycle = math.Min(cycle, float64(v.Disks))
	}
	what := fmt.Sprintf("the journal takes up to %s for points of %s, of %s that it may take at %s: reckoned with changes of %s (%s), no block changing twice between two points, and no compression", bytesText(takes), long(reach), bytesText(float64(room)), v.Dir, byteRate(churn), from)
	if v.Others > 0 {
		what += fmt.Sprintf("; %s besides use the volume", plural(v.Others, "group"))
	}
	switch {
	case 2*cycle > float64(room) && v.Churn > 0: // the cycle that arrives, and what applying it saves
		j.find(replication.Error, CodeJournalSpace, v.Dir, what+fmt.Sprintf("; a single cycle of %s needs %s twice: points would be held back", long(v.Interval), bytesText(cycle)), "")
	case takes > float64(room):
		j.find(replication.Warning, CodeJournalSpace, v.Dir, what+fmt.Sprintf(": it would reach back %s, and older points go", long(seconds(reach.Seconds()*float64(room)/takes))), "")
	default:
		j.find(replication.Info, CodeJournalSpace, v.Dir, what, "none needed")
	}
	return j.found
}
