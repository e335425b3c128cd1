package endtoend

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"failback/bench/workload"
	"failback/replication"
)

// stamped is a disk of which every sector says what wrote it, that a machine writes to while it is replicated. Its snapshot command notes beside each view how often it had been written to: so every point of it can be
// judged by itself, whenever it was made.
type stamped struct {
	*disk
	*workload.Stamped
	lock *os.File // held while it is written to, and while a view is made

	mu      sync.Mutex
	rounds  int // how often it was written to
	now     workload.Cut
	changed []change // in the order of rounds
}

// change is that a round wrote to a sector.
type change struct {
	round, sector int
	write         uint64
}

const (
	stampedSnapshot = `exec 9>"$FAILBACK_SOURCE.lock" && flock 9 && v="$FAILBACK_SOURCE.$FAILBACK_POINT" && cp --sparse=always "$FAILBACK_SOURCE" "$v" && cp "$FAILBACK_SOURCE.round" "$v.round" && echo "$v"`
	stampedRelease  = `rm -f "$FAILBACK_VIEW"`
)

// newStamped makes one of a world's sources such a disk.
func (w *world) newStamped(no int, d *disk) *stamped {
	w.t.Helper()
	w.add(d)
	s := &stamped{disk: d, now: make(workload.Cut, d.size/workload.StampSector)}
	var err error
	s.Stamped, err = workload.NewStamped(d.source, uint32(no), d.size, 1)
	w.must(err)
	w.t.Cleanup(func() { s.Stamped.Close() })
	s.lock, err = os.Create(d.source + ".lock")
	w.must(err)
	w.t.Cleanup(func() { s.lock.Close() })
	w.must(s.Change(30, 200))
	w.must(s.round())
	return s
}

// round writes here and there.
func (s *stamped) round() error {
	if err := unix.Flock(int(s.lock.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	defer unix.Flock(int(s.lock.Fd()), unix.LOCK_UN)
	if err := s.Change(3, 24); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rounds++
	cut := s.Cut()
	for i, write := range cut {
		if write != s.now[i] {
			s.changed = append(s.changed, change{s.rounds, i, write})
		}
	}
	s.now = cut
	return os.WriteFile(s.Path+".round", []byte(strconv.Itoa(s.rounds)), 0o600)
}

// runs writes to disks, as machines that go on working do, until the returned function is called.
func (w *world) runs(disks ...*stamped) (stop func()) {
	quit, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			for _, s := range disks {
				if err := s.round(); err != nil {
					done <- fmt.Errorf("write to %s: %w", s.Path, err)
					return
				}
			}
			select {
			case <-quit:
				done <- nil
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	return sync.OnceFunc(func() {
		close(quit)
		w.must(<-done)
	})
}

// at returns what the disk held at a point.
func (s *stamped) at(point replication.PointID) (workload.Cut, error) {
	b, err := os.ReadFile(fmt.Sprintf("%s.%d.round", s.Path, point))
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	cut := make(workload.Cut, len(s.now))
	for _, c := range s.changed {
		if c.round <= n {
			cut[c.sector] = c.write
		}
	}
	return cut, nil
}

// judge holds a file against a disk at a point, sector by sector.
func (w *world) judge(what, path string, s *stamped, point replication.PointID) {
	w.t.Helper()
	want, err := s.at(point)
	w.must(err)
	f, err := os.Open(path)
	w.must(err)
	defer f.Close()
	b, off := make([]byte, 256<<10), int64(0)
	for {
		n, err := io.ReadFull(f, b)
		if wrong, first := s.Judge(b[:n], off, want); wrong > 0 {
			w.t.Fatalf("%s, %s at point %d: %d sectors are wrong: %v", what, s.name(), point, wrong, first)
		}
		if off += int64(n); err == io.EOF || err == io.ErrUnexpectedEOF {
			break
		}
		w.must(err)
	}
	if off != s.size {
		w.t.Fatalf("%s, %s at point %d: %d bytes, want %d", what, s.name(), point, off, s.size)
	}
}

// judgeTargets holds the targets against a point.
func (w *world) judgeTargets(what string, point replication.PointID, disks ...*stamped) {
	w.t.Helper()
	for _, s := range disks {
		path, remove := w.raw(s.disk)
		w.judge(what, path, s, point)
		remove()
	}
}

// judgePoints holds all listed points against what the disks were, each through a drill, and returns how many there are.
func (w *world) judgePoints(what string, disks ...*stamped) int {
	w.t.Helper()
	p, err := w.Points(w.ctx, group)
	w.must(err)
	for _, at := range p.Points {
		mnt := filepath.Join(w.Dir, "judged")
		w.must(w.Do(w.ctx, nil, "drill", group, fmt.Sprint(at.Point), mnt, "--detach"))
		for _, s := range disks {
			if at.Point >= s.born {
				w.judge(what, filepath.Join(mnt, s.machine+"-"+s.id+".raw"), s, at.Point)
			}
		}
		w.must(w.Do(w.ctx, nil, "drill", "--end", mnt))
	}
	return len(p.Points)
}
