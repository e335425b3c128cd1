package journal

import (
	"fmt"
	"os/exec"
	"time"

	"failback/bench/report"
	"failback/blockio"
	"failback/replication/block"
	"failback/retention"
)

// proof moves in a journal that was just opened, and so looks at all that the move needs before anything is recorded, beside reading the same files.
func (l *lab) proof() error {
	for _, c := range []struct{ run, stride, total int64 }{{64 << 10, 128 << 10, 1 << 30}, {4 << 10, 16 << 10, 256 << 20}} {
		if l.Quick {
			c.total /= 16
		}
		if err := l.proofBy(c.run, c.stride, c.total); err != nil {
			return err
		}
	}
	return nil
}

func (l *lab) proofBy(run, stride, total int64) error {
	s, err := l.stand("proof", total/run*stride, blockio.CachingBuffered)
	if err != nil {
		return err
	}
	defer func() { s.close() }()
	p, err := s.cycle(every(run, stride, total), 1, block.Raw)
	if err != nil {
		return err
	}
	if err := s.j.Move(l, []retention.Disk{s.disk}, p, nil); err != nil {
		return err
	}
	segs, _ := s.files("seg")
	saves, _ := s.files("save")
	files := append(segs, saves...)
	size, err := s.bytes()
	if err != nil {
		return err
	}
	var proofs, wholes []float64
	return l.pairs(fmt.Sprintf("proof before a move of %d MiB in extents of %d KiB, beside dd", total>>20, run>>10), "MiB", 1<<20, "dd", func() (float64, error) {
		to := p // there and back: both ends are proved each time
		if s.j.Head() == p {
			to = 1
		}
		if err := s.j.Close(); err != nil {
			return 0, err
		}
		if s.j, err = retention.Open(s.dir, group); err != nil {
			return 0, err
		}
		if err := cold(append(files, s.path)...); err != nil {
			return 0, err
		}
		begin := time.Now()
		var proved time.Duration
		err := s.j.Move(l, []retention.Disk{s.disk}, to, func(retention.MoveProgress) {
			if proved == 0 {
				proved = time.Since(begin)
			}
		})
		proofs, wholes = append(proofs, proved.Seconds()), append(wholes, time.Since(begin).Seconds())
		return float64(size) / proved.Seconds(), err
	}, func() (float64, error) {
		if err := cold(files...); err != nil {
			return 0, err
		}
		begin := time.Now()
		for _, name := range files {
			if out, err := exec.CommandContext(l, "dd", "if="+name, "of=/dev/null", "bs=1M", "status=none").CombinedOutput(); err != nil {
				return 0, fmt.Errorf("dd: %w: %s", err, out)
			}
		}
		return float64(size) / time.Since(begin).Seconds(), nil
	}, func() string {
		return fmt.Sprintf("the proof took %.2f s of a move of %.2f s, which writes what was read once more", report.Median(proofs), report.Median(wholes))
	})
}
