package journal

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"failback/blockio"
	"failback/replication/block"
	"failback/retention"
)

// advance moves over what only the disk holds, beside fio.
func (l *lab) advance() error {
	for _, c := range []struct{ run, stride, total int64 }{{64 << 10, 128 << 10, 2 << 30}, {4 << 10, 16 << 10, 512 << 20}} {
		repeats := l.Repeats
		if l.Quick {
			c.total /= 32
		} else if c.total > 1<<30 {
			l.Repeats = min(l.Repeats, 2) // of 8 GiB each
		}
		if err := l.advanceBy(c.run, c.stride, c.total); err != nil {
			return err
		}
		l.Repeats = repeats
	}
	return nil
}

func (l *lab) advanceBy(run, stride, total int64) error {
	size := total / run * stride
	name := fmt.Sprintf("first advance, %d MiB in extents of %d KiB, beside fio", total>>20, run>>10)
	var told []string
	var segment string
	its := filepath.Join(l.Dir, "fio.save")
	defer os.Remove(its)
	kept := filepath.Join(l.Dir, "segment")
	defer os.Remove(kept)
	return l.pairs(name, "MiB", 1<<20, "fio", func() (float64, error) {
		s, err := l.stand("advance", size, blockio.CachingBuffered)
		if err != nil {
			return 0, err
		}
		defer s.close()
		p, err := s.cycle(every(run, stride, total), 1, block.Raw)
		if err != nil {
			return 0, err
		}
		files, err := s.files("seg")
		if err != nil {
			return 0, err
		}
		segment = files[0]
		if err := cold(s.path, segment); err != nil {
			return 0, err
		}
		begin := time.Now()
		phase, since := "", begin
		var phases []string
		next := func(now string) {
			if now != phase && phase != "" {
				phases = append(phases, fmt.Sprintf("%s %.1f s", phase, time.Since(since).Seconds()))
				since = time.Now()
			}
			phase = now
		}
		err = s.j.Move(l, []retention.Disk{s.disk}, p, func(m retention.MoveProgress) { next(m.Phase) })
		next("")
		told = append(told, strings.Join(phases, ", "))
		took := time.Since(begin).Seconds()
		if err == nil {
			err = os.Rename(segment, kept) // for fio; the journal is not opened again
		}
		return float64(total) / took, err
	}, func() (float64, error) {
		disk, err := l.fill(size)
		if err != nil {
			return 0, err
		}
		if _, err := os.Stat(kept); err != nil {
			if err := writeFile(kept, l.noise, total); err != nil {
				return 0, err
			}
		}
		os.Remove(its)
		if err := cold(disk, kept); err != nil {
			return 0, err
		}
		begin := time.Now()
		for _, job := range [][]string{
			{"--filename=" + disk, fmt.Sprintf("--rw=read:%d", stride-run), fmt.Sprintf("--bs=%d", run), fmt.Sprintf("--size=%d", size), fmt.Sprintf("--io_size=%d", total)},
			{"--filename=" + its, "--rw=write", "--bs=1M", fmt.Sprintf("--size=%d", total), "--end_fsync=1", "--fallocate=none"},
			{"--filename=" + kept, "--rw=read", "--bs=1M", fmt.Sprintf("--size=%d", total)},
			{"--filename=" + disk, fmt.Sprintf("--rw=write:%d", stride-run), fmt.Sprintf("--bs=%d", run), fmt.Sprintf("--size=%d", size), fmt.Sprintf("--io_size=%d", total), "--end_fsync=1"},
		} {
			args := append([]string{"--name=peer", "--ioengine=psync", "--invalidate=0", "--gtod_reduce=1", "--scramble_buffers=0", "--refill_buffers=0", "--minimal"}, job...)
			if out, err := exec.CommandContext(l, "fio", args...).CombinedOutput(); err != nil {
				return 0, fmt.Errorf("fio: %w: %s", err, out)
			}
		}
		return float64(total) / time.Since(begin).Seconds(), nil
	}, func() string { return "ours: " + strings.Join(told, "; ") })
}

func writeFile(path string, from []byte, n int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for off := int64(0); off < n; off += int64(len(from)) {
		if _, err := f.WriteAt(from[:min(int64(len(from)), n-off)], off); err != nil {
			return err
		}
	}
	return f.Sync()
}
