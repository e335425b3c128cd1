package retention

import (
	"container/heap"

	"failback/replication"
)

// sweep walks the indexes of files beside each other: fn gets extents of a disk that rise, each with the spans, of other files each, that tell of it, the one that stands highest
// first. The spans are not cut to the extent, and fn does not keep them. Blind files are passed over.
func sweep(files []*sealed, disk replication.DiskNo, fn func(e replication.Extent, over []span) error) error {
	var ahead heads // each file's next span
	for _, s := range seeing(files) {
		c := newCursor(s, disk, 0, allVersions)
		sp, ok, err := c.next(0)
		if err != nil {
			return err
		}
		if ok {
			ahead = append(ahead, &head{span: sp, feed: c})
		}
	}
	heap.Init(&ahead)
	var over []span // those that hold at
	for at := int64(0); len(over) > 0 || len(ahead) > 0; {
		if len(over) == 0 {
			at = ahead[0].ext.Off
		}
		for len(ahead) > 0 && ahead[0].ext.Off == at {
			over = insert(over, ahead[0].span)
			sp, ok, err := ahead[0].feed.next(at)
			if err != nil {
				return err
			}
			if ok {
				ahead[0].span = sp
				heap.Fix(&ahead, 0)
			} else {
				heap.Pop(&ahead)
			}
		}
		e := replication.Extent{Off: at, End: noLimit}
		if len(ahead) > 0 {
			e.End = ahead[0].ext.Off
		}
		for i := range over {
			e.End = min(e.End, over[i].ext.End)
		}
		if err := fn(e, over); err != nil {
			return err
		}
		at = e.End
		left := over[:0]
		for i := range over {
			if over[i].ext.End > at {
				left = append(left, over[i])
			}
		}
		over = left
	}
	return nil
}

// insert puts a span where it stands.
func insert(over []span, sp span) []span {
	over = append(over, sp)
	for i := len(over) - 1; i > 0 && over[i].above(&over[i-1]); i-- {
		over[i], over[i-1] = over[i-1], over[i]
	}
	return over
}

// standing calls fn with what each class has of a byte, the newest class first: the span that stands highest, of which alone the class's content is. spare: the disks hold it too.
// over is as sweep gives it. Of a disk that left nothing is spare, and what no point that has it needs is of no class.
func (s *state) standing(over []span, fn func(i int, class replication.PointID, spare bool)) {
	held := s.atPoint() && s.move == nil
	last, until := NoPoint, NoPoint
	if len(over) > 0 {
		if l := s.departed(over[0].disk); l != nil {
			held, until = held && leftOut(ruleLeftKept), l.Last
		}
	}
	for i := range over {
		class := s.class(over[i].version)
		if class == NoPoint || class == last || class > until {
			continue
		}
		last = class
		spare := held && class <= s.head
		if spare {
			held = false // older ones the disks do not show
		}
		fn(i, class, spare)
	}
}
