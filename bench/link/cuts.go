package link

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"failback/bench/report"
	"failback/bench/vpn"
)

// Between a cut and the one before, so much of the time that an undisturbed copy would take passes while content flows.
const cutsFlow = 0.6

// cut copies the same disk twice, undisturbed and with all connections forgotten again and again at random times.
func (l *lab) cut(ctx context.Context, rate int, rtt time.Duration) (*cell, error) {
	size := l.size(rate, 3)
	source, err := l.noise(size)
	if err != nil {
		return nil, err
	}
	line := vpn.Line{Rate: vpn.Mbit(int64(rate)), RTT: rtt}
	whole := job{line: line, source: source, bytes: size, views: true}
	disturbed := whole
	made := 0
	disturbed.during = func(ctx context.Context, v *vpn.VPN, p *pair) error {
		random := rand.New(rand.NewPCG(l.Seed, 2))
		step := float64(size) * cutsFlow / float64(l.cuts)
		for range l.cuts {
			from := flowed(v)
			wait := int64(step * (0.2 + 1.6*random.Float64()))
			for flowed(v)-from < wait { // content flows, and then so much of it
				select {
				case <-ctx.Done():
					return nil
				case <-time.After(traceEvery):
				}
			}
			v.Forget(true)
			made++
		}
		return nil
	}
	c := &cell{Bytes: size}
	err = l.alternate(c, []func() (sample, error){
		func() (sample, error) { made = 0; return l.ours(ctx, disturbed) },
		func() (sample, error) { return l.ours(ctx, whole) },
	}, []string{"failback, cut", "failback, undisturbed"})
	if err != nil {
		return nil, err
	}
	if made == 0 {
		return nil, fmt.Errorf("the copy was over before the first cut: give more --seconds")
	}
	wire := func(w *way) float64 { return w.median(func(s sample) float64 { return float64(s.Wire) }) }
	again := (wire(c.Ways[0]) - wire(c.Ways[1])) / float64(made)
	product := float64(line.Rate) * rtt.Seconds()
	buffers, said := socketBuffers()
	c.Checks = append(c.Checks, report.Check{
		Name: fmt.Sprintf("bytes sent again for each of %d cuts", made), Value: again, Text: report.Size(int64(again)),
		Aim: fmt.Sprintf("at most one bandwidth-delay product (%s), the router's queue (%s) and socket buffers (%s)", report.Size(int64(product)), report.Size(max(vpn.MinQueue, int64(product))), said),
		Met: again <= product+max(vpn.MinQueue, product)+buffers,
	})
	return c, nil
}

// flowed is what has come from the far end.
func flowed(v *vpn.VPN) int64 {
	_, home := v.Counted()
	return home.Payload - home.Again
}

// socketBuffers returns what the kernel's buffers of one connection may hold at both ends.
func socketBuffers() (n float64, said string) {
	for _, name := range []string{"tcp_wmem", "tcp_rmem"} {
		b, _ := os.ReadFile("/proc/sys/net/ipv4/" + name)
		var least, usual, most float64
		fmt.Sscan(strings.TrimSpace(string(b)), &least, &usual, &most)
		if name == "tcp_wmem" {
			n += most
			said = report.Size(int64(most)) + " to send"
		} else {
			n += usual
			said += ", " + report.Size(int64(usual)) + " to receive"
		}
	}
	return n, said
}
