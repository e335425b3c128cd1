//go:build !windows

package transport

import (
	"net"
	"syscall"
)

// listenPrivate listens; a socket is never, not for a moment, open to others than its owner. The mask is the process's: what else is made in that moment is
// private too.
func listenPrivate(network, addr string) (net.Listener, error) {
	if network == "unix" {
		defer syscall.Umask(syscall.Umask(0o177))
	}
	return net.Listen(network, addr)
}
