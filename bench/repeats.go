package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"

	"failback/bench/report"
	"failback/bench/stand"
	"failback/bench/workload"
	"failback/replication"
)

// repeatsOf copies two disks of one template, with references to what repeats and without.
func (l *lab) repeatsOf(ctx context.Context, s *report.Scenario) error {
	one, data, err := l.dataOf(ctx)
	if err != nil {
		return err
	}
	two, err := workload.Sibling(ctx, l.dir, int64(l.size))
	if err != nil {
		return err
	}
	others, err := workload.Data(two)
	if err != nil {
		return err
	}
	dir, remove, err := l.scratch("repeats")
	if err != nil {
		return err
	}
	defer remove()
	s.Bytes = workload.Bytes(data) + workload.Bytes(others)
	s.About = fmt.Sprintf("two ext4 images of one template with %s of data together, into new flat VMDKs; compression pinned to zstd", report.Size(s.Bytes))
	streams := int64(0)
	for path, x := range map[string][]replication.Extent{one: data, two: others} {
		n, err := compressed(path, x)
		if err != nil {
			return err
		}
		streams += n
	}
	copies := func(flag string) func(context.Context, int) (report.Sample, error) {
		return func(ctx context.Context, _ int) (s report.Sample, err error) {
			c := copies{lab: l, dir: dir}
			defer c.clear()
			p, err := l.pair(ctx, true, "--compression", "zstd", flag)
			if err != nil {
				return s, err
			}
			defer func() { err = errors.Join(err, p.close()) }()
			if err := l.ready(one, two); err != nil {
				return s, err
			}
			plan := stand.Plan{Group: "twins"}
			for i, image := range []string{one, two} {
				name := fmt.Sprintf("m%d", i)
				plan.Machines = append(plan.Machines, stand.Machine{Name: name, Disks: []stand.Disk{{ID: "disk", Source: image, Target: filepath.Join(dir, name+".vmdk")}}})
			}
			if s, err = p.sample(func() error { return p.reprotect(ctx, plan) }); err != nil {
				return s, err
			}
			return s, errors.Join(workload.Compare(one, flatOf(filepath.Join(dir, "m0.vmdk"))), workload.Compare(two, flatOf(filepath.Join(dir, "m1.vmdk"))))
		}
	}
	const with, without = "failback", "failback --repeats=false"
	if err := l.alternate(ctx, s, []way{{name: with, run: copies("--repeats=true")}, {name: without, run: copies("--repeats=false")}}, nil); err != nil {
		return err
	}
	s.Finish()
	a, b := s.Way(with), s.Way(without)
	if len(a.Samples) == 0 || len(b.Samples) == 0 {
		return nil
	}
	share := float64(a.Samples[0].Wire) / float64(b.Samples[0].Wire)
	s.Checks = append(s.Checks, report.Check{Name: "bytes on the wire, to those without references", Value: share, Text: fmt.Sprintf("%.2f", share), Aim: "below 0.8", Met: share < 0.8})
	s.Notes = append(s.Notes,
		fmt.Sprintf("zstd at its fastest over each disk's data, as one stream: %s; ours on the wire is %.2f of it", report.Size(streams), float64(a.Samples[0].Wire)/float64(streams)),
		"all runs go through a counting relay; both copies were compared with their sources afterwards, byte by byte")
	return nil
}

// compressed returns what the data of a file comes to as one zstd stream.
func compressed(path string, data []replication.Extent) (n int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var c counter
	w, err := zstd.NewWriter(&c, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return 0, err
	}
	for _, x := range data {
		if _, err := io.Copy(w, io.NewSectionReader(f, x.Off, x.Len())); err != nil {
			return 0, err
		}
	}
	err = w.Close()
	return int64(c), err
}

// counter counts what is written to it.
type counter int64

func (c *counter) Write(b []byte) (int, error) { *c += counter(len(b)); return len(b), nil }
