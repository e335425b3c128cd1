package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"failback/bench/report"
	"failback/bench/vpn"
	"failback/bench/workload"
	"failback/replication"
)

// wireAim is what the wire may carry for a cycle, of what the changed blocks compress to.
const wireAim = 1.05

const cycleDisk = 512 << 20

// cycle tells the bytes on the wire of a point: all that the process server sends and is sent for it, over all connections; with the codec that is chosen, and with zstd at its fastest.
func (l *lab) cycle(ctx context.Context, rate int, rtt time.Duration) (*cell, error) {
	c := &cell{}
	for _, codec := range []string{"auto", "zstd"} {
		w := &way{Name: "failback, " + codec}
		c.Ways = append(c.Ways, w)
		alone, stream, err := l.cycles(ctx, rate, rtt, codec, c, w)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", w.Name, err)
		}
		wire := w.median(func(s sample) float64 { return float64(s.Wire) })
		if codec == "auto" {
			c.check("bytes on the wire to zstd -1 of the changed blocks, each alone", wire/float64(alone), wireAim, false)
			c.Notes = append(c.Notes, fmt.Sprintf("the changed blocks compress to %s each alone, to %s in one stream (the wire to that: %.3f)", report.Size(alone), report.Size(stream), wire/float64(stream)))
			continue
		}
		c.Notes = append(c.Notes, fmt.Sprintf("pinned to zstd at its fastest, the wire has %.3f of it: the Go encoder's fastest level finds less in blocks of scattered pages than zstd -1 does", wire/float64(alone)))
	}
	return c, nil
}

// cycles takes points with a codec, and returns what the changed blocks of the last one compress to.
func (l *lab) cycles(ctx context.Context, rate int, rtt time.Duration, codec string, c *cell, w *way) (alone, stream int64, err error) {
	image, err := workload.Image(ctx, l.Dir, cycleDisk)
	if err != nil {
		return 0, 0, err
	}
	p, err := l.pair(ctx, vpn.Line{Rate: vpn.Mbit(int64(rate)), RTT: rtt}, []string{"--compression=" + codec})
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	source, changes := filepath.Join(p.Sources, "disk"), filepath.Join(p.Dir, "changes")
	if err := workload.Copy(image, source); err != nil {
		return 0, 0, err
	}
	plan, err := p.plan(source, "cat "+changes, false)
	if err != nil {
		return 0, 0, err
	}
	if err := p.Do(ctx, nil, "reprotect", plan); err != nil {
		return 0, 0, err
	}
	if err := p.listed(ctx, 1); err != nil {
		return 0, 0, err
	}
	data, err := workload.Data(source)
	if err != nil {
		return 0, 0, err
	}
	pages := int(workload.Bytes(data) / replication.Page)
	for round := range l.Repeats {
		changed, err := workload.Scatter(source, data, pages/100, l.Seed+uint64(round))
		if err != nil {
			return 0, 0, err
		}
		if err := workload.WriteRanges(changes, changed); err != nil {
			return 0, 0, err
		}
		c.Bytes = workload.Bytes(changed)
		if alone, stream, err = compressed(source, changed); err != nil {
			return 0, 0, err
		}
		time.Sleep(time.Second) // keepalives and status of the last point are over
		cpu, begin := p.cpu(), time.Now()
		a0, h0 := p.link.Counted()
		point, err := p.Cut(ctx, group)
		if err != nil {
			return 0, 0, err
		}
		if err := p.listed(ctx, point); err != nil {
			return 0, 0, err
		}
		s := sample{Seconds: time.Since(begin).Seconds(), CPU: (p.cpu() - cpu).Seconds()}
		a1, h1 := p.link.Counted()
		s.Wire = a1.Payload - a1.Again - a0.Payload + a0.Again + h1.Payload - h1.Again - h0.Payload + h0.Again
		s.Middle = float64(c.Bytes) / s.Seconds
		w.Runs = append(w.Runs, s)
	}
	if err := p.WaitHead(ctx, group, replication.PointID(1+l.Repeats), patience); err != nil {
		return 0, 0, err
	}
	return alone, stream, workload.Compare(source, p.target)
}

// compressed returns what zstd -1 makes of the extents of a file: of each block alone (the length of a frame without checksum), and of all in one stream.
func compressed(path string, extents []replication.Extent) (alone, stream int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	dir, err := os.MkdirTemp("", "failback-link-")
	if err != nil {
		return 0, 0, err
	}
	defer os.RemoveAll(dir)
	var all bytes.Buffer
	for i, x := range extents {
		b := make([]byte, x.Len())
		if _, err := f.ReadAt(b, x.Off); err != nil && err != io.EOF {
			return 0, 0, err
		}
		all.Write(b)
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), b, 0o600); err != nil {
			return 0, 0, err
		}
	}
	var out bytes.Buffer
	cmd := exec.Command("zstd", "-q", "-1", "-c")
	cmd.Stdin, cmd.Stdout = &all, &out
	if err := cmd.Run(); err != nil {
		return 0, 0, fmt.Errorf("zstd: %w", err)
	}
	one := exec.Command("zstd", "-q", "-1", "--no-check", "-r", "-c", dir)
	var each bytes.Buffer
	one.Stdout = &each
	if err := one.Run(); err != nil {
		return 0, 0, fmt.Errorf("zstd: %w", err)
	}
	return int64(each.Len()), int64(out.Len()), nil
}
