package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/klauspost/compress/zstd"

	"failback/bench/harness"
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
	two, err := workload.Sibling(ctx, l.Dir, l.Size)
	if err != nil {
		return err
	}
	others, err := workload.Data(two)
	if err != nil {
		return err
	}
	dir, remove, err := l.Scratch("repeats")
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
			p, err := l.pair(ctx, pairOptions{counted: true, processServer: []string{"--compression", "zstd", flag}})
			if err != nil {
				return s, err
			}
			defer func() { err = errors.Join(err, p.close()) }()
			if err := l.Ready(one, two); err != nil {
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
	by, x := []string{with, without}, []extents{{one, data}, {two, others}}
	write := writing(by, "write both targets and fdatasync", filepath.Join(dir, "stage.raw"), 2*l.Size, append(slices.Clone(data), shifted(others, l.Size)...))
	if err := l.Ready(one, two); err != nil {
		return err
	}
	if err := l.stages(ctx, s, reading(by, x...), hashing(by, x...), checksumming(by, x...), write); err != nil {
		return err
	}
	if err := l.alternate(ctx, s, []harness.Way{{Name: with, Run: copies("--repeats=true")}, {Name: without, Run: copies("--repeats=false")}}, nil); err != nil {
		return err
	}
	s.Finish()
	a, b := s.Way(with), s.Way(without)
	if len(a.Samples) == 0 || len(b.Samples) == 0 {
		return nil
	}
	share := float64(a.Samples[0].Wire) / float64(b.Samples[0].Wire)
	s.Check(report.Under("bytes on the wire, to those without references", share, 0.8, func(f float64) string { return fmt.Sprintf("%.2f", f) }))
	s.Note("zstd at its fastest over each disk's data, as one stream: %s; ours on the wire is %.2f of it", report.Size(streams), float64(a.Samples[0].Wire)/float64(streams))
	s.Note("all runs go through a counting relay; both copies were compared with their sources afterwards, byte by byte")
	return nil
}

// shifted moves extents to the right.
func shifted(all []replication.Extent, by int64) (out []replication.Extent) {
	for _, x := range all {
		out = append(out, replication.Extent{Off: x.Off + by, End: x.End + by})
	}
	return out
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
