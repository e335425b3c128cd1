package retention

import (
	"context"
	"path/filepath"

	"failback/replication"
)

// FileUse tells what a file of the journal is worth.
type FileUse struct {
	Name  string              // within the group's directory, with slashes
	Size  int64               // bytes on the retention volume
	Bytes int64               // bytes of the disks that it holds content of
	Live  int64               // of these: content that a listed point needs
	Spare int64               // of the live ones: what the disks hold as well, now that they stand at the head
	First replication.PointID // the oldest listed point that may need it
	Last  replication.PointID // the newest listed point that may be the oldest to need a part of it; First, but for saves
}

// Use tells what each file of the journal is worth, from the indexes alone. While a move is under way nothing is spare.
func (j *Journal) Use(ctx context.Context) ([]FileUse, error) {
	if err := j.usable(); err != nil {
		return nil, err
	}
	c := j.shelf.pin()
	defer j.shelf.unpin(c)
	use := make(map[*sealed]*FileUse, len(c.files))
	out := make([]FileUse, len(c.files))
	for i, s := range c.files {
		name, err := filepath.Rel(j.dir, s.name)
		if err != nil {
			return nil, err
		}
		out[i] = FileUse{Name: filepath.ToSlash(name), Size: s.foot.size(), Bytes: s.foot.bytes - s.rec.Gone, First: c.class(s.low()), Last: c.class(s.high())}
		use[s] = &out[i]
	}
	for d := range c.id.Disks {
		err := sweep(c.files, replication.DiskNo(d), func(e replication.Extent, over []span) error {
			c.standing(over, func(i int, _ replication.PointID, spare bool) {
				if over[i].kind == gone {
					return
				}
				u := use[over[i].in]
				u.Live += e.Len()
				if spare {
					u.Spare += e.Len()
				}
			})
			return ctx.Err()
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}
