package vpn

import (
	"time"
)

// Line says what the link does to packets, each way alike.
type Line struct {
	Rate  int64         // bytes a second, of whole IP packets; 0: no limit
	RTT   time.Duration // half of it each way
	Queue int64         // bytes that wait for Rate; what comes on top is lost. 0: what Rate carries in an RTT, at least MinQueue
	Loss  float64       // share of the packets that are lost besides, by chance
	// Blackhole loses packets of more bytes than this without a word, as a hop with a smaller MTU does whose ICMP messages are filtered. 0: none.
	Blackhole int
	Stall     Stall
}

// Stall holds packets of one connection in Of for For of every Every, and delivers them afterwards: one lane that has a bad path. The first connection that the namespace dials, which
// carries orders, is not among them, and none that it did not dial. Of 0: none.
type Stall struct {
	Of         int
	Every, For time.Duration
}

// MinQueue is what a router's queue holds at least.
const MinQueue = 256 << 10

// Mbit returns the rate of so many megabits a second.
func Mbit(n int64) int64 { return n * 1_000_000 / 8 }

func (l Line) queue() int64 {
	if l.Queue > 0 {
		return l.Queue
	}
	return max(MinQueue, int64(float64(l.Rate)*l.RTT.Seconds()))
}

// until returns how long packets of the n-th connection are held from a time on, which is told since the link was opened.
func (s Stall) until(n int, at time.Duration) time.Duration {
	if s.Of == 0 || s.Every <= 0 || n <= 0 || (n-1)%s.Of != 0 {
		return 0
	}
	return max(0, s.For-at%s.Every)
}
