package journal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"failback/blockio"
	"failback/replication"
	"failback/replication/block"
	"failback/retention"
)

// thinning keeps one point an hour of two hours, and rewrites the files of which half is needed no more, beside dd of as many bytes as are rewritten.
func (l *lab) thinning() error {
	size := int64(1 << 30)
	if l.Quick {
		size = 128 << 20
	}
	kept := filepath.Join(l.Dir, "dd.in") // as many bytes as the files that were rewritten had
	to := filepath.Join(l.Dir, "dd.out")
	defer os.Remove(kept)
	defer os.Remove(to)
	var read int64
	var told string
	return l.pairs(fmt.Sprintf("thinning of %d points to one in %d", dayPoints, keptOf), "MiB", 1<<20, "dd of the files that are rewritten", func() (float64, error) {
		s, err := l.stand("thinning", size, blockio.CachingBuffered)
		if err != nil {
			return 0, err
		}
		defer s.close()
		_, last, err := s.day(dayPoints, size/16)
		if err != nil {
			return 0, err
		}
		files, err := s.files("seg")
		if err == nil {
			err = cold(files...)
		}
		if err != nil {
			return 0, err
		}
		before, err := s.bytes()
		if err != nil {
			return 0, err
		}
		begin := time.Now()
		var n int64
		if n, err = s.thin(last); err != nil {
			return 0, err
		}
		took := time.Since(begin).Seconds()
		after, err := s.bytes()
		if read == 0 && err == nil {
			err = writeFile(kept, l.noise, n)
		}
		read, told = n, fmt.Sprintf("files of %d MiB were rewritten; the journal went from %d to %d MiB", n>>20, before>>20, after>>20)
		return float64(n) / took, err
	}, func() (float64, error) {
		if read == 0 {
			return 0, errors.New("nothing was rewritten yet: ours goes first")
		}
		os.Remove(to)
		if err := cold(kept); err != nil {
			return 0, err
		}
		begin := time.Now()
		out, err := exec.CommandContext(l, "dd", "if="+kept, "of="+to, "bs=1M", "conv=fsync", "status=none").CombinedOutput()
		if err != nil {
			return 0, fmt.Errorf("dd: %w: %s", err, out)
		}
		return float64(read) / time.Since(begin).Seconds(), nil
	}, func() string { return told + "; dd reads and writes as much, and looks at nothing" })
}

// Of thinning: a point every five minutes for two hours, of which one an hour is kept.
const dayPoints, keptOf = 24, 12

// day makes so many points, of which each changed so many bytes, eight parts of ten within a fifth of the disk, and follows them. It returns all that they changed, and the last one.
func (s *stand) day(cycles int, bytes int64) (all replication.Set, last replication.PointID, err error) {
	r := rand.New(rand.NewPCG(1, 2))
	for range cycles {
		set := scattered(r, s.disk.Size(), bytes)
		for _, e := range set.Extents() {
			all.Add(e)
		}
		if last, err = s.cycle(split(set.Extents()), 1, block.Raw); err != nil {
			return all, 0, err
		}
		if err := s.j.Move(s.l, []retention.Disk{s.disk}, last, nil); err != nil {
			return all, 0, err
		}
	}
	return all, last, nil
}

// scattered returns so many bytes of a disk, in pieces of 16 KiB: eight of ten within a fifth of it.
func scattered(r *rand.Rand, size, bytes int64) *replication.Set {
	const unit = 16 << 10
	set, units := &replication.Set{}, size/unit
	for k := int64(0); k < bytes/unit; k++ {
		u := units/5 + r.Int64N(units-units/5)
		if k%10 < 8 {
			u = r.Int64N(units / 5)
		}
		set.Add(replication.Extent{Off: u * unit, End: (u + 1) * unit})
	}
	return set
}

// thin drops all points up to the last but one of so many, and rewrites the files that are half dead then. It returns how many bytes these had.
func (s *stand) thin(last replication.PointID) (rewritten int64, err error) {
	var gone []replication.PointID
	for p := replication.PointID(1); p < last; p++ {
		if (last-p)%keptOf != 0 {
			gone = append(gone, p)
		}
	}
	if err := s.j.DropPoints(gone, "measured"); err != nil {
		return 0, err
	}
	use, err := s.j.Use(s.l, nil)
	if err != nil {
		return 0, err
	}
	for _, f := range use.Files {
		if 2*f.Dead < f.Size {
			continue
		}
		if _, err := s.j.Rewrite(s.l, []string{f.Name}, retention.RewriteOptions{}); err != nil {
			return 0, err
		}
		rewritten += f.Size
	}
	return rewritten, nil
}
