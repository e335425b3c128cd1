package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"failback/replication"
	"failback/replication/mastertarget/events"
)

// source is a log of events as the engine gives it.
type source struct{ *events.Log }

func (s source) Events(ctx context.Context, r replication.EventsRequest, tell func(replication.Event) error) error {
	return s.Read(ctx, r, tell)
}

func openSource(t *testing.T, dir string) source {
	t.Helper()
	l, err := events.Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return source{l}
}

// first waits until an event is on the disk, and returns the number of the first.
func (s source) first(t *testing.T) (no uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := s.Read(ctx, replication.EventsRequest{Follow: true}, func(e replication.Event) error { no = e.No; return io.EOF }); err != io.EOF {
		t.Fatal(err)
	}
	return no
}

// receiver keeps what is posted to it; it refuses the first few.
type receiver struct {
	mu      sync.Mutex
	refuses int
	got     []replication.Event
	came    chan struct{}
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refuses > 0 {
		r.refuses--
		http.Error(w, "not now", http.StatusServiceUnavailable)
		return
	}
	var e replication.Event
	if err := json.NewDecoder(q.Body).Decode(&e); err != nil || q.Method != http.MethodPost || q.Header.Get("Content-Type") != "application/json" {
		http.Error(w, "no", http.StatusBadRequest)
		return
	}
	r.got = append(r.got, e)
	r.came <- struct{}{}
}

func (r *receiver) wait(t *testing.T, n int) (rules string) {
	t.Helper()
	for range n {
		select {
		case <-r.came:
		case <-time.After(20 * time.Second):
			t.Fatal("nothing is posted")
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.got {
		rules += e.Rule + ":" + string(e.Level) + " "
	}
	return rules
}

// started runs a webhook; the returned function ends it.
func started(t *testing.T, address, dir string, from happenings, log *slog.Logger) (h *webhook, end func()) {
	t.Helper()
	h, err := newWebhook(address, dir, log)
	if err != nil {
		t.Fatal(err)
	}
	h.retryMin, h.retryMax = time.Millisecond, 5*time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { h.run(ctx, from) })
	return h, func() { cancel(); wg.Wait() }
}

func TestWebhookPostsAlertsInOrderOnceTheyAreTaken(t *testing.T) {
	dir := t.TempDir()
	l := openSource(t, dir)
	alert := func(rule string, level replication.Level) replication.Event {
		return replication.Event{Kind: replication.EventAlert, Group: "erp", Rule: rule, Level: level, Message: "it is so"}
	}
	l.Append(alert("before", replication.Warned))
	first := l.first(t)
	r := &receiver{refuses: 3, came: make(chan struct{}, 100)}
	s := httptest.NewServer(r)
	defer s.Close()
	var said bytes.Buffer
	h, end := started(t, s.URL+"/hooks/T0P-SECRET", dir, l, slog.New(slog.NewTextHandler(&said, nil)))
	for _, known := h.readCursor(); !known; _, known = h.readCursor() {
		time.Sleep(time.Millisecond)
	}
	l.Append(alert("rpo", replication.Warned))
	l.Append(replication.Event{Kind: replication.EventPoint, Group: "erp"})
	l.Append(alert("rpo", replication.Critical))
	if got, want := r.wait(t, 2), "rpo:warning rpo:critical "; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for after, _ := h.readCursor(); after < first+3; after, _ = h.readCursor() { // the answer has come
		time.Sleep(time.Millisecond)
	}
	end()
	if h.failed.Load() != 3 || h.posted.Load() != 2 {
		t.Errorf("%d failed, %d posted", h.failed.Load(), h.posted.Load())
	}
	if strings.Contains(said.String(), "SECRET") {
		t.Errorf("the log tells the URL:\n%s", said.String())
	}
	l.Append(alert("rpo", replication.Healthy)) // while nobody posts
	_, end = started(t, s.URL, dir, l, slog.New(slog.DiscardHandler))
	if got, want := r.wait(t, 1), "rpo:warning rpo:critical rpo:healthy "; got != want {
		t.Errorf("after a restart: got %q, want %q", got, want)
	}
	end()
}

func TestWebhookPassesOldAlertsOver(t *testing.T) {
	h, err := newWebhook("http://127.0.0.1:1/", t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := h.deliver(context.Background(), replication.Event{Time: time.Now().Add(-hookOldest - time.Minute)}); err != nil || h.passed.Load() != 1 {
		t.Errorf("got %v, %d passed over", err, h.passed.Load())
	}
}

func TestWebhookPassesOverWhatIsRefused(t *testing.T) {
	for code, passed := range map[int]bool{400: true, 413: true, 422: true, 401: false, 403: false, 404: false, 408: false, 429: false, 500: false, 503: false, 302: false} {
		tries := 0
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if tries++; tries <= hookRefused+1 {
				w.WriteHeader(code)
			}
		}))
		h, err := newWebhook(s.URL, t.TempDir(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		h.retryMin, h.retryMax = time.Millisecond, time.Millisecond
		err = h.deliver(context.Background(), replication.Event{Time: time.Now()})
		s.Close()
		if err != nil || (h.passed.Load() == 1) != passed || (h.posted.Load() == 1) == passed {
			t.Errorf("%d: %v, %d passed over and %d posted after %d tries", code, err, h.passed.Load(), h.posted.Load(), tries)
		}
	}
}

func TestWebhookAddresses(t *testing.T) {
	for address, ok := range map[string]bool{
		"https://alerts.example.com/x": true, "http://10.1.0.9:8080/": true, "ftp://10.1.0.9/": false, "alerts.example.com": false, "": false, "http://": false,
	} {
		if _, err := newWebhook(address, t.TempDir(), slog.New(slog.DiscardHandler)); (err == nil) != ok {
			t.Errorf("%q: got %v, want it taken: %v", address, err, ok)
		}
	}
	h, err := newWebhook("http://203.0.113.9/secret", t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	err = h.post(context.Background(), replication.Event{})
	if err == nil || !strings.Contains(err.Error(), "public address") || strings.Contains(err.Error(), "secret") {
		t.Errorf("http at a public address: got %v, want it refused", err)
	}
}
