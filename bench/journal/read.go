package journal

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"failback/blockio"
	"failback/replication"
	"failback/replication/block"
)

// read reads a disk at an old point, beside the disk itself.
func (l *lab) read() error {
	const segments = 288
	size, seconds := int64(4<<30), 4*time.Second
	if l.Quick {
		size, seconds = 256<<20, 500*time.Millisecond
	}
	for _, storage := range []bool{true, false} {
		caching := blockio.CachingBuffered
		where := "from the page cache"
		if storage {
			caching, where = blockio.CachingDirect, "from storage"
		}
		s, err := l.stand("read", size, caching)
		if err != nil {
			return err
		}
		defer s.close()
		pages := rand.New(rand.NewPCG(3, 4)).Perm(int(size / replication.Page))[:size/replication.Page/4]
		for n := range segments {
			part := slices.Sorted(slices.Values(pages[n*len(pages)/segments : (n+1)*len(pages)/segments]))
			var es []replication.Extent
			for _, p := range part {
				es = append(es, replication.Extent{Off: int64(p) * replication.Page, End: int64(p+1) * replication.Page})
			}
			if _, err := s.cycle(es, 1, block.LevelLZ4); err != nil {
				return err
			}
		}
		old, _ := s.j.Last()
		if _, err := s.cycle(every(64<<10, 1<<20, size/16), 1, block.LevelLZ4); err != nil {
			return err
		}
		files, err := s.files("seg")
		if err != nil {
			return err
		}
		if storage {
			err = cold(append(files, s.path)...)
		} else {
			err = warm(append(files, s.path)...)
		}
		if err != nil {
			return err
		}
		r, err := s.j.Reader(old.ID, 0, s.disk)
		if err != nil {
			return err
		}
		defer r.Close()
		before := heap()
		for _, depth := range []int{1, 4} {
			var ours, its []time.Duration
			err := l.pairs(fmt.Sprintf("4 KiB at random at an old point, %s, depth %d, beside the disk", where, depth), "reads", 1, "the disk itself",
				func() (rate float64, err error) { rate, ours, err = l.random(r, size, depth, seconds, ours); return },
				func() (rate float64, err error) { rate, its, err = l.random(s.disk, size, depth, seconds, its); return },
				func() string {
					return fmt.Sprintf("p99 %v, of the disk %v; median %v and %v; the heap grew by %d MiB", at(ours, 99), at(its, 99), at(ours, 50), at(its, 50), (heap()-before)>>20)
				})
			if err != nil {
				return err
			}
		}
		if err := s.close(); err != nil {
			return err
		}
	}
	return nil
}

// heap is what is in use, in bytes.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// at returns a percentile.
func at(d []time.Duration, percent int) time.Duration {
	slices.Sort(d)
	return d[min(len(d)*percent/100, len(d)-1)].Round(time.Microsecond)
}

// random reads for a while. It returns reads a second, and appends how long each took.
func (l *lab) random(from io.ReaderAt, size int64, depth int, while time.Duration, took []time.Duration) (float64, []time.Duration, error) {
	failed, each := make([]error, depth), make([][]time.Duration, depth)
	var wg sync.WaitGroup
	begin := time.Now()
	for n := range depth {
		wg.Go(func() {
			b := make([]byte, replication.Page)
			r := rand.New(rand.NewPCG(uint64(n), uint64(len(took))))
			for time.Since(begin) < while && l.Err() == nil {
				t := time.Now()
				if _, failed[n] = from.ReadAt(b, r.Int64N(size/replication.Page)*replication.Page); failed[n] != nil {
					return
				}
				each[n] = append(each[n], time.Since(t))
			}
		})
	}
	wg.Wait()
	whole := time.Since(begin).Seconds()
	total := 0
	for n := range depth {
		if failed[n] != nil {
			return 0, took, failed[n]
		}
		total += len(each[n])
		took = append(took, each[n]...)
	}
	return float64(total) / whole, took, nil
}

// warm reads files to their ends.
func warm(paths ...string) error {
	for _, p := range paths {
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, f)
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}
