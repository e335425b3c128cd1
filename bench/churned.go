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
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"failback/bench/peer"
	"failback/bench/volume"
	"failback/bench/workload"
	"failback/replication"
)

// churned is a machine's disk that is written to while it is protected, as one with a tracker of changes is: the plan's commands ask this process, over a socket, for a clone of the disk at a point and for what
// changed between two. Nothing is written while a clone is made, so that what the disk held at each point is known, sector by sector.
type churned struct {
	disk   *workload.Stamped
	writes *workload.Writes
	dir    string // of the disk and its clones, where the file system makes clones
	socket net.Listener
	self   string

	mu      sync.Mutex
	since   workload.Pages // what was written since the last point
	fresh   int64          // bytes of since
	points  []uint64       // rising
	changed map[uint64]workload.Pages
	cut     workload.Cut // what the disk held at the last point
	written int64        // bytes, in all
	paused  time.Duration
	longest time.Duration // that a clone kept the machine from writing
	stopped bool
}

// memoryDir is where a tmpfs is.
const memoryDir = "/dev/shm"

// churnedVolume makes what disks that are written to lie on: a file system that makes clones. It is in memory where that has room: the source's storage is not what is measured.
func (l *lab) churnedVolume(dir string, size int64) (v *volume.Volume, where string, err error) {
	if os.Getuid() != 0 {
		return nil, "", errors.New("disks that are written to lie on a volume that makes clones: only root may mount one")
	}
	if m := peer.Missing(peer.MkfsXFS); m != "" {
		return nil, "", errors.New(m)
	}
	var st unix.Statfs_t
	if unix.Statfs(memoryDir, &st) == nil && int64(st.Bavail)*st.Bsize > 4*size {
		if dir, err = os.MkdirTemp(memoryDir, "failback-bench-"); err != nil {
			return nil, "", err
		}
	}
	v, err = volume.Make(dir, "sources", "xfs", max(3*size, 512<<20))
	return v, dir, err
}

// newChurned makes a disk full of stamped sectors.
func (l *lab) newChurned(dir, pattern string, size int64) (c *churned, err error) {
	c = &churned{dir: dir, self: l.Self, since: workload.NewPages(size), changed: make(map[uint64]workload.Pages)}
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
	if err := c.disk.Sync(); err != nil {
		return nil, err
	}
	c.cut = c.disk.Cut()
	if c.socket, err = net.Listen("unix", filepath.Join(filepath.Dir(dir), "ask")); err != nil {
		return nil, err
	}
	go c.serve()
	return c, nil
}

func (c *churned) close() error { return errors.Join(c.socket.Close(), c.disk.Close()) }

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

// snapshot clones the disk, and begins to note what changes from then on.
func (c *churned) snapshot(point uint64) (string, error) {
	view := filepath.Join(c.dir, fmt.Sprintf("view-%d", point))
	c.mu.Lock()
	defer c.mu.Unlock()
	begin := time.Now()
	f, err := os.Create(view)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if err := unix.IoctlFileClone(int(f.Fd()), int(c.disk.File().Fd())); err != nil {
		return "", fmt.Errorf("clone: %w", err)
	}
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
	return view + "\n", nil
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
	if c.stopped {
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

// fill writes until so many bytes have changed since the last point, durably: a clone waits for what is not.
func (c *churned) fill(bytes int64) error {
	for {
		c.mu.Lock()
		full := c.fresh >= bytes
		c.mu.Unlock()
		if full {
			return c.disk.Sync()
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
	c.stopped = true
}

func (c *churned) resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = false
}

// judge holds a copy of the disk against what it was when it was cloned last, or what it is now.
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
