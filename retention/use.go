package retention

import (
	"context"
	"path/filepath"
	"slices"

	"failback/replication"
	"failback/replication/block"
)

// Use tells what the space that a journal takes is worth. What a file's bytes on the volume are good for is reckoned from its index: the share of its content, and of its index, that is needed.
type Use struct {
	Files []FileUse
	// Frees says, for each listed point but the last, how many bytes on the volume nobody needed any more if it alone were dropped.
	Frees map[replication.PointID]int64
	// Yield is how many bytes nobody needed any more if all points were dropped but those to be kept.
	Yield int64
}

// FileUse tells what a file of the journal is worth. Sizes are bytes on the retention volume. What is neither dead nor spare is needed, and only there.
type FileUse struct {
	Name  string              // within the group's directory, with slashes
	Size  int64               //
	Dead  int64               // no listed point needs it
	Spare int64               // the disks hold it as well, as long as they stand at the head
	Cold  int64               // of the spares: they are no newer than the oldest listed point, so that no move among the listed points writes over them
	First replication.PointID // the oldest listed point that may need it; NoPoint: none does
	Last  replication.PointID // the newest listed point that may be the oldest to need a part of it: First, but for saves
}

// Changes is another number whenever Use may tell something else than before.
func (j *Journal) Changes() uint64 { return j.now.Load().changes + 1 }

// entryCost is what an extent takes beside its content: in the index, its fence, and the block that has it.
const entryCost = indexEntrySize + extentSize

// cost is what a part of a span takes of its file, about.
func (sp *span) cost(part int64) float64 {
	c := entryCost * float64(part) / float64(sp.ext.Len())
	if sp.kind == block.Data {
		c += float64(part)
	}
	return c
}

// worth adds up a file's costs.
type worth struct {
	all, needed, spare, cold float64
}

// Use tells what each file of the journal is worth, from the indexes alone, and what it would be if only some points were kept. While a move is under way nothing is spare.
func (j *Journal) Use(ctx context.Context, keep []replication.PointID) (Use, error) {
	u := Use{Frees: map[replication.PointID]int64{}}
	if err := j.usable(); err != nil {
		return u, err
	}
	c := j.shelf.pin()
	defer j.shelf.unpin(c)
	files := make(map[*sealed]*worth, len(c.files))
	for _, s := range c.files {
		files[s] = &worth{}
	}
	type share struct {
		in    *sealed
		point replication.PointID
	}
	frees, yield := map[share]float64{}, map[*sealed]float64{}
	merged := map[replication.PointID]replication.PointID{} // of a class: that of the kept points
	for i, last := len(c.points)-1, NoPoint; i >= 0; i-- {
		if p := c.points[i].ID; slices.Contains(keep, p) {
			last = p
		}
		merged[c.points[i].ID] = last
	}
	floor := c.floor()
	after := map[replication.PointID]replication.PointID{} // the next listed point
	for i := range c.points[:max(len(c.points)-1, 0)] {
		after[c.points[i].ID] = c.points[i+1].ID
	}
	for d := range c.id.Disks {
		err := sweep(c.files, replication.DiskNo(d), func(e replication.Extent, over []span) error {
			n := e.Len()
			for i := range over {
				files[over[i].in].all += over[i].cost(n)
			}
			newer, kept := NoPoint, NoPoint // the class that was seen before; likewise of the kept points
			c.standing(over, func(i int, class replication.PointID, spare bool) {
				sp := &over[i]
				w, cost := files[sp.in], sp.cost(n)
				w.needed += cost
				if l := c.departed(sp.disk); l != nil && after[class] > l.Last || newer != NoPoint && after[class] == newer { // dropped, its class would be the next point's, which has a newer one
					frees[share{sp.in, class}] += cost
				}
				newer = class
				if m := merged[class]; m == NoPoint || m == kept || c.departed(sp.disk) != nil && m > c.departed(sp.disk).Last {
					yield[sp.in] += cost
				} else {
					kept = m
				}
				alone := i+1 == len(over) // else an older entry would show
				spare = spare && !buried(over[i:], nil)
				switch {
				case class == floor && (spare || sp.kind == gone) && alone:
					w.spare, w.cold = w.spare+cost, w.cold+cost
				case spare && sp.kind == block.Data:
					w.spare += float64(n) // its index entry stays
				}
			})
			return ctx.Err()
		})
		if err != nil {
			return u, err
		}
	}
	for _, s := range c.files {
		name, err := filepath.Rel(j.dir, s.name)
		if err != nil {
			return u, err
		}
		f := FileUse{Name: filepath.ToSlash(name), Size: s.foot.size(), First: c.class(s.low()), Last: c.class(s.high())}
		if w := files[s]; w.all > 0 {
			scale := float64(f.Size) / w.all
			if w.needed > 0 {
				f.Dead, f.Spare, f.Cold = int64((w.all-w.needed)*scale), int64(w.spare*scale), int64(w.cold*scale)
			} else {
				f.Dead = f.Size
			}
			if w.cold >= w.needed { // nothing would be left
				f.Dead = f.Size - f.Cold
				f.Spare = f.Cold
			}
			if len(c.blind) > 0 { // nothing is given up that the disks are taken to hold
				f.Spare, f.Cold = 0, 0
			}
			if c.frozen(s) {
				f.Dead = 0
			}
		}
		u.Files = append(u.Files, f)
	}
	for k, n := range frees {
		if w := files[k.in]; w.all > 0 {
			u.Frees[k.point] += int64(n * float64(k.in.foot.size()) / w.all)
		}
	}
	for s, n := range yield {
		u.Yield += int64(n * float64(s.foot.size()) / files[s].all)
	}
	return u, nil
}
