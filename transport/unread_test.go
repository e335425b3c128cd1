package transport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"

	"google.golang.org/protobuf/proto"

	failbackpb "failback/proto"
	"failback/replication"
	"failback/replication/block"
	"failback/replication/link"
	"failback/transport/pki"
	"failback/transport/transporttest"
)

// TestFramesAreFoundHoweverTheyCome writes an HTTP/2 connection and finds its frames in pieces of all lengths.
func TestFramesAreFoundHoweverTheyCome(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var wire bytes.Buffer
	wire.WriteString(http2.ClientPreface)
	fr := http2.NewFramer(&wire, nil)
	type frame struct {
		kind   byte
		stream uint32
		length int
	}
	var want []frame
	content := 0
	for i := range 500 {
		var err error
		switch i % 5 {
		case 0:
			err = fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
			want = append(want, frame{4, 0, 6})
		case 1:
			err = fr.WritePing(false, [8]byte{0: 9})
			want = append(want, frame{h2Ping, 0, 8})
		case 2:
			err = fr.WriteWindowUpdate(uint32(i), 77)
			want = append(want, frame{h2WindowUpdate, uint32(i), 4})
		case 3:
			n := r.IntN(99)
			err = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: make([]byte, n), EndHeaders: true})
			want = append(want, frame{h2Headers, 1, n})
		case 4:
			b := make([]byte, r.IntN(16<<10)*(i%3)) // of no bytes, too
			content += len(b)
			err = fr.WriteData(1, false, b)
			want = append(want, frame{h2Data, 1, len(b)})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, most := range []int{1, 8, 9, 10, 100, 20 << 10, wire.Len()} {
		var f h2Frames
		var got []frame
		n := 0
		for b := wire.Bytes(); len(b) > 0; {
			m := min(len(b), 1+r.IntN(most))
			for rest, ok := b[:m], true; ok; {
				var p h2Piece
				if p, rest, ok = f.next(rest); !ok {
					break
				}
				if len(p.payload) == 0 {
					got = append(got, frame{p.kind, p.stream, p.length})
				} else if p.kind == h2Data {
					n += len(p.payload)
				}
			}
			b = b[m:]
		}
		if n != content || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("in pieces of up to %d: %d frames and %d bytes of content, want %d and %d", most, len(got), n, len(want), content)
		}
	}
}

// served runs a replication service whose log is heard.
func served(t *testing.T, master MasterTarget, certs string) (address string, log *syncBuffer) {
	t.Helper()
	log = &syncBuffer{}
	id, err := pki.Open(certs, pki.MasterTarget, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	told := slog.New(slog.NewTextHandler(log, nil))
	s := NewReplicationServer(master, id, "test", told)
	go s.Serve(BoundedListener(l, told))
	t.Cleanup(s.Stop)
	return l.Addr().String(), log
}

// enclosed is a message of gRPC.
func enclosed(b []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(b))), b...)
}

