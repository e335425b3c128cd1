package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"failback/replication"
	"failback/transport"
)

// webhook posts alerts to a URL, one after another, in the order in which they came: the durable log of events is its queue, which bounds it, and a file of the state directory says how far it has come. An alert may be
// posted twice, after a crash. It holds nothing up but itself. What the URL has besides its host may be a secret, and is told to nobody.
type webhook struct {
	url    *url.URL
	cursor string // the file
	client *http.Client
	log    *slog.Logger

	retryMin, retryMax time.Duration

	posted, failed, passed atomic.Int64
}

// happenings is where events come from.
type happenings interface {
	Events(ctx context.Context, r replication.EventsRequest, tell func(replication.Event) error) error
}

// Bounds of the webhook.
const (
	hookTimeout  = 20 * time.Second
	hookRetryMin = time.Second
	hookRetryMax = 5 * time.Minute
	hookOldest   = 24 * time.Hour // what could not be posted for so long is passed over
	hookRefused  = 3              // what is refused so often is passed over
	hookCursor   = "webhook.cursor"
)

func newWebhook(text, state string, log *slog.Logger) (*webhook, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("--alert-webhook is not a URL such as https://alerts.example.com/failback, or http://10.1.0.9:8080/ within private networks") // without the URL, which may have a secret
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	if u.Scheme == "http" {
		dialer.Control = func(_, address string, _ syscall.RawConn) error {
			if a, err := netip.ParseAddrPort(address); err != nil || !transport.IsPrivate(a.Addr()) {
				return &replication.Problem{Code: transport.CodePublic, Message: address + " is a public address: alerts go there by https only"}
			}
			return nil
		}
	}
	return &webhook{
		url: u, cursor: filepath.Join(state, hookCursor), log: log.With("webhook", u.Host), retryMin: hookRetryMin, retryMax: hookRetryMax,
		client: &http.Client{
			Timeout:       hookTimeout,
			Transport:     &http.Transport{DialContext: dialer.DialContext, TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: time.Minute}, // no proxy
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// run posts what comes until ctx ends.
func (h *webhook) run(ctx context.Context, from happenings) {
	after, known := h.readCursor()
	if !known { // what happened before there was a webhook is none of its
		_ = from.Events(ctx, replication.EventsRequest{}, func(e replication.Event) error { after = e.No; return nil })
		h.writeCursor(after)
	}
	err := from.Events(ctx, replication.EventsRequest{After: after, Follow: true}, func(e replication.Event) error {
		if e.Kind != replication.EventAlert {
			return nil
		}
		if err := h.deliver(ctx, e); err != nil {
			return err
		}
		h.writeCursor(e.No)
		return nil
	})
	if err != nil && ctx.Err() == nil {
		h.log.Error("alerts are posted no more", "err", err)
	}
}

// deliver posts an alert, again and again until it is taken, or too old.
func (h *webhook) deliver(ctx context.Context, e replication.Event) error {
	refused := 0
	for wait := h.retryMin; ; wait = min(2*wait, h.retryMax) {
		if time.Since(e.Time) > hookOldest {
			h.passed.Add(1)
			h.log.Warn("an alert could not be posted for a day, and is passed over", "no", e.No)
			return nil
		}
		err := h.post(ctx, e)
		if err == nil {
			h.posted.Add(1)
			return nil
		}
		h.failed.Add(1)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var r *refusal
		if errors.As(err, &r) && r.stands() {
			if refused++; refused == hookRefused {
				h.passed.Add(1)
				h.log.Error("an alert is refused, and passed over", "no", e.No, "rule", e.Rule, "group", e.Group, "err", err)
				return nil
			}
		}
		h.log.Warn("an alert can't be posted", "no", e.No, "err", err, "again_in", wait)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// refusal is an answer other than 2xx.
type refusal struct {
	code   int
	status string
}

func (r *refusal) Error() string { return "it answers " + r.status }

// stands says whether the alert itself is refused (400, 413, 422), rather than whoever posts it, the address, or the moment: that may be put right.
func (r *refusal) stands() bool {
	switch r.code {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusRequestTimeout, http.StatusTooManyRequests:
		return false
	}
	return r.code >= 400 && r.code < 500
}

func (h *webhook) post(ctx context.Context, e replication.Event) error {
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url.String(), bytes.NewReader(body))
	if err != nil {
		return errors.New("the URL can't be used")
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "failback")
	reply, err := h.client.Do(r)
	var told *url.Error
	if errors.As(err, &told) { // it has the URL
		err = told.Err
	}
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	_, _ = io.CopyN(io.Discard, reply.Body, 64<<10)
	if reply.StatusCode < 200 || reply.StatusCode > 299 {
		return &refusal{reply.StatusCode, reply.Status}
	}
	return nil
}

// readCursor returns the number of the last event that was done with.
func (h *webhook) readCursor() (after uint64, known bool) {
	b, err := os.ReadFile(h.cursor)
	if err != nil {
		return 0, false
	}
	after, err = strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	return after, err == nil
}

// writeCursor notes it durably. Where that fails, alerts are posted twice after a restart.
func (h *webhook) writeCursor(no uint64) {
	fresh := h.cursor + ".new"
	f, err := os.OpenFile(fresh, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = fmt.Fprintln(f, no)
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err == nil {
		err = os.Rename(fresh, h.cursor)
	}
	if err != nil {
		h.log.Warn("note how far alerts were posted", "err", err)
	}
}
