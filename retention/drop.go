package retention

import (
	"fmt"
	"time"

	"failback/replication"
)

// DropPoints takes points off the list, durably, all or none: from then on they can't be read or moved to. Their content stays as far as other points need it; what nobody needs any
// more is given back by Rewrite. The last point, the one that the disks show, both ends of a move and pinned points stay (ErrInUse).
func (j *Journal) DropPoints(ids []replication.PointID, reason string) error {
	return j.commit(kindPointsDropped, func(st *state) (any, error) {
		for _, id := range ids {
			i, err := st.point(id)
			if err != nil {
				return nil, err
			}
			if err := st.droppable(id); err != nil {
				return nil, err
			}
			if st.points[i].HeldAt(time.Now()) && !leftOut(rulePinned) {
				return nil, fmt.Errorf("%w: point %d is pinned", ErrInUse, id)
			}
		}
		if len(ids) == 0 {
			return nil, nil
		}
		return dropRecord{ids, reason}, nil
	})
}
