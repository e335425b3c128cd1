package journal

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"failback/blockio"
	"failback/replication/block"
)

// arrival journals a cycle, beside dd.
func (l *lab) arrival() error {
	total := int64(1 << 30)
	if l.Quick {
		total = 64 << 20
	}
	s, err := l.stand("arrival", 2*total, blockio.CachingBuffered)
	if err != nil {
		return err
	}
	defer s.close()
	from := filepath.Join("/dev/shm", "failback-bench-journal.bytes")
	defer os.Remove(from)
	f, err := os.Create(from)
	if err != nil {
		return err
	}
	for n := int64(0); n < total; n += int64(len(l.noise)) {
		if _, err := f.Write(l.noise); err != nil {
			return err
		}
	}
	if err := f.Close(); err != nil {
		return err
	}
	to := filepath.Join(l.Dir, "dd.out")
	defer os.Remove(to)
	for _, run := range []int64{64 << 10, 4 << 10} {
		name := fmt.Sprintf("arrival of %d MiB in extents of %d KiB, beside dd conv=fsync", total>>20, run>>10)
		extents := every(run, 2*run, total)
		err := l.pairs(name, "MiB", 1<<20, "dd", func() (float64, error) {
			if err := s.forget(); err != nil {
				return 0, err
			}
			begin := time.Now()
			_, err := s.cycle(extents, 4, block.Raw)
			return float64(total) / time.Since(begin).Seconds(), err
		}, func() (float64, error) {
			os.Remove(to)
			if err := s.forget(); err != nil {
				return 0, err
			}
			begin := time.Now()
			out, err := exec.CommandContext(l, "dd", "if="+from, "of="+to, "bs=1M", "conv=fsync", "status=none", fmt.Sprintf("count=%d", total>>20)).CombinedOutput()
			if err != nil {
				return 0, fmt.Errorf("dd: %w: %s", err, out)
			}
			return float64(total) / time.Since(begin).Seconds(), nil
		}, nil)
		if err != nil {
			return err
		}
	}
	return nil
}

// forget puts what the journal has out of the page cache: dd writes to memory that was in use a moment ago, that of the file which it replaces, and a journal that only grows would write to memory that was never
// used, which costs a virtual machine as much as the disk does.
func (s *stand) forget() error {
	files, err := s.files("seg")
	if err != nil {
		return err
	}
	return cold(files...)
}
