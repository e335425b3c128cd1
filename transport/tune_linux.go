package transport

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// tune has a socket give up a peer that acknowledges nothing. (gRPC would set that, if it saw the socket.)
func tune(c *net.TCPConn) error {
	return setOption(c, unix.TCP_USER_TIMEOUT, int(keepaliveWait.Milliseconds()))
}

// tuneUnsent bounds what waits in the kernel of a socket and was not sent yet.
func tuneUnsent(c *net.TCPConn, bytes int) error {
	return setOption(c, unix.TCP_NOTSENT_LOWAT, bytes)
}

func setOption(c *net.TCPConn, option, value int) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return fmt.Errorf("set up the socket: %w", err)
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, option, value) })
	if err == nil {
		err = failed
	}
	if err != nil {
		return fmt.Errorf("set up the socket: %w", err)
	}
	return nil
}
