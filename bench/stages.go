package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"failback/bench/report"
	"failback/bench/workload"
	"failback/replication"
	"failback/replication/block"
)

// piece is what stages work on at a time.
const piece = 1 << 20

// part is one part of a job, to be done alone.
type part struct {
	name  string
	bytes int64
	by    []string // the ways that cannot do without it; none: it is told for comparison
	run   func(ctx context.Context) (wall, cpu float64, err error)
}

// stages does each part of a job alone, with as many workers as there are cores, and adds what it took to the scenario.
func (l *lab) stages(ctx context.Context, s *report.Scenario, all ...part) error {
	if !l.Bounds {
		return nil
	}
	for _, p := range all {
		wall, cpu, err := p.run(ctx)
		if err != nil {
			return fmt.Errorf("stage %s: %w", p.name, err)
		}
		s.Stages = append(s.Stages, report.Stage{Name: p.name, Bytes: p.bytes, Seconds: wall, CPU: cpu, NeededBy: p.by})
		l.Say("stage: %s: %.2f s", p.name, wall)
	}
	return l.Settle()
}

// extents are a file and where in it.
type extents struct {
	path string
	data []replication.Extent
}

func bytesOf(all []extents) (n int64) {
	for _, x := range all {
		n += workload.Bytes(x.data)
	}
	return n
}

func reading(by []string, all ...extents) part {
	return part{"read, from the page cache", bytesOf(all), by, func(ctx context.Context) (float64, float64, error) {
		return clocked(func() error { return each(ctx, all, func() func([]byte) { return func([]byte) {} }) })
	}}
}

// readingStored reads what is on storage only. As in writing, the first of two times is not measured.
func readingStored(by []string, x extents) part {
	return part{"read the target, from storage", bytesOf([]extents{x}), by, func(ctx context.Context) (wall, cpu float64, err error) {
		for range 2 {
			if err = workload.Forget(x.path); err != nil {
				return 0, 0, err
			}
			if wall, cpu, err = clocked(func() error { return each(ctx, []extents{x}, func() func([]byte) { return func([]byte) {} }) }); err != nil {
				return 0, 0, err
			}
		}
		return wall, cpu, nil
	}}
}

func hashing(by []string, all ...extents) part {
	return part{"hash pages, sha256", bytesOf(all), by, func(ctx context.Context) (float64, float64, error) { return busy(ctx, all, hashPages) }}
}

func checksumming(by []string, all ...extents) part {
	return part{"checksum blocks, crc-32c", bytesOf(all), by, func(ctx context.Context) (float64, float64, error) {
		return busy(ctx, all, func() func([]byte) { return inBlocks(func(raw []byte) { block.Checksum(raw) }) })
	}}
}

func compressing(all ...extents) part {
	return part{"compress blocks, lz4", bytesOf(all), nil, func(ctx context.Context) (float64, float64, error) {
		return busy(ctx, all, func() func([]byte) {
			var e block.Encoder
			var dst []byte
			return inBlocks(func(raw []byte) { dst, _ = e.Encode(dst[:0], raw, block.LevelLZ4) })
		})
	}}
}

func (l *lab) encrypting(by []string, bytes int64) part {
	return part{"TLS 1.3 on loopback, both ends", bytes, by, func(ctx context.Context) (float64, float64, error) {
		return clocked(func() error { return l.sendTLS(ctx, bytes) })
	}}
}

// writing writes a new file at the places where another has data, and syncs it. A virtual machine's memory may be slow where it is used for the first time: the first of two files is not measured.
func writing(by []string, name, path string, size int64, data []replication.Extent) part {
	return part{name, workload.Bytes(data), by, func(context.Context) (wall, cpu float64, err error) {
		if err := writeAll(path, size, data); err != nil {
			return 0, 0, err
		}
		return clocked(func() error { return writeAll(path, size, data) })
	}}
}

// appending writes so many bytes one after the other into a new file, as they are kept in a journal.
func appending(by []string, path string, bytes int64) part {
	return writing(by, "write the journal and fdatasync", path, bytes, []replication.Extent{{End: bytes}})
}

// overwriting writes to a file that is there, where others say, and syncs it.
func overwriting(by []string, name, path string, data []replication.Extent) part {
	return part{name, workload.Bytes(data), by, func(context.Context) (wall, cpu float64, err error) {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return 0, 0, err
		}
		defer f.Close()
		return clocked(func() error { return writeTo(f, data) })
	}}
}

