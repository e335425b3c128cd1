package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
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

// stages measures what each part of a full copy takes alone, on the image's data, with as many workers as there are cores.
func (l *lab) stages(ctx context.Context, dir, image string, data []replication.Extent) ([]report.Stage, error) {
	if err := l.ready(image); err != nil {
		return nil, err
	}
	total := workload.Bytes(data)
	// A virtual machine's memory may be slow where it is used for the first time: the first file written is not measured.
	unmeasured := writeAll(filepath.Join(dir, "stage.raw"), int64(l.size), data)
	if err := errors.Join(unmeasured, l.settle()); err != nil {
		return nil, err
	}
	var all []report.Stage
	for _, one := range []struct {
		name   string
		needed bool
		run    func() (wall, cpu float64, err error)
	}{
		{"read the source, from the page cache", true, func() (float64, float64, error) {
			return clocked(func() error { return eachPiece(ctx, image, data, func() func([]byte) { return func([]byte) {} }) })
		}},
		{"hash pages, sha256", true, func() (float64, float64, error) {
			return busy(ctx, image, data, hashing)
		}},
		{"checksum blocks, crc-32c", true, func() (float64, float64, error) {
			return busy(ctx, image, data, func() func([]byte) { return inBlocks(func(raw []byte) { block.Checksum(raw) }) })
		}},
		{"compress blocks, lz4", false, func() (float64, float64, error) {
			return busy(ctx, image, data, func() func([]byte) {
				var e block.Encoder
				var dst []byte
				return inBlocks(func(raw []byte) { dst, _ = e.Encode(dst[:0], raw, block.LevelLZ4) })
			})
		}},
		{"TLS 1.3 on loopback, both ends", true, func() (float64, float64, error) { return clocked(func() error { return l.sendTLS(ctx, total) }) }},
		{"write the target and fdatasync", true, func() (float64, float64, error) {
			return clocked(func() error { return writeAll(filepath.Join(dir, "stage.raw"), int64(l.size), data) })
		}},
	} {
		wall, cpu, err := one.run()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", one.name, err)
		}
		all = append(all, report.Stage{Name: one.name, Bytes: total, Seconds: wall, CPU: cpu, Needed: one.needed})
		l.say("stage: %s: %.2f s", one.name, wall)
	}
	return all, l.settle()
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
func busy(ctx context.Context, image string, data []replication.Extent, worker func() func([]byte)) (wall, cpu float64, err error) {
	var nanos atomic.Int64
	err = eachPiece(ctx, image, data, func() func([]byte) {
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

// eachPiece reads all data of the image and gives it to workers, one on each core, made by worker.
func eachPiece(ctx context.Context, image string, data []replication.Extent, worker func() func([]byte)) error {
	f, err := os.Open(image)
	if err != nil {
		return err
	}
	defer f.Close()
	var all []replication.Extent
	for _, x := range data {
		for off := x.Off; off < x.End; off += piece {
			all = append(all, replication.Extent{Off: off, End: min(off+piece, x.End)})
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
				if _, err := f.ReadAt(b, all[i].Off); err != nil {
					return err
				}
				work(b)
			}
			return ctx.Err()
		})
	}
	return g.Wait()
}

// hashing makes a worker that hashes pages.
func hashing() func([]byte) {
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
