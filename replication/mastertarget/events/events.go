// Package events keeps what happened, and which alerts stand, in a file of the state directory: it survives restarts and kill -9, and its size is bounded. Events are told to it without waiting for the disk; they are
// durable, and shown, a moment later. What is told and not durable yet is lost by kill -9 or a power failure: a point may be listed whose event never is. Nothing depends on events: the journal says which points there are.
// A file that is damaged is put aside, and a new one begun.
package events

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"failback/replication"
)

// Bounds.
const (
	Kept   = 10000 // events; the oldest go
	queued = 1000  // that are not on the disk yet; the oldest of these go, where it can't be written for long
)

// FileName is the file's name in the state directory: a bbolt file with the buckets "events" (number, 8 bytes big-endian → Event) and "meta" ("alerts" → those that stand).
const FileName = "events.db"

var (
	bucketEvents = []byte("events")
	bucketMeta   = []byte("meta")
	keyAlerts    = []byte("alerts")
)

// Log is the file. Safe for concurrent use.
type Log struct {
	db  *bbolt.DB
	log *slog.Logger

	mu     sync.Mutex
	next   uint64              // number of the next event
	queue  []replication.Event // not on the disk yet
	alerts []replication.Alert // as told last
	fresh  bool                // alerts are not on the disk yet
	lost   int64
	closed bool
	wake   chan struct{} // holds one: there is something to write
	news   chan struct{} // closed, and made anew, when something was written
	done   chan struct{} // closed when nothing writes any more
}

// errDamaged is the cause of an error that another try won't cure.
var errDamaged = errors.New("the file is damaged")

// mostAside is how many damaged files are kept.
const mostAside = 10

// Open opens the log of a state directory, and makes it where there is none.
func Open(dir string, log *slog.Logger) (*Log, error) {
	path := filepath.Join(dir, FileName)
	l, err := open(path, log)
	if err == nil || !errors.Is(err, errDamaged) {
		return l, err
	}
	aside := path + ".damaged"
	for n := 2; n <= mostAside; n++ { // the first ones stay
		if _, err := os.Lstat(aside); err != nil {
			break
		}
		aside = fmt.Sprintf("%s.damaged.%d", path, n)
	}
	log.Error("the events can't be read: they are put aside, and new ones begun", "file", path, "aside", aside, "err", err)
	if err := os.Rename(path, aside); err != nil {
		return nil, fmt.Errorf("put %s aside: %w", path, err)
	}
	return open(path, log)
}

func open(path string, log *slog.Logger) (l *Log, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // a file that is cut short is mapped beyond its end
	defer func() {
		if p := recover(); p != nil { // bbolt's way to tell of damage inside; what it holds locked then can't be closed
			l, err = nil, fmt.Errorf("open events %s: %w: %v", path, errDamaged, p)
		}
	}()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
	for _, bad := range []error{bolterrors.ErrInvalid, bolterrors.ErrChecksum, bolterrors.ErrVersionMismatch} {
		if errors.Is(err, bad) {
			err = errors.Join(errDamaged, err)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open events %s: %w", path, err)
	}
	l = &Log{db: db, log: log, wake: make(chan struct{}, 1), news: make(chan struct{}), done: make(chan struct{})}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, b := range [][]byte{bucketEvents, bucketMeta} {
			if _, err := tx.CreateBucketIfNotExists(b); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		err = db.View(l.read)
	}
	if err != nil {
		db.Close()
		return nil, fmt.Errorf("open events %s: %w", path, err)
	}
	go l.write()
	return l, nil
}

// read reads all of the file, so that damage shows here, and learns which alerts stand and the next number. A new log begins at one that no earlier log has come to: who remembers how far he had read it misses nothing.
func (l *Log) read(tx *bbolt.Tx) error {
	l.next = uint64(time.Now().UnixMilli())
	c := tx.Bucket(bucketEvents).Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		var e replication.Event
		if err := json.Unmarshal(v, &e); err != nil || len(k) != 8 {
			return fmt.Errorf("%w: event %x: %w", errDamaged, k, cmp.Or(err, errors.New("is no number")))
		}
		l.next = binary.BigEndian.Uint64(k) + 1
	}
	if b := tx.Bucket(bucketMeta).Get(keyAlerts); b != nil {
		if err := json.Unmarshal(b, &l.alerts); err != nil {
			return fmt.Errorf("%w: alerts: %w", errDamaged, err)
		}
	}
	return nil
}

// Append tells an event; its number and, where it has none, its time are given here. It does not wait for the disk.
func (l *Log) Append(e replication.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.appendLocked(e)
}

