package transport

import (
	"math"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"failback/replication/link"
)

const canSetSegments = true

// segmentsOf returns what makes a socket, before it connects, send and ask for segments of at most so many bytes; nil for 0.
func segmentsOf(n int) func(syscall.RawConn) error {
	if n == 0 {
		return nil
	}
	return func(c syscall.RawConn) error {
		var err error
		failed := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, n) })
		if failed != nil {
			return failed
		}
		return err
	}
}

// tcpInfo returns what the kernel knows of a connection; nil where it tells nothing.
func tcpInfo(c net.Conn) (info *unix.TCPInfo) {
	t, ok := c.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return nil
	}
	_ = raw.Control(func(fd uintptr) { info, _ = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	return info
}

// strained returns what the network did to a connection so far. What waited at the other end is no part of that. ok false: the kernel does not tell, as before 4.10, or nothing has gone yet. Before 4.19 nothing is told of what was sent again.
func strained(c net.Conn) (s link.Strain, ok bool) {
	info := tcpInfo(c)
	if info == nil || info.Busy_time == 0 {
		return s, false
	}
	return link.Strain{
		Held: time.Duration(info.Busy_time-min(info.Busy_time, info.Rwnd_limited)) * time.Microsecond,
		Sent: int64(info.Bytes_sent), Again: int64(info.Bytes_retrans), Acked: int64(info.Bytes_acked),
	}, true
}

// tripOf returns the shortest round trip that a connection saw; 0: the kernel does not tell, as before 4.9.
func tripOf(c net.Conn) time.Duration {
	if info := tcpInfo(c); info != nil && info.Min_rtt != math.MaxUint32 {
		return time.Duration(info.Min_rtt) * time.Microsecond
	}
	return 0
}

// segmentOf returns how many bytes the connection sends in one packet; 0: not known.
func segmentOf(c net.Conn) int {
	if info := tcpInfo(c); info != nil {
		return int(info.Snd_mss)
	}
	return 0
}

// againOf returns the share of the segments of all connections that were sent again.
func againOf(all []*probe) float64 {
	var out, again float64
	for _, p := range all {
		if info := tcpInfo(p.raw); info != nil {
			out += float64(info.Segs_out)
			again += float64(info.Total_retrans)
		}
	}
	if out == 0 {
		return 0
	}
	return min(1, again/out)
}
