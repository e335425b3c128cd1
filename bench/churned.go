package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"failback/bench/workload"
	"failback/replication"
)

// churned is a machine's disk that is written to while it is protected, as one with a tracker of changes and split mirrors is: the plan's commands ask this process, over a socket, for a view of the disk at a point and for what
// changed between two. Nothing is written while a view is brought up to the disk, which takes as long as copying what has changed; so what the disk held at each point is known, sector by sector.
type churned struct {
	disk   *workload.Stamped
	bytes  []byte // the disk's file, mapped
	writes *workload.Writes
	views  [2]*view // in turn: that of the point before stays as it is
	socket net.Listener
	self   string

	mu      sync.Mutex
	since   workload.Pages // what was written since the last point
	fresh   int64          // bytes of since
	points  []uint64       // rising
	changed map[uint64]workload.Pages
	cut     workload.Cut  // what the disk held at the last point
	written int64         // bytes, in all
	paused  time.Duration // that views kept the machine from writing
	longest time.Duration
	stopped time.Time // zero: it writes
}

// view is a copy of the disk as of a point.
type view struct {
	path   string
	bytes  []byte         // its file, mapped
	behind workload.Pages // what it lacks of what the disk held at the last point
}

// memoryDir is where a tmpfs is.
const memoryDir = "/dev/shm"

// churnedDir makes a directory for a disk that is written to, and its views: in memory where there is room, since the source's storage is not what is measured.
func (l *lab) churnedDir(size int64) (string, error) {
	parent := l.Dir
	var st unix.Statfs_t
	if unix.Statfs(memoryDir, &st) == nil && int64(st.Bavail)*st.Bsize > 4*size {
		parent = memoryDir
	}
	return os.MkdirTemp(parent, "failback-bench-")
}

// newChurned makes a disk full of stamped sectors.
func (l *lab) newChurned(dir, pattern string, size int64) (c *churned, err error) {
	c = &churned{self: l.Self, since: workload.NewPages(size), changed: make(map[uint64]workload.Pages)}
	if c.writes, err = workload.NewWrites(pattern, size, l.Seed); err != nil {
		return nil, err
	}
	if c.disk, err = workload.NewStamped(filepath.Join(dir, "disk"), 1, size, l.Seed); err != nil {
		return nil, err
	}
	const run = 1 << 20
	for off := int64(0); off < size; off += run {
		if err := c.disk.Write(replication.Extent{Off: off, End: min(off+run, size)}); err != nil {
			return nil, err
		}
	}
	if c.bytes, err = mapped(c.disk.File(), size, unix.PROT_READ); err != nil {
		return nil, err
	}
	for i := range c.views {
		v := &view{path: filepath.Join(dir, fmt.Sprintf("view-%d", i)), behind: workload.NewPages(size)}
		f, err := os.Create(v.path)
		if err == nil {
			err = f.Truncate(size)
		}
		if err == nil {
			v.bytes, err = mapped(f, size, unix.PROT_READ|unix.PROT_WRITE)
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		v.behind.Add(replication.Extent{End: size})
		v.follow(c.bytes)
		c.views[i] = v
	}
	c.cut = c.disk.Cut()
	if c.socket, err = net.Listen("unix", filepath.Join(dir, "ask")); err != nil {
		return nil, err
	}
	go c.serve()
	return c, nil
}

// mapped returns a file's bytes, which stay its bytes.
func mapped(f *os.File, size int64, access int) ([]byte, error) {
	b, err := unix.Mmap(int(f.Fd()), 0, int(size), access, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", f.Name(), err)
	}
	return b, nil
}

// follow copies what the view is behind, by all cores: it takes time that a real snapshot does not.
func (v *view) follow(disk []byte) {
	var all sync.WaitGroup
	behind, n := v.behind.Extents(), runtime.NumCPU()
	for part := range n {
		all.Go(func() {
			for i := part; i < len(behind); i += n {
				copy(v.bytes[behind[i].Off:behind[i].End], disk[behind[i].Off:behind[i].End])
			}
		})
	}
	all.Wait()
	clear(v.behind)
}

func (c *churned) close() error {
	err := errors.Join(c.socket.Close(), unix.Munmap(c.bytes), c.disk.Close())
	for _, v := range c.views {
		err = errors.Join(err, unix.Munmap(v.bytes))
	}
	return err
}

// askCommand is the first argument of this program where a plan's command asks: "ask SOCKET WORD…".
const askCommand = "ask"

// ask is this program as a plan's command; false: it was not called as one.
func ask(args []string) (code int, ran bool) {
	if len(args) < 3 || args[0] != askCommand {
		return 0, false
	}
	err := func() error {
		s, err := net.Dial("unix", args[1])
		if err != nil {
			return err
		}
		defer s.Close()
		fmt.Fprintln(s, strings.Join(args[2:], " "))
		in := bufio.NewReader(s)
		verdict, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		if verdict != "ok\n" {
			return errors.New(strings.TrimSpace(verdict))
		}
		_, err = io.Copy(os.Stdout, in)
		return err
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: ask:", err)
		return 1, true
	}
	return 0, true
}

// command returns a command of a plan that asks.
func (c *churned) command(words string) string {
	return fmt.Sprintf("'%s' %s '%s' %s", c.self, askCommand, c.socket.Addr(), words)
}

func (c *churned) serve() {
	for {
		s, err := c.socket.Accept()
		if err != nil {
			return
		}
		go func() {
			defer s.Close()
			line, _ := bufio.NewReader(s).ReadString('\n')
			answer, err := c.answer(strings.Fields(line))
			if err != nil {
				fmt.Fprintln(s, err)
				return
			}
			io.WriteString(s, "ok\n"+answer)
		}()
	}
}

func (c *churned) answer(words []string) (string, error) {
	var points []uint64
	for _, w := range words[min(1, len(words)):] {
		if p, err := strconv.ParseUint(w, 10, 64); err == nil {
			points = append(points, p)
		}
	}
	switch {
	case len(words) == 2 && words[0] == "snapshot" && len(points) == 1:
		return c.snapshot(points[0])
	case len(words) == 3 && words[0] == "changes" && len(points) == 2:
		return c.changes(points[0], points[1]), nil
	case len(words) > 0 && words[0] == "stop":
		c.stop()
		return "", nil
	}
	return "", fmt.Errorf("nobody answers %q", words)
}

// snapshot brings a view up to the disk, and begins to note what changes from then on.
func (c *churned) snapshot(point uint64) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	begin := time.Now()
	for _, v := range c.views {
		v.behind.Join(c.since)
	}
	v := c.views[point%2]
	v.follow(c.bytes)
	if had := c.changed[point]; had != nil { // it is made again
		c.since.Join(had)
	} else {
		c.points = append(c.points, point)
	}
	c.changed[point], c.since, c.fresh = c.since, workload.NewPages(c.disk.Size()), 0
	c.cut = c.disk.Cut()
	took := time.Since(begin)
	c.paused += took
	c.longest = max(c.longest, took)
	return v.path + "\n", nil
}