// TestFloodsAreRefusedByName has holders of good certificates send what no program of ours sends, over real sockets: each connection ends before what it holds is much, the log says why and whose it is, and another peer is
// served.
func TestFloodsAreRefusedByName(t *testing.T) {
	certs := t.TempDir() + "/pki"
	if _, err := pki.Init(certs); err != nil {
		t.Fatal(err)
	}
	opened := func(role pki.Role) *pki.Identity {
		id, err := pki.Open(certs, role, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	list := bytes.Repeat(enclosed([]byte{0x3a, 0}), 1<<20) // asks a reflection server for all services, again and again
	calls := func(r *transporttest.Raw, n int, method string, b []byte) error {
		sent := 0
		for range n {
			s, err := r.Call(method)
			if err != nil {
				return err
			}
			m, err := r.Send(s, b, time.Minute)
			if sent += m; sent > unreadMost+8<<20 {
				return errTaken
			}
			if err != nil {
				return nil
			}
		}
		return nil
	}
	for name, x := range map[string]struct {
		code string
		do   func(r *transporttest.Raw) error
	}{
		"AnswersThatAreNotRead": {CodeUnread, func(r *transporttest.Raw) error {
			return calls(r, maxStreams, reflectionpb.ServerReflection_ServerReflectionInfo_FullMethodName, list)
		}},
		"MessagesWithoutAnEnd": {CodeUnread, func(r *transporttest.Raw) error {
			return calls(r, maxStreams, failbackpb.Replication_Finish_FullMethodName, enclosed(make([]byte, maxMessage))[:maxMessage])
		}},
		"PaddedFrames": {CodePadding, func(r *transporttest.Raw) error {
			s, err := r.Call(failbackpb.Replication_Finish_FullMethodName)
			if err != nil {
				return err
			}
			return r.Frame(func(f *http2.Framer) error { return f.WriteDataPadded(s, false, []byte{0}, make([]byte, 255)) })
		}},
		"LargeHeaders": {CodeHeaders, func(r *transporttest.Raw) error {
			_, err := r.Call(failbackpb.Replication_Finish_FullMethodName, hpack.HeaderField{Name: "x", Value: strings.Repeat("y", 1<<20)})
			return err
		}},
		"HeadersWithoutAnEnd": {CodeHeaders, func(r *transporttest.Raw) error {
			err := r.Frame(func(f *http2.Framer) error {
				return f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x83}})
			})
			for range 10000 {
				if err != nil {
					break
				}
				err = r.Frame(func(f *http2.Framer) error { return f.WriteContinuation(1, false, nil) })
			}
			return err
		}},
		"CallsTakenBack": {CodeFlood, func(r *transporttest.Raw) error {
			for range 100 * idleBurst {
				s, err := r.Call(failbackpb.Replication_Finish_FullMethodName)
				if err == nil {
					err = r.Frame(func(f *http2.Framer) error { return f.WriteRSTStream(s, http2.ErrCodeCancel) })
				}
				if err != nil {
					return err
				}
			}
			return nil
		}},
		"Settings": {CodeFlood, func(r *transporttest.Raw) error {
			return many(r, func(f *http2.Framer) error { return f.WriteSettings() })
		}},
		"EmptyFrames": {CodeFlood, func(r *transporttest.Raw) error {
			s, err := r.Call(failbackpb.Replication_Finish_FullMethodName)
			if err != nil {
				return err
			}
			return many(r, func(f *http2.Framer) error { return f.WriteData(s, false, nil) })
		}},
		"Pings": {CodeFlood, func(r *transporttest.Raw) error {
			return many(r, func(f *http2.Framer) error { return f.WritePing(false, [8]byte{}) })
		}},
		"AnswersToPingsThatWereNotAsked": {CodeFlood, func(r *transporttest.Raw) error {
			return many(r, func(f *http2.Framer) error { return f.WritePing(true, [8]byte{}) })
		}},
		"Windows": {CodeFlood, func(r *transporttest.Raw) error {
			return many(r, func(f *http2.Framer) error { return f.WriteWindowUpdate(0, 1) })
		}},
		"FramesOfNoKind": {CodeFlood, func(r *transporttest.Raw) error {
			return many(r, func(f *http2.Framer) error { return f.WriteRawFrame(0x77, 0, 0, nil) })
		}},
	} {
		t.Run(name, func(t *testing.T) {
			role := pki.ProcessServer
			if name == "AnswersThatAreNotRead" {
				role = pki.Operator
			}
			address, log := served(t, &authority{}, certs)
			r, err := transporttest.DialRaw(address, opened(role).Client(pki.MasterTarget))
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if err := x.do(r); errors.Is(err, errTaken) { // else it is how a connection ends
				t.Error(err)
			}
			if err := r.WaitEnd(time.Minute); err != nil {
				t.Error(err)
			}
			if s := log.String(); !strings.Contains(s, "code="+x.code) || !strings.Contains(s, "of the "+string(role)+" with the key ") {
				t.Errorf("the log says %q, want %s", s, x.code)
			}
			if _, err := dial(t, address, certs, pki.ProcessServer).Pages(t.Context(), link.Fence{}, 1, 0); err != nil {
				t.Errorf("another peer: %v", err)
			}
		})
	}
	t.Run("HeadersThatExpand", func(t *testing.T) { // by an index of one byte to what was said before
		address, _ := served(t, &authority{}, certs)
		r, err := transporttest.DialRaw(address, opened(pki.ProcessServer).Client(pki.MasterTarget))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		var more []hpack.HeaderField
		for range 4000 {
			more = append(more, hpack.HeaderField{Name: "x", Value: strings.Repeat("y", 3000)})
		}
		if _, err := r.Call(failbackpb.Replication_Finish_FullMethodName, more...); err != nil {
			t.Fatal(err)
		}
		if why := r.WaitStream(1, time.Minute); !strings.Contains(why, "FRAME_SIZE_ERROR") {
			t.Errorf("the call ended with %q", why)
		}
	})
}