func (l *Log) appendLocked(e replication.Event) {
	if l.closed {
		return
	}
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	e.Time = e.Time.UTC()
	if e.Level == "" {
		e.Level = replication.Healthy
	}
	if e.Subject == "" {
		e.Subject = string(e.Group)
	}
	e.No = l.next
	l.next++
	if len(l.queue) == queued {
		l.queue = append(l.queue[:0], l.queue[1:]...)
		l.lost++
	}
	l.queue = append(l.queue, e)
	l.wakeLocked()
}

func (l *Log) wakeLocked() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// SetAlerts tells the events of changes in alerts, and which ones stand from now on: both become durable together.
func (l *Log) SetAlerts(stand []replication.Alert, events ...replication.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range events {
		l.appendLocked(e)
	}
	l.alerts, l.fresh = stand, true
	l.wakeLocked()
}

// Alerts returns those that stand, as told last, in an earlier run perhaps.
func (l *Log) Alerts() []replication.Alert {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.alerts
}

// Lost returns how many events were told and never written, because the disk took none for long.
func (l *Log) Lost() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// writeRetry is how long a write that failed is waited with.
const writeRetry = 2 * time.Second

// write writes what is queued, until the log is closed.
func (l *Log) write() {
	defer close(l.done)
	failing := false
	for range l.wake {
		for {
			l.mu.Lock()
			batch, alerts, fresh, closed := l.queue, l.alerts, l.fresh, l.closed
			l.queue, l.fresh = nil, false
			l.mu.Unlock()
			if len(batch) == 0 && !fresh {
				if closed {
					return
				}
				break
			}
			err := l.put(batch, alerts, fresh)
			if err == nil {
				failing = false
				l.mu.Lock()
				close(l.news)
				l.news = make(chan struct{})
				l.mu.Unlock()
				continue
			}
			if !failing {
				l.log.Error("write events", "err", err)
			}
			failing = true
			if closed {
				return
			}
			l.mu.Lock()
			l.queue, l.fresh = append(batch, l.queue...), l.fresh || fresh
			if over := len(l.queue) - queued; over > 0 {
				l.queue, l.lost = l.queue[over:], l.lost+int64(over)
			}
			l.mu.Unlock()
			time.Sleep(writeRetry)
		}
	}
}

func (l *Log) put(batch []replication.Event, alerts []replication.Alert, fresh bool) error {
	return l.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketEvents)
		for _, e := range batch {
			v, err := json.Marshal(e)
			if err == nil {
				err = b.Put(key(e.No), v)
			}
			if err != nil {
				return err
			}
		}
		if last, _ := b.Cursor().Last(); last != nil {
			no := binary.BigEndian.Uint64(last)
			c := b.Cursor()
			for k, _ := c.First(); k != nil && binary.BigEndian.Uint64(k)+Kept <= no; k, _ = c.First() {
				if err := c.Delete(); err != nil {
					return err
				}
			}
		}
		if !fresh {
			return nil
		}
		v, err := json.Marshal(alerts)
		if err != nil {
			return err
		}
		return tx.Bucket(bucketMeta).Put(keyAlerts, v)
	})
}

func key(no uint64) []byte { return binary.BigEndian.AppendUint64(nil, no) }

// readAtOnce is how many events are read in one transaction: who listens slowly holds none open.
const readAtOnce = 256

// Read tells the events that r asks for, oldest first; with r.Follow, those that come too, until ctx ends. It ends with the first error of tell.
func (l *Log) Read(ctx context.Context, r replication.EventsRequest, tell func(replication.Event) error) error {
	for after := r.After; ; {
		l.mu.Lock()
		news := l.news
		l.mu.Unlock()
		batch, last, err := l.batch(after)
		if err != nil {
			return err
		}
		for _, e := range batch {
			if !r.Wants(e) {
				continue
			}
			if err := tell(e); err != nil {
				return err
			}
		}
		if after = max(after, last); len(batch) > 0 {
			continue
		}
		if !r.Follow {
			return nil
		}
		select {
		case <-news:
		case <-l.done:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// batch returns some of the events after a number, and the number of the last one.
func (l *Log) batch(after uint64) (events []replication.Event, last uint64, err error) {
	err = l.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketEvents).Cursor()
		for k, v := c.Seek(key(after + 1)); k != nil && len(events) < readAtOnce; k, v = c.Next() {
			var e replication.Event
			if err := json.Unmarshal(v, &e); err != nil {
				return fmt.Errorf("event %d: %w", binary.BigEndian.Uint64(k), err)
			}
			events, last = append(events, e), binary.BigEndian.Uint64(k)
		}
		return nil
	})
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) { // closed meanwhile
		return nil, 0, nil
	}
	return events, last, err
}

// Close writes what is queued and closes the file. Later events are not taken.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	l.wakeLocked()
	l.mu.Unlock()
	<-l.done
	return l.db.Close()
}
