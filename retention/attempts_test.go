package retention

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"failback/replication"
	"failback/replication/block"
)

// twoAttempts goes on from goldenWorld with a point whose cycle was sent in two attempts, the first of a round before: what that sent of a page is none of the point. The disks show the point.
func twoAttempts(t *testing.T) (w *world, last replication.PointID, later *sealed, err error) {
	w = goldenWorld(t)
	base, _ := w.j.Last()
	p := w.j.NextPoint()
	err = w.j.Begin(replication.Cycle{Point: p, Base: base.ID, BaseChain: base.Chain, Mode: replication.Changes, Route: replication.Journaled,
		Cut: replication.Cut{Time: time.Unix(1700002000, 0).UTC(), Snapshot: "cut", Stable: true, Sizes: w.sizes}})
	if err != nil {
		return nil, 0, nil, err
	}
	w.cycle, w.want, w.plan, w.equal = w.j.OpenCycle(), clone2(w.want), []*replication.Set{{}, {}}, []*replication.Set{{}, {}}
	e := w.pageOf(0, 5)
	for attempt, v := range []byte{0xee, 0x55} {
		a, err := w.j.Lane(replication.Lane{Session: replication.Session{Group: "web", Generation: 1, ID: 5}, Point: p, Attempt: uint64(attempt + 1)})
		if err != nil {
			return nil, 0, nil, err
		}
		raw := bytes.Repeat([]byte{v}, int(e.Len()))
		copy(w.want[0][e.Off:], raw)
		b := block.Block{Kind: block.Data, Extents: []replication.Extent{e}, Raw: len(raw), CRC: block.Checksum(raw), Codec: block.None, Payload: raw}
		if err := errors.Join(a.Append(&b), a.Close()); err != nil {
			return nil, 0, nil, err
		}
	}
	w.plan[0].Add(e)
	if err := w.list(); err != nil {
		return nil, 0, nil, err
	}
	if err := w.j.Move(t.Context(), w.m.targets(), p, nil); err != nil {
		return nil, 0, nil, err
	}
	files := w.j.now.Load().files
	i := slices.IndexFunc(files, func(s *sealed) bool { return strings.HasSuffix(s.name, "-2"+segSuffix) && s.hdr.point == p })
	if i < 0 {
		return nil, 0, nil, errors.New("the later attempt has no file")
	}
	return w, p, files[i], nil
}

// sentBefore rewrites the later attempt alone, without what the disks hold.
func sentBefore(t *testing.T) error {
	w, _, later, err := twoAttempts(t)
	if err != nil {
		return err
	}
	if _, err := w.j.Rewrite(t.Context(), []string{w.j.relative(later)}, RewriteOptions{Spares: DropSpares}); err != nil {
		return err
	}
	return w.check("the later attempt was rewritten")
}

// lostAttempt damages the later attempt, with the disks elsewhere: the point must be denied, as the earlier one holds something else.
func lostAttempt(t *testing.T) error {
	w, p, later, err := twoAttempts(t)
	if err != nil {
		return err
	}
	w.m.names[later.name].cur[fileHeaderSize+entryFixed+extentSize+9] ^= 1
	if found, err := w.j.Scrub(t.Context(), ScrubOptions{}); err != nil || found.Quarantined != 1 {
		return fmt.Errorf("scrub: %+v, %w", found, err)
	}
	w.flips, w.harmed = 1, allHarmed(w)
	if err := w.check("the later attempt is damaged"); err != nil {
		return err
	}
	if w.denied == 0 {
		return fmt.Errorf("point %d is not denied", p)
	}
	return nil
}

// TestEarlierAttemptsAreNeverShown keeps what an earlier attempt at a point sent from showing, whatever becomes of the later one.
func TestEarlierAttemptsAreNeverShown(t *testing.T) {
	for name, scene := range map[string]func(*testing.T) error{"Rewritten": sentBefore, "Damaged": lostAttempt} {
		t.Run(name, func(t *testing.T) {
			if err := scene(t); err != nil {
				t.Error(err)
			}
		})
	}
}
