package journal

import (
	"fmt"
	"time"

	"failback/blockio"
	"failback/replication"
	"failback/replication/block"
	"failback/retention"
)

// rewind goes back over 24 points, beside going back over one.
func (l *lab) rewind() error {
	const cycles = 24
	size := int64(2 << 30)
	if l.Quick {
		size = 128 << 20
	}
	many, err := l.stand("rewind", size, blockio.CachingBuffered)
	if err != nil {
		return err
	}
	defer many.close()
	all, last, err := many.day(cycles, size/32)
	if err != nil {
		return err
	}
	if err := many.j.Move(l, []retention.Disk{many.disk}, 1, nil); err != nil {
		return err
	}
	if err := many.disk.Close(); err != nil { // the other journal has the same disk
		return err
	}
	single, err := l.stand("rewind-one", size, blockio.CachingBuffered)
	if err != nil {
		return err
	}
	defer single.close()
	many.disk = single.disk
	one, err := single.cycle(split(all.Extents()), 1, block.Raw)
	if err != nil {
		return err
	}
	if err := single.j.Move(l, []retention.Disk{single.disk}, one, nil); err != nil {
		return err
	}
	if err := single.j.Move(l, []retention.Disk{single.disk}, 1, nil); err != nil {
		return err
	}
	var grown int64
	back := func(s *stand, from replication.PointID) func() (float64, error) {
		return func() (float64, error) {
			if err := s.j.Move(l, []retention.Disk{s.disk}, from, nil); err != nil {
				return 0, err
			}
			segs, _ := s.files("seg")
			saves, _ := s.files("save")
			if err := cold(append(append(segs, saves...), s.path)...); err != nil {
				return 0, err
			}
			before, err := s.bytes()
			if err != nil {
				return 0, err
			}
			begin := time.Now()
			if err := s.j.Move(l, []retention.Disk{s.disk}, 1, nil); err != nil {
				return 0, err
			}
			took := time.Since(begin).Seconds()
			after, err := s.bytes()
			grown += after - before
			return float64(all.Bytes()) / took, err
		}
	}
	return l.pairs(fmt.Sprintf("rewind of %d MiB over 24 points, beside over one", all.Bytes()>>20), "MiB", 1<<20, "over one point", back(many, last), back(single, one),
		func() string { return fmt.Sprintf("the journal's files grew by %d bytes", grown) })
}

// split cuts extents to what one block holds.
func split(es []replication.Extent) (out []replication.Extent) {
	for _, e := range es {
		for e.Off < e.End {
			p := replication.Extent{Off: e.Off, End: min(e.End, e.Off+block.MaxRaw)}
			out = append(out, p)
			e.Off = p.End
		}
	}
	return out
}
