package transport

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// unsent bounds what waits in the kernel of a socket and was not sent yet. What waits longer than it must is compressed for a link that was, and sent again after a cut.
const unsent = 256 << 10

// tune sets a socket up: it takes no more than it can send soon, and gives up a peer that acknowledges nothing. (gRPC would set the latter, if it saw the socket.)
func tune(c *net.TCPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return fmt.Errorf("set up the socket: %w", err)
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(keepaliveWait.Milliseconds()))
		if failed == nil {
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsent)
		}
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return fmt.Errorf("set up the socket: %w", err)
	}
	return nil
}
