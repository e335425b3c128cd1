// Package metrics is the daemons' plain HTTP listener: /metrics for Prometheus, /healthz, and profiles below /debug/pprof/. It has no access control and
// shows no content: give it a loopback address.
package metrics

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/expfmt"
)

func newRegistry(own []prometheus.Collector) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	registry.MustRegister(own...)
	return registry
}

// Text returns the metrics as they are now, in the text form of Prometheus.
func Text(own ...prometheus.Collector) ([]byte, error) {
	families, err := newRegistry(own).Gather()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// Serve listens at address until ctx ends; "" serves nothing. The error is that of listening.
func Serve(ctx context.Context, address string, log *slog.Logger, own ...prometheus.Collector) error {
	if address == "" {
		return nil
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("metrics listener: %w", err)
	}
	registry := newRegistry(own)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.Handle("GET /debug/pprof/block", blocking.whileAsked(pprof.Handler("block")))
	mux.Handle("GET /debug/pprof/mutex", contention.whileAsked(pprof.Handler("mutex")))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { server.Close() })
	go server.Serve(l)
	log.Info("metrics", "listen", l.Addr())
	return nil
}

// recording is a kind of profile that costs time, and is kept only while somebody waits for it: ?seconds=N.
type recording struct {
	set func(on bool)

	mu    sync.Mutex
	asked int // requests that wait
}

// What is recorded while it is asked for: about one blocking for each 10 µs that goroutines wait, and every tenth contended mutex.
var (
	blocking   = &recording{set: func(on bool) { runtime.SetBlockProfileRate(orNone(on, int(10*time.Microsecond))) }}
	contention = &recording{set: func(on bool) { runtime.SetMutexProfileFraction(orNone(on, 10)) }}
)

func orNone(on bool, v int) int {
	if !on {
		return 0
	}
	return v
}

func (r *recording) whileAsked(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, ask *http.Request) {
		r.count(1)
		defer r.count(-1)
		next.ServeHTTP(w, ask)
	})
}

func (r *recording) count(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.asked += n; r.asked <= 1 {
		r.set(r.asked > 0)
	}
}