var errTaken = errors.New("more was taken in than there is room for")

// many writes a frame again and again.
func many(r *transporttest.Raw, frame func(*http2.Framer) error) error {
	for range 100 * idleBurst {
		if err := r.Frame(frame); err != nil {
			return err
		}
	}
	return nil
}

// TestWhatLanesHoldIsBoundedForAllTogether has raw peers fill lanes of a master target that takes nothing, past what all may hold: they are ended, by name, and what is left is within the bound.
func TestWhatLanesHoldIsBoundedForAllTogether(t *testing.T) {
	certs := t.TempDir() + "/pki"
	if _, err := pki.Init(certs); err != nil {
		t.Fatal(err)
	}
	log := &syncBuffer{}
	told := slog.New(slog.NewTextHandler(log, nil))
	id, err := pki.Open(certs, pki.MasterTarget, told)
	if err != nil {
		t.Fatal(err)
	}
	peer, err := pki.Open(certs, pki.ProcessServer, told)
	if err != nil {
		t.Fatal(err)
	}
	u := newUnreads(told)
	u.lanes = 24 << 20
	s := grpc.NewServer(grpc.Creds(gatherCredentials{serverCredentials{TransportCredentials: credentials.NewTLS(id.Server()), id: id, log: u.log}, u, false}), grpc.ForceServerCodecV2(newCodec()),
		grpc.MaxRecvMsgSize(maxMessage), grpc.InitialWindowSize(laneWindow), grpc.InitialConnWindowSize(laneWindow), grpc.ReadBufferSize(0))
	gate := make(chan struct{})
	RegisterReplication(s, &gated{taken: map[uint32]int{}, gates: map[uint32]chan struct{}{1: gate}}, "test", told)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(BoundedListener(l, told))
	defer s.Stop()
	defer close(gate)
	open, err := proto.Marshal(&failbackpb.Frame{Open: &failbackpb.LaneOpen{Fence: &failbackpb.Fence{Group: "g", Generation: 1, Session: 1, Point: 1}, Lane: 1, Attempt: 1}})
	if err != nil {
		t.Fatal(err)
	}
	content, err := (&wireFrame{frame: noise()}).marshal()
	if err != nil {
		t.Fatal(err)
	}
	frame := enclosed(content.Materialize())
	ended := 0
	for range 5 { // of which each sends as much as its window lets through
		r, err := transporttest.DialRaw(l.Addr().String(), peer.Client(pki.MasterTarget))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		stream, err := r.Call(failbackpb.Replication_Ship_FullMethodName)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Send(stream, enclosed(open), time.Minute); err != nil {
			t.Fatal(err)
		}
		for sent := 0; sent < 15<<20; {
			n, err := r.Send(stream, frame, time.Minute)
			if sent += n; err != nil || n < len(frame) {
				ended++
				break
			}
		}
	}
	for begin := time.Now(); !strings.Contains(log.String(), "connections with a lane hold more than 24 MiB"); time.Sleep(10 * time.Millisecond) {
		if time.Since(begin) > time.Minute {
			t.Fatalf("%d connections were seen to end; the log says %q", ended, log.String())
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	sum := int64(0)
	for c := range u.all {
		if !c.ended.Load() {
			sum += c.bytes.Load()
		}
	}
	if sum > u.lanes+5*unreadStep {
		t.Errorf("%d bytes are held, at most %d", sum, u.lanes)
	}
}

// TestWhatNobodyTakesIsBoundedForAllTogether has connections hold what each may: those with a lane are let alone, and of the others the one goes that has most.
func TestWhatNobodyTakesIsBoundedForAllTogether(t *testing.T) {
	u := newUnreads(slog.New(slog.DiscardHandler))
	var conns []*unread
	hold := func(n int64, lane bool) *unread {
		ours, theirs := net.Pipe()
		t.Cleanup(func() { ours.Close(); theirs.Close() })
		b := newBacklog()
		if lane {
			b.open()
		}
		c := u.add(ours, "the one", b)
		c.received([]byte(http2.ClientPreface))
		c.beginsLocked(h2Piece{kind: h2Headers, stream: 1})
		c.beginsLocked(h2Piece{kind: h2Data, stream: 1, length: int(n)})
		if _, err := c.received(nil); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
		return c
	}
	for range 20 {
		hold(unreadMost-frameCost, true)
	}
	most := hold(unreadMost-frameCost, false)
	for range unreadOthers/(32<<20) - 2 {
		hold(32<<20-frameCost, false)
	}
	for _, c := range conns {
		if c.ended.Load() {
			t.Fatal("one was ended, though all hold what they may")
		}
	}
	hold(unreadStep, false)
	for _, c := range conns {
		if c.ended.Load() != (c == most) {
			t.Errorf("one that holds %d bytes: ended %v", c.bytes.Load(), c.ended.Load())
		}
	}
	if _, err := most.received(nil); replication.AsProblem(err).Code != CodeUnread {
		t.Errorf("got %v", err)
	}
	most.close()
	if u.look(false); len(u.all) != len(conns)-1 {
		t.Errorf("%d are left of %d", len(u.all), len(conns))
	}
}

// TestALaneOfSmallFramesIsNotEnded fills a lane's window with frames as small as ours get, of which nothing is taken.
func TestALaneOfSmallFramesIsNotEnded(t *testing.T) {
	f := block.NewFrame()
	for range block.FrameRaw / block.MaxRaw {
		f.Blocks = append(f.Blocks, block.Block{Kind: block.Repeat, Raw: block.MaxRaw, Extents: []replication.Extent{{End: block.MaxRaw}}, Origin: block.Origin{Hash: replication.Hash{1}}})
	}
	b, err := (&wireFrame{frame: f}).marshal()
	if err != nil {
		t.Fatal(err)
	}
	size := b.Len() + 5
	c := newUnreads(slog.New(slog.DiscardHandler)).add(nil, "the one", newBacklog())
	c.beginsLocked(h2Piece{kind: h2Headers, stream: 1})
	for range laneWindow / size {
		c.beginsLocked(h2Piece{kind: h2Data, stream: 1, length: size})
	}
	if got := c.bytes.Load(); got > unreadMost*3/4 {
		t.Errorf("frames of %d bytes: a window of them counts as %d bytes, of at most %d", size, got, unreadMost)
	}
	c.takenLocked(1, laneWindow/2)
	if got := c.bytes.Load(); got > unreadMost*3/8 {
		t.Errorf("%d bytes are left of half a window", got)
	}
	c.endLocked(1)
	if got := c.bytes.Load(); got != 0 {
		t.Errorf("%d bytes are left of a stream that has ended", got)
	}
}

// TestWhatAnswersContentIsNoFlood has a client answer each frame with content by as much as one of gRPC's may, and then by more.
func TestWhatAnswersContentIsNoFlood(t *testing.T) {
	c := newUnreads(slog.New(slog.DiscardHandler)).add(nil, "the one", newBacklog())
	var content bytes.Buffer
	if err := http2.NewFramer(&content, nil).WriteData(1, false, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	answer := func() *replication.Problem {
		return c.beginsLocked(h2Piece{kind: h2WindowUpdate, length: 4})
	}
	for range 10 * idleBurst {
		c.leaves(content.Bytes())
		for range idleOwed {
			if p := answer(); p != nil {
				t.Fatal(p)
			}
		}
	}
	for begin := time.Now(); ; {
		p := answer()
		if p != nil && p.Code == CodeFlood {
			return
		}
		if p != nil || time.Since(begin) > time.Minute {
			t.Fatalf("answers to nothing: got %v", p)
		}
	}
}
