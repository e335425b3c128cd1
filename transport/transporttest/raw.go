package transporttest

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Raw is a client of HTTP/2 without a client's manners: it writes the frames that a test wants, and keeps to flow control only where it has to, as the other side would end the connection at once. It
// acknowledges nothing that it is not told to.
type Raw struct {
	conn  net.Conn
	frame *http2.Framer

	writing sync.Mutex
	text    bytes.Buffer
	encoder *hpack.Encoder
	last    uint32 // stream

	mu      sync.Mutex
	cond    *sync.Cond
	window  int64            // of the connection: what may be sent
	initial int64            // of a stream
	windows map[uint32]int64 // of streams
	ended   map[uint32]string
	err     error // why the connection has ended
}

// DialRaw connects by TLS, and says what every client says first. Close ends it.
func DialRaw(address string, config *tls.Config) (*Raw, error) {
	config = config.Clone()
	config.NextProtos = []string{"h2"}
	tcp, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(tcp, config)
	if err := conn.Handshake(); err != nil {
		tcp.Close()
		return nil, err
	}
	r := &Raw{conn: conn, frame: http2.NewFramer(conn, conn), window: 65535, initial: 65535, windows: map[uint32]int64{}, ended: map[uint32]string{}}
	r.cond = sync.NewCond(&r.mu)
	r.encoder = hpack.NewEncoder(&r.text)
	r.frame.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		conn.Close()
		return nil, err
	}
	if err := r.Frame(func(f *http2.Framer) error { return f.WriteSettings() }); err != nil {
		conn.Close()
		return nil, err
	}
	go r.read()
	return r, nil
}

// Close ends the connection.
func (r *Raw) Close() error { return r.conn.Close() }

// Frame writes frames as they are.
func (r *Raw) Frame(write func(*http2.Framer) error) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	return write(r.frame)
}

// read takes note of windows and ends, until the connection's.
func (r *Raw) read() {
	for {
		f, err := r.frame.ReadFrame()
		r.mu.Lock()
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if v, ok := f.Value(http2.SettingInitialWindowSize); ok {
				for s := range r.windows {
					r.windows[s] += int64(v) - r.initial
				}
				r.initial = int64(v)
			}
		case *http2.WindowUpdateFrame:
			if f.StreamID == 0 {
				r.window += int64(f.Increment)
			} else if _, open := r.windows[f.StreamID]; open {
				r.windows[f.StreamID] += int64(f.Increment)
			}
		case *http2.RSTStreamFrame:
			if r.ended[f.StreamID] == "" {
				r.ended[f.StreamID] = "reset: " + f.ErrCode.String()
			}
		case *http2.MetaHeadersFrame:
			for _, h := range f.Fields {
				if h.Name == "grpc-message" || h.Name == "grpc-status" && r.ended[f.StreamID] == "" {
					r.ended[f.StreamID] = h.Value
				}
			}
		case *http2.GoAwayFrame:
			r.err = fmt.Errorf("go away: %v: %s", f.ErrCode, f.DebugData())
		}
		var stream http2.StreamError
		if err != nil && !errors.As(err, &stream) {
			if r.err == nil {
				r.err = err
			}
			r.cond.Broadcast()
			r.mu.Unlock()
			return
		}
		r.cond.Broadcast()
		r.mu.Unlock()
	}
}

// Err tells why the connection has ended; nil: it has not.
func (r *Raw) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Ended tells what the other side said at a stream's end; "": it is open.
func (r *Raw) Ended(stream uint32) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ended[stream]
}

// WaitEnd waits until the connection has ended.
func (r *Raw) WaitEnd(within time.Duration) error {
	r.wait(within, func() bool { return r.err != nil })
	if r.Err() == nil {
		return errors.New("the connection is open")
	}
	return nil
}

// WaitStream waits until a stream has ended, and tells what the other side said.
func (r *Raw) WaitStream(stream uint32, within time.Duration) string {
	r.wait(within, func() bool { return r.err != nil || r.ended[stream] != "" })
	return r.Ended(stream)
}

func (r *Raw) wait(within time.Duration, until func() bool) {
	defer time.AfterFunc(within, func() { r.mu.Lock(); r.cond.Broadcast(); r.mu.Unlock() }).Stop()
	begin := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for !until() && time.Since(begin) < within {
		r.cond.Wait()
	}
}

// Call opens a stream for a call, with more headers.
func (r *Raw) Call(method string, more ...hpack.HeaderField) (stream uint32, err error) {
	r.writing.Lock()
	defer r.writing.Unlock()
	if r.last == 0 {
		r.last = 1
	} else {
		r.last += 2
	}
	stream = r.last
	r.text.Reset()
	for _, h := range append([]hpack.HeaderField{{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "https"}, {Name: ":path", Value: method}, {Name: ":authority", Value: "x"},
		{Name: "content-type", Value: "application/grpc"}, {Name: "te", Value: "trailers"}}, more...) {
		if err := r.encoder.WriteField(h); err != nil {
			return 0, err
		}
	}
	r.mu.Lock()
	r.windows[stream] = r.initial
	r.mu.Unlock()
	const most = 16 << 10
	all := r.text.Bytes()
	first := all[:min(most, len(all))]
	if err := r.frame.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: first, EndHeaders: len(first) == len(all)}); err != nil {
		return 0, err
	}
	for all = all[len(first):]; len(all) > 0; {
		part := all[:min(most, len(all))]
		all = all[len(part):]
		if err := r.frame.WriteContinuation(stream, len(all) == 0, part); err != nil {
			return 0, err
		}
	}
	return stream, nil
}

// Send sends bytes on a stream, as far as the windows let it within a while. It returns how many were sent.
func (r *Raw) Send(stream uint32, b []byte, within time.Duration) (sent int, err error) {
	stop := time.AfterFunc(within, func() { r.mu.Lock(); r.cond.Broadcast(); r.mu.Unlock() })
	defer stop.Stop()
	until := time.Now().Add(within)
	for len(b) > 0 {
		r.mu.Lock()
		for r.err == nil && r.ended[stream] == "" && min(r.window, r.windows[stream]) <= 0 && time.Now().Before(until) {
			r.cond.Wait()
		}
		n := min(16<<10, int64(len(b)), r.window, r.windows[stream])
		if r.err != nil || r.ended[stream] != "" || n <= 0 {
			defer r.mu.Unlock()
			return sent, r.err
		}
		r.window, r.windows[stream] = r.window-n, r.windows[stream]-n
		r.mu.Unlock()
		if err := r.Frame(func(f *http2.Framer) error { return f.WriteData(stream, false, b[:n]) }); err != nil {
			return sent, err
		}
		b, sent = b[n:], sent+int(n)
	}
	return sent, nil
}