func (c *churned) changes(from, to uint64) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := workload.NewPages(c.disk.Size())
	for _, p := range c.points {
		if from < p && p <= to {
			all.Join(c.changed[p])
		}
	}
	var b strings.Builder
	for _, x := range all.Extents() {
		fmt.Fprintln(&b, x.Off, x.Len())
	}
	return b.String()
}

// forget drops what changed up to a point: nobody asks for it any more.
func (c *churned) forget(point uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.points = slices.DeleteFunc(c.points, func(p uint64) bool {
		if p < point {
			delete(c.changed, p)
		}
		return p < point
	})
}

// write does one write of the pattern, and returns how many bytes it was.
func (c *churned) write() (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.stopped.IsZero() {
		return 0, io.EOF
	}
	x, discard := c.writes.Next()
	c.fresh += c.since.Add(x)
	c.written += x.Len()
	if discard {
		return x.Len(), c.disk.Discard(x)
	}
	return x.Len(), c.disk.Write(x)
}

// churn writes so many bytes a second until it is stopped, or ctx ends.
func (c *churned) churn(ctx context.Context, rate float64) error {
	begin, done := time.Now(), int64(0)
	for ctx.Err() == nil {
		n, err := c.write()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		done += n
		if ahead := time.Duration(float64(done)/rate*1e9) - time.Since(begin); ahead > 0 {
			time.Sleep(ahead)
		} else if ahead < -time.Second { // what it was kept from is not made up for
			begin = begin.Add(-ahead)
		}
	}
	return nil
}

// fill writes until so many bytes have changed since the last point.
func (c *churned) fill(bytes int64) error {
	for {
		c.mu.Lock()
		full := c.fresh >= bytes
		c.mu.Unlock()
		if full {
			return nil
		}
		if _, err := c.write(); err != nil {
			return err
		}
	}
}

// stop ends all writing; resume allows it again.
func (c *churned) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped.IsZero() {
		c.stopped = time.Now()
	}
}

// stoppedAt returns when it was.
func (c *churned) stoppedAt() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stopped
}

func (c *churned) resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = time.Time{}
}

// judge holds a copy of the disk against what it was at some moment.
func (c *churned) judge(ctx context.Context, path string, want workload.Cut) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	g, _ := errgroup.WithContext(ctx)
	const part = 4 << 20
	for lane := range int64(2) {
		g.Go(func() error {
			b := make([]byte, part)
			for off := lane * part; off < c.disk.Size(); off += 2 * part {
				b := b[:min(part, c.disk.Size()-off)]
				if _, err := f.ReadAt(b, off); err != nil {
					return err
				}
				if wrong, first := c.disk.Judge(b, off, want); wrong > 0 {
					return fmt.Errorf("%s: %d sectors are wrong: %w", path, wrong, first)
				}
			}
			return nil
		})
	}
	return g.Wait()
}
