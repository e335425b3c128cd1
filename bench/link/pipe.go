package link

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"failback/replication"
	"failback/replication/block"
	"failback/replication/link"
	"failback/transport"
	"failback/transport/pki"
)

// How bytes go through a pipe.
const (
	pipeFrames = "frames"
	pipeTLS    = "tls"
)

// give sends a file over so many connections: each takes the next piece when it has sent its last.
func give(how, certs string, conns int, path, address string) error {
	id, err := pki.Open(certs, pki.ProcessServer, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	var next atomic.Int64
	piece := func() (off, n int64) {
		off = next.Add(block.MaxFrameRaw) - block.MaxFrameRaw
		return off, max(0, min(block.MaxFrameRaw, fi.Size()-off))
	}
	var client *transport.ReplicationClient
	if how == pipeFrames {
		if client, err = transport.DialReplication(address, id, false); err != nil {
			return err
		}
		defer client.Close()
	}
	var g errgroup.Group
	for i := range conns {
		g.Go(func() error {
			if how == pipeFrames {
				return giveFrames(client, uint32(i), f, piece)
			}
			c, err := tls.Dial("tcp", address, id.Client(pki.MasterTarget))
			if err != nil {
				return err
			}
			defer c.Close()
			return giveTLS(c, f, piece)
		})
	}
	return g.Wait()
}

// giveFrames does what a worker and a lane of the process server do with what is neither hashed nor compressed.
func giveFrames(client *transport.ReplicationClient, no uint32, f io.ReaderAt, piece func() (off, n int64)) error {
	lane, err := client.Lane(context.Background(), replication.Lane{Session: replication.Session{Group: "pipe", Generation: 1, ID: 1}, Point: 1, Lane: no, Attempt: 1})
	if err != nil {
		return err
	}
	defer lane.Close()
	var enc block.Encoder
	for off, n := piece(); n > 0; off, n = piece() {
		for end := off + n; off < end; {
			buf, frame := block.NewBuffer(), block.NewFrame()
			b := buf.Bytes[:min(block.FrameRaw, end-off)]
			if _, err := f.ReadAt(b, off); err != nil {
				return err
			}
			for len(b) > 0 {
				raw := b[:min(len(b), block.MaxRaw)]
				frame.Add(&enc, block.Block{Extents: []replication.Extent{{Off: off, End: off + int64(len(raw))}}}, raw, block.Raw, buf)
				off, b = off+int64(len(raw)), b[len(raw):]
			}
			buf.Release()
			if err := lane.Send(frame); err != nil {
				return err
			}
		}
	}
	_, err = lane.Flush()
	return err
}

// giveTLS sends each piece after its place and length.
func giveTLS(c *tls.Conn, f io.ReaderAt, piece func() (off, n int64)) error {
	const head = 16
	b := make([]byte, head+block.MaxFrameRaw)
	for off, n := piece(); n > 0; off, n = piece() {
		binary.LittleEndian.PutUint64(b, uint64(off))
		binary.LittleEndian.PutUint64(b[8:], uint64(n))
		if _, err := f.ReadAt(b[head:head+n], off); err != nil {
			return err
		}
		if _, err := c.Write(b[:head+n]); err != nil {
			return err
		}
	}
	if err := c.CloseWrite(); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 1)) // the other end has it all
	return err
}

// take takes what so many connections give, into a file or nothing, and says first where it listens.
func take(how, certs string, conns int, into string) error {
	id, err := pki.Open(certs, pki.MasterTarget, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	var out *os.File
	if into != "" {
		if out, err = os.Create(into); err != nil {
			return err
		}
		defer out.Close()
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	if how == pipeFrames {
		return takeFrames(listener, id, conns)
	}
	var g errgroup.Group
	var all sync.WaitGroup // all that comes is durable before anybody is told
	all.Add(conns)
	var sync sync.Once
	var failed error
	for range conns {
		raw, err := listener.Accept()
		if err != nil {
			return err
		}
		g.Go(func() error {
			c := tls.Server(raw, id.Server())
			defer c.Close()
			err := takeTLS(c, out)
			all.Done()
			if err != nil {
				return err
			}
			all.Wait()
			if out != nil {
				sync.Do(func() { failed = unix.Fdatasync(int(out.Fd())) })
			}
			_, err = c.Write([]byte{1})
			return errors.Join(failed, err)
		})
	}
	return g.Wait()
}

func takeTLS(c *tls.Conn, out *os.File) error {
	head, b := make([]byte, 16), make([]byte, block.MaxFrameRaw)
	for {
		if _, err := io.ReadFull(c, head); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		off, n := int64(binary.LittleEndian.Uint64(head)), int64(binary.LittleEndian.Uint64(head[8:]))
		if _, err := io.ReadFull(c, b[:n]); err != nil {
			return err
		}
		if out != nil {
			if _, err := out.WriteAt(b[:n], off); err != nil {
				return err
			}
		}
	}
}

// takeFrames is a master target's end of the wire without a master target behind it: blocks are checked, and that is all.
func takeFrames(listener net.Listener, id *pki.Identity, conns int) error {
	var ended sync.WaitGroup
	ended.Add(conns)
	server := transport.NewReplicationServer(&sink{ended: &ended}, id, "bench", slog.New(slog.DiscardHandler))
	go func() {
		ended.Wait()
		server.GracefulStop() // what tells the other end that all arrived is on its way
	}()
	if err := server.Serve(listener); !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}

// sink takes lanes.
type sink struct {
	transport.MasterTarget
	ended *sync.WaitGroup
}

func (s *sink) Lane(context.Context, replication.Lane) (link.Lane, error) {
	return &sinkLane{s, make([]byte, block.MaxRaw)}, nil
}

type sinkLane struct {
	*sink
	raw []byte
}

func (l *sinkLane) Send(f *block.Frame) error {
	defer f.Free()
	for i := range f.Blocks {
		b := &f.Blocks[i]
		if err := b.Check(framesSize); err != nil {
			return err
		}
		if _, err := b.Decode(l.raw); err != nil {
			return err
		}
	}
	return nil
}

func (l *sinkLane) Flush() (int64, error) { return 0, nil }
func (l *sinkLane) Close()                { l.ended.Done() }
