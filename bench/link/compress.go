package link

import (
	"context"
	"time"

	"failback/bench/peer"
	"failback/bench/vpn"
	"failback/bench/workload"
)

// How much of the best fixed codec's rate, and of zstd --adapt's, the codec that is chosen is to have.
const (
	codecAim = 0.95
	adaptAim = 1.0
)

// compressTimes is how many times as many bytes of the disk are copied as the link carries in --seconds: about what they compress to.
const compressTimes = 3

func (l *lab) compress(ctx context.Context, rate int, rtt time.Duration) (*cell, error) {
	image, err := workload.Image(ctx, l.Dir, min(l.size(rate, compressTimes), 2<<30))
	if err != nil {
		return nil, err
	}
	data, err := workload.Data(image)
	if err != nil {
		return nil, err
	}
	j := job{line: vpn.Line{Rate: vpn.Mbit(int64(rate)), RTT: rtt}, source: image, bytes: workload.Bytes(data)}
	c := &cell{Bytes: j.bytes}
	var runs []func() (sample, error)
	var names []string
	for _, codec := range l.codecs {
		with := j
		with.flags = []string{"--compression=" + codec}
		names = append(names, "failback, "+codec)
		runs = append(runs, func() (sample, error) { return l.ours(ctx, with) })
	}
	adapt := peer.Missing(peer.Zstd) == ""
	if adapt {
		names = append(names, "zstd --adapt")
		runs = append(runs, func() (sample, error) { return l.zstd(ctx, j) })
	} else {
		c.Notes = append(c.Notes, "zstd is missing: "+peer.Missing(peer.Zstd))
	}
	if err := l.alternate(c, runs, names); err != nil {
		return nil, err
	}
	chosen := c.Ways[0].seconds()
	best, by := 0.0, ""
	for _, w := range c.Ways[1:len(l.codecs)] {
		if s := w.seconds(); by == "" || s < best {
			best, by = s, w.Name
		}
	}
	if by != "" {
		c.check("rate of "+c.Ways[0].Name+" to that of the best fixed one ("+by+")", best/chosen, codecAim, true)
	}
	if adapt {
		c.check("rate of "+c.Ways[0].Name+" to that of zstd --adapt", c.way("zstd --adapt").seconds()/chosen, adaptAim, true)
	}
	return c, nil
}
