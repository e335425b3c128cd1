//go:build !linux

package transport

import (
	"net"
	"syscall"
	"time"

	"failback/replication/link"
)

// The systems that process servers do not run on yet tell nothing of segments.
const canSetSegments = false

func segmentsOf(int) func(syscall.RawConn) error { return nil }
func strained(net.Conn) (link.Strain, bool)      { return link.Strain{}, false }
func tripOf(net.Conn) time.Duration              { return 0 }
func segmentOf(net.Conn) int                     { return 0 }
func againOf([]*probe) float64                   { return 0 }