// clocked returns the wall time and this process's CPU time of some work.
func clocked(work func() error) (wall, cpu float64, err error) {
	before, begin := ownCPU(), time.Now()
	err = work()
	return time.Since(begin).Seconds(), ownCPU() - before, err
}

func ownCPU() float64 {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// busy times work on pieces that are in memory already: reading them is not in it. The wall time is what all cores would take together.
func busy(ctx context.Context, all []extents, worker func() func([]byte)) (wall, cpu float64, err error) {
	var nanos atomic.Int64
	err = each(ctx, all, func() func([]byte) {
		work := worker()
		return func(b []byte) {
			begin := time.Now()
			work(b)
			nanos.Add(int64(time.Since(begin)))
		}
	})
	cpu = float64(nanos.Load()) / 1e9
	return cpu / float64(runtime.NumCPU()), cpu, err
}

// each reads files and gives what they hold to workers, one on each core, made by worker.
func each(ctx context.Context, files []extents, worker func() func([]byte)) error {
	type part struct {
		f *os.File
		replication.Extent
	}
	var all []part
	for _, x := range files {
		f, err := os.Open(x.path)
		if err != nil {
			return err
		}
		defer f.Close()
		for _, x := range x.data {
			for off := x.Off; off < x.End; off += piece {
				all = append(all, part{f, replication.Extent{Off: off, End: min(off+piece, x.End)}})
			}
		}
	}
	var next atomic.Int64
	var g errgroup.Group
	for range runtime.NumCPU() {
		g.Go(func() error {
			work, buf := worker(), make([]byte, piece)
			for ctx.Err() == nil {
				i := next.Add(1) - 1
				if i >= int64(len(all)) {
					return nil
				}
				b := buf[:all[i].Len()]
				if _, err := all[i].f.ReadAt(b, all[i].Off); err != nil {
					return err
				}
				work(b)
			}
			return ctx.Err()
		})
	}
	return g.Wait()
}

// hashPages makes a worker that hashes pages as our daemons do.
func hashPages() func([]byte) {
	var hashes []replication.Hash
	return func(b []byte) { hashes = replication.HashPages(hashes[:0], b) }
}

// inBlocks gives a piece on in blocks of the size that travels.
func inBlocks(work func(raw []byte)) func([]byte) {
	return func(b []byte) {
		for len(b) > 0 {
			n := min(len(b), block.MaxRaw)
			work(b[:n])
			b = b[n:]
		}
	}
}

// noise returns bytes that no layer below can make less of.
func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

// sendTLS sends bytes through as many TLS connections on loopback as there are cores, with both sides' certificates checked.
func (l *lab) sendTLS(ctx context.Context, total int64) error {
	server, client, err := l.tlsConfigs()
	if err != nil {
		return err
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		return err
	}
	defer listener.Close()
	lanes := int64(runtime.NumCPU())
	b := noise(piece)
	var g errgroup.Group
	for range lanes {
		g.Go(func() error {
			c, err := listener.Accept()
			if err != nil {
				return err
			}
			defer c.Close()
			_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, make([]byte, piece))
			return err
		})
		g.Go(func() error {
			c, err := (&tls.Dialer{Config: client}).DialContext(ctx, "tcp", listener.Addr().(*net.TCPAddr).String())
			if err != nil {
				return err
			}
			defer c.Close()
			for left := total / lanes; left > 0; {
				n, err := c.Write(b[:min(left, piece)])
				if err != nil {
					return err
				}
				left -= int64(n)
			}
			return nil
		})
	}
	return g.Wait()
}

// writeAll writes a new file with data where the image has some, makes it durable and removes it.
func writeAll(path string, size int64, data []replication.Extent) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer os.Remove(path)
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		return err
	}
	return writeTo(f, data)
}

func writeTo(f *os.File, data []replication.Extent) error {
	b := noise(piece)
	for _, x := range data {
		for off := x.Off; off < x.End; off += piece {
			if _, err := f.WriteAt(b[:min(piece, x.End-off)], off); err != nil {
				return err
			}
		}
	}
	return unix.Fdatasync(int(f.Fd()))
}
