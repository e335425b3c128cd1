//go:build !linux

package transport

import "net"

// tune leaves a socket as it is.
func tune(*net.TCPConn) error { return nil }

// tuneUnsent leaves it too.
func tuneUnsent(*net.TCPConn, int) error { return nil }
