package link

import (
	"context"
	"time"

	"failback/bench/vpn"
)

// How much of the better of bare connections ours are to have.
const (
	fillAim  = 0.95
	stallAim = 0.80
)

func (l *lab) fill(ctx context.Context, rate int, rtt time.Duration) (*cell, error) {
	return l.beside(ctx, l.size(rate, 1), vpn.Line{Rate: vpn.Mbit(int64(rate)), RTT: rtt}, vpn.Stall{}, nil, fillAim)
}

// One lane of eight is held for two seconds of every ten.
var stalled = vpn.Stall{Of: 8, Every: 10 * time.Second, For: 2 * time.Second}

func (l *lab) stall(ctx context.Context, rate int, rtt time.Duration) (*cell, error) {
	var flags []string
	if l.lanes == 0 {
		flags = []string{"--lanes=8"}
	}
	return l.beside(ctx, l.size(rate, 4), vpn.Line{Rate: vpn.Mbit(int64(rate)), RTT: rtt}, stalled, flags, stallAim)
}

// beside copies bytes that do not compress by ours, over a link with the stall, and by bare connections, over one without.
func (l *lab) beside(ctx context.Context, size int64, line vpn.Line, stall vpn.Stall, flags []string, aim float64) (*cell, error) {
	source, err := l.noise(size)
	if err != nil {
		return nil, err
	}
	bare := job{line: line, source: source, bytes: size, flags: flags}
	ours := bare
	ours.line.Stall = stall
	c := &cell{Bytes: size}
	err = l.alternate(c, []func() (sample, error){
		func() (sample, error) { return l.ours(ctx, ours) },
		func() (sample, error) { return l.tcp(ctx, bare, 1) },
		func() (sample, error) { return l.tcp(ctx, bare, 4) },
	}, []string{"failback", "1 TCP connection", "4 TCP connections"})
	if err != nil {
		return nil, err
	}
	best := max(c.Ways[1].middle(), c.Ways[2].middle())
	c.check("rate in the middle, of the better bare one", c.Ways[0].middle()/best, aim, true)
	c.check("the whole job's rate, of the better bare one", min(c.Ways[1].seconds(), c.Ways[2].seconds())/c.Ways[0].seconds(), aim, true)
	return c, nil
}
