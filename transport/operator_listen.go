package transport

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"

	"failback/replication"
)

// maxSocketPath is how long a socket's path may be (sockaddr_un, less its zero).
const maxSocketPath = 107

// ListenOperator listens at unix:PATH or HOST:PORT. A socket is made for its owner only (0600). One that a dead process left is replaced; one that
// answers, or anything that is not a socket, is left alone and refused. The socket goes when the listener is closed.
func ListenOperator(address string) (net.Listener, error) {
	network, addr, err := splitAddress(address)
	if err != nil {
		return nil, err
	}
	if network == "unix" {
		if err := clearSocket(addr); err != nil {
			return nil, err
		}
	}
	l, err := listenPrivate(network, addr)
	if err != nil {
		p := &replication.Problem{Code: "listen", Message: fmt.Sprintf("listen for the operator at %s: %v", address, err)}
		switch {
		case errors.Is(err, fs.ErrNotExist):
			p.Remedy = "make the socket's directory first"
		case errors.Is(err, syscall.EADDRINUSE):
			p.Remedy = "another program listens there: stop it, or name another address by --operator"
		default:
			p.Remedy = "name by --operator an address that this user may listen at"
		}
		return nil, p
	}
	return l, nil
}

// clearSocket makes way for a new socket at path.
func clearSocket(path string) error {
	if len(path) > maxSocketPath {
		return &replication.Problem{
			Code:    "bad-address",
			Message: fmt.Sprintf("the socket's path %s has %d bytes; at most %d are possible", path, len(path), maxSocketPath),
			Remedy:  "name a shorter one by --operator, such as unix:/run/failback.sock",
		}
	}
	fi, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at the operator's socket: %w", err)
	}
	if fi.Mode()&fs.ModeSocket == 0 {
		return &replication.Problem{
			Code:    "listen",
			Message: fmt.Sprintf("%s is there and is not a socket; it was left alone", path),
			Remedy:  "name another path by --operator",
		}
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		conn.Close()
	}
	switch {
	case err == nil:
		return &replication.Problem{
			Code:    "listen",
			Message: fmt.Sprintf("another master target answers at %s", path),
			Remedy:  "stop it, or name another socket by --operator",
		}
	case !errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("find out whether a master target answers at %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove the socket that a dead process left: %w", err)
	}
	return nil
}
