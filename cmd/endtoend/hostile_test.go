package endtoend

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"

	"failback/bench/stand"
	failbackpb "failback/proto"
	"failback/transport/pki"
	"failback/transport/transporttest"
)

// hostileFor is how long they go on, at least.
const hostileFor = 3 * time.Second

// maxHostileRSS bounds the memory of a master target under all attacks together: what connections without a lane may hold (512 MiB), once more for the garbage that is not collected yet, and what it is without them.
const maxHostileRSS = 1500 * mib

// TestHostilePeersHarmNoGroup has holders of good certificates, and others, do to a master target all that they can think of, at once and from many connections, while a group replicates: its points are listed and right, the
// memory is bounded, and the log names what was refused.
func TestHostilePeersHarmNoGroup(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stand.Options{}, threeDisks()...)
	w.protect()
	config := func(role pki.Role) *tls.Config {
		id, err := pki.Open(w.PKI, role, slog.New(slog.DiscardHandler))
		w.must(err)
		return id.Client(pki.MasterTarget)
	}
	server, operator := config(pki.ProcessServer), config(pki.Operator)
	message := func(b []byte) []byte { return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(b))), b...) }
	services := bytes.Repeat(message([]byte{0x3a, 0}), 1<<20) // asks for all, again and again, and reads no answer
	unended := message(make([]byte, 1300<<10))[:1300<<10]
	fill := func(r *transporttest.Raw, method string, b []byte) {
		for r.Err() == nil {
			s, err := r.Call(method)
			if err != nil {
				return
			}
			if n, err := r.Send(s, b, 100*time.Millisecond); n == 0 || err != nil {
				return
			}
		}
	}
	frames := func(write func(r *transporttest.Raw) error) func(*transporttest.Raw) {
		return func(r *transporttest.Raw) {
			for r.Err() == nil && write(r) == nil {
			}
		}
	}
	over, stop := context.WithTimeout(w.ctx, hostileFor)
	defer stop()
	var attacks sync.WaitGroup
	attack := func(times int, config *tls.Config, do func(*transporttest.Raw)) {
		for range times {
			attacks.Go(func() {
				var held []*transporttest.Raw
				for over.Err() == nil {
					r, err := transporttest.DialRaw(w.Listen, config)
					if err != nil { // there are too many
						time.Sleep(50 * time.Millisecond)
						continue
					}
					end := context.AfterFunc(over, func() { r.Close() })
					do(r)
					if end(); r.Err() != nil || len(held) == 4 {
						r.Close()
					} else {
						held = append(held, r) // with what it holds there
					}
				}
				for _, r := range held {
					r.Close()
				}
			})
		}
	}
	attack(6, operator, func(r *transporttest.Raw) {
		fill(r, reflectionpb.ServerReflection_ServerReflectionInfo_FullMethodName, services)
	})
	attack(4, server, func(r *transporttest.Raw) { fill(r, failbackpb.Replication_Finish_FullMethodName, unended) })
	attack(1, server, func(r *transporttest.Raw) {
		r.Call("/x", hpack.HeaderField{Name: "x", Value: strings.Repeat("y", 1<<20)})
	})
	attack(1, server, frames(func(r *transporttest.Raw) error {
		s, err := r.Call(failbackpb.Replication_Finish_FullMethodName)
		if err != nil {
			return err
		}
		return r.Frame(func(f *http2.Framer) error { return f.WriteRSTStream(s, http2.ErrCodeCancel) })
	}))
	attack(1, server, frames(func(r *transporttest.Raw) error {
		return r.Frame(func(f *http2.Framer) error { return f.WriteSettings() })
	}))
	attack(1, server, frames(func(r *transporttest.Raw) error {
		return r.Frame(func(f *http2.Framer) error { return f.WritePing(false, [8]byte{}) })
	}))
	for range 4 { // connections that say nothing, as many as are let in
		attacks.Go(func() {
			for over.Err() == nil {
				c, err := net.DialTimeout("tcp", w.Listen, time.Second)
				if err != nil {
					time.Sleep(10 * time.Millisecond)
					continue
				}
				time.Sleep(time.Millisecond)
				defer c.Close()
			}
		})
	}
	attacks.Go(func() { // who wants to enrol with nothing
		for over.Err() == nil {
			c, err := tls.Dial("tcp", w.Listen, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{pki.EnrollProtocol}})
			if err != nil {
				time.Sleep(10 * time.Millisecond)
				continue
			}
			c.Write([]byte{0, 0, 0, 2, 1, 2})
			c.Close()
		}
	})

	for refused := true; refused || over.Err() == nil; {
		w.cut()
		refused = false
	}
	attacks.Wait()
	for _, x := range []struct {
		config *tls.Config
		call   func(*grpc.ClientConn) error
		want   string
	}{
		{server, func(c *grpc.ClientConn) error {
			return of(failbackpb.NewReplicationClient(c).Finish(w.ctx, &failbackpb.FinishRequest{Fence: &failbackpb.Fence{Group: group, Generation: 0, Session: 1, Point: 1}}))
		}, "generation 0 is not the current"},
		{server, func(c *grpc.ClientConn) error {
			return of(failbackpb.NewReplicationClient(c).Finish(w.ctx, &failbackpb.FinishRequest{Fence: &failbackpb.Fence{Group: group, Generation: 1, Session: 1, Point: 1}}))
		}, "session 1 has ended"},
		{server, func(c *grpc.ClientConn) error {
			return of(failbackpb.NewOperatorClient(c).Throttle(w.ctx, &failbackpb.ThrottleRequest{}))
		}, "your certificate is for the role process-server"},
		{operator, func(c *grpc.ClientConn) error {
			return of(failbackpb.NewReplicationClient(c).Finish(w.ctx, &failbackpb.FinishRequest{}))
		}, "your certificate is for the role operator"},
	} {
		conn, err := grpc.NewClient("passthrough:///"+w.Listen, grpc.WithTransportCredentials(credentials.NewTLS(x.config)))
		w.must(err)
		defer conn.Close()
		if err := x.call(conn); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("got %v, want %q", err, x.want)
		}
	}
	w.cut()
	w.shows(w.last)
	w.exports()
	said := w.masterTargetSaid()
	for _, code := range []string{"too-much-unread", "large-headers", "frame-flood", "too-many-connections", "enrol-busy"} {
		t.Logf("the log tells of %s: %v", code, strings.Contains(said, code)) // how far each gets in this time is the machine's; that it is told, tests of package transport hold
	}
	if n := w.MasterTarget.Usage().PeakRSS; n > maxHostileRSS && !slices.Contains(buildFlags, "-race") { // which takes several times as much
		t.Errorf("the master target had %d MiB", n/mib)
	} else {
		t.Logf("the master target had %d MiB; %d points were made", n/mib, w.last)
	}
}

func of[R any](_ R, err error) error { return err }
