package link

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"failback/bench/workload"
)

// peerCommand is the first argument of this program where it is an end of a peer: "peer send ADDRESS STREAMS FILE", "peer pipe ADDRESS", "peer give HOW CERTS CONNECTIONS FILE ADDRESS"
// or "peer take HOW CERTS CONNECTIONS INTO".
const peerCommand = "peer"

// PeerMain is this program as an end of a peer; false: it was not called as one.
func PeerMain(args []string) (code int, ran bool) {
	if len(args) == 0 || args[0] != peerCommand {
		return 0, false
	}
	if err := peerMain(args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench: peer:", err)
		return 1, true
	}
	return 0, true
}

func peerMain(args []string) error {
	switch {
	case len(args) == 4 && args[0] == "send":
		streams, err := strconv.Atoi(args[2])
		if err != nil {
			return err
		}
		return sendFile(args[1], streams, args[3])
	case len(args) == 2 && args[0] == "pipe":
		c, err := net.Dial("tcp", args[1])
		if err != nil {
			return err
		}
		if _, err := io.Copy(c, os.Stdin); err != nil {
			return err
		}
		return await(c.(*net.TCPConn))
	case len(args) == 6 && args[0] == "give", len(args) == 5 && args[0] == "take":
		conns, err := strconv.Atoi(args[3])
		if err != nil {
			return err
		}
		if args[0] == "take" {
			return take(args[1], args[2], conns, args[4])
		}
		return give(args[1], args[2], conns, args[4], args[5])
	}
	return fmt.Errorf("no peer does %v", args)
}

// await says that all was sent, and waits until the other end has it durably.
func await(c *net.TCPConn) error {
	if err := c.CloseWrite(); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 1))
	return err
}

// sendFile sends a file over so many connections, each a part of its own.
func sendFile(address string, streams int, path string) error {
	fi, err := os.Stat(path)
	if err != nil {
		return err
	}
	part := (fi.Size()/int64(streams) + 4095) &^ 4095
	var g errgroup.Group
	for i := range streams {
		g.Go(func() error {
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			defer f.Close()
			c, err := net.Dial("tcp", address)
			if err != nil {
				return err
			}
			defer c.Close()
			off := int64(i) * part
			if err := binary.Write(c, binary.LittleEndian, off); err != nil {
				return err
			}
			if _, err := io.Copy(c, io.NewSectionReader(f, off, min(part, fi.Size()-off))); err != nil {
				return err
			}
			return await(c.(*net.TCPConn))
		})
	}
	return g.Wait()
}

// tcp copies a file over bare TCP connections.
func (l *lab) tcp(ctx context.Context, j job, streams int) (sample, error) {
	return l.peer(ctx, j, streams, func(c net.Conn, out *os.File) error {
		var off int64
		if err := binary.Read(c, binary.LittleEndian, &off); err != nil {
			return err
		}
		_, err := io.CopyBuffer(struct{ io.Writer }{io.NewOffsetWriter(out, off)}, struct{ io.Reader }{c}, make([]byte, 1<<20))
		return err
	}, func(address string) []string {
		return []string{l.Self, peerCommand, "send", address, strconv.Itoa(streams), j.source}
	})
}

// zstd copies a file by zstd --adapt over one connection.
func (l *lab) zstd(ctx context.Context, j job) (sample, error) {
	return l.peer(ctx, j, 1, func(c net.Conn, out *os.File) error {
		cmd := exec.CommandContext(ctx, "zstd", "-q", "-d", "-c")
		f, err := c.(*net.TCPConn).File() // it reads the socket itself
		if err != nil {
			return err
		}
		defer f.Close()
		cmd.Stdin, cmd.Stdout, cmd.Stderr = f, out, os.Stderr
		return cmd.Run()
	}, func(address string) []string {
		return []string{"sh", "-c", `zstd -q -T0 --adapt -c "$2" | "$0" ` + peerCommand + ` pipe "$1"`, l.Self, address, j.source}
	})
}

// peer runs the far end of a peer in the namespace, and its near end here, for each connection.
func (l *lab) peer(ctx context.Context, j job, streams int, near func(net.Conn, *os.File) error, far func(address string) []string) (s sample, err error) {
	dir, err := l.scratch()
	if err != nil {
		return s, err
	}
	v, err := l.link(j.line)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	listener, err := net.Listen("tcp", v.Near()+":0")
	if err != nil {
		return s, err
	}
	defer listener.Close()
	target := filepath.Join(dir, "copy")
	out, err := os.Create(target)
	if err != nil {
		return s, err
	}
	defer out.Close()
	args := far(listener.Addr().String())
	cmd := v.Command(args[0], args[1:]...)
	cmd.Stderr = os.Stderr
	t, begin := follow(v), time.Now()
	if err := cmd.Start(); err != nil {
		return s, err
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	var g errgroup.Group
	var conns []net.Conn
	for range streams {
		c, err := listener.Accept()
		if err != nil {
			return s, err
		}
		defer c.Close()
		conns = append(conns, c)
		g.Go(func() error { return near(c, out) })
	}
	if err := g.Wait(); err != nil {
		return s, err
	}
	if err := out.Sync(); err != nil {
		return s, err
	}
	s = t.end(j.bytes)
	s.Seconds = time.Since(begin).Seconds()
	for _, c := range conns {
		if _, err := c.Write([]byte{1}); err != nil {
			return s, err
		}
	}
	if err := cmd.Wait(); err != nil {
		return s, err
	}
	return s, workload.Compare(j.source, target)
}
