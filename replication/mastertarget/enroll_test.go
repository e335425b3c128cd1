package mastertarget

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"failback/replication"
	"failback/replication/link"
	"failback/replication/preflight"
)

// gate is an engine without groups, that can be opened again.
func gate(t *testing.T, dir string, log *bytes.Buffer) *Engine {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, "ret"), 0o700); err != nil {
		t.Fatal(err)
	}
	e, err := Open(Config{State: filepath.Join(dir, "mt"), Retention: filepath.Join(dir, "ret"), AllowSharedVolume: true, Log: slog.New(slog.NewTextHandler(log, nil)),
		Pin: func() ([32]byte, error) { return [32]byte{7}, nil }})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func key(n int) string { return fmt.Sprintf("%032x", n) }

func wantCode(t *testing.T, what string, err error, code string, words ...string) {
	t.Helper()
	var p *replication.Problem
	if !errors.As(err, &p) || p.Code != code || p.Remedy == "" {
		t.Errorf("%s: got %v, want %s and a remedy", what, err, code)
		return
	}
	for _, w := range words {
		if !strings.Contains(p.Error()+p.Remedy, w) {
			t.Errorf("%s: %q is not in %q, %q", what, w, p.Error(), p.Remedy)
		}
	}
}

// leaver is a process server that notes that it was sent away.
type leaver struct {
	link.Worker
	left chan error
}

func (l leaver) Leave(err error) { l.left <- err }

// TestDisplacedIsTold connects one process server twice, as one whose machine was copied does: the first is told, so that it dials again, and has its place when the second has gone. A connection that ends
// after another has come is not the process server's going.
func TestDisplacedIsTold(t *testing.T) {
	var log bytes.Buffer
	e := gate(t, t.TempDir(), &log)
	defer e.Close()
	connect := func(w leaver) func() {
		bye, err := e.Connected(link.Peer{Name: "ps1", Minor: link.ProtocolMinor, Home: "h", Key: key(1)}, w)
		if err != nil {
			t.Fatal(err)
		}
		return bye
	}
	first, second := leaver{left: make(chan error, 1)}, leaver{left: make(chan error, 1)}
	byeFirst := connect(first)
	byeSecond := connect(second)
	select {
	case err := <-first.left:
		wantCode(t, "displaced", err, CodeNameInUse, "ps1", "copied")
	default:
		t.Error("the first waits for orders that nobody gives it")
	}
	byeFirst()
	if w := e.worker("ps1"); w == nil || w.Worker != link.Worker(second) {
		t.Error("the second is not given orders")
	}
	if strings.Contains(log.String(), "process server gone") {
		t.Errorf("said %s", log.String())
	}
	byeSecond()
	if e.worker("ps1") != nil || len(second.left) > 0 {
		t.Error("the second has gone")
	}
}

func TestNamesAreBoundToKeys(t *testing.T) {
	dir := t.TempDir()
	e := gate(t, dir, &bytes.Buffer{})
	first := leaver{left: make(chan error, 1)}
	bye, err := e.Connected(link.Peer{Name: "ps1", Minor: link.ProtocolMinor, Home: "h", Key: key(1)}, first)
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.Connected(link.Peer{Name: "ps1", Minor: link.ProtocolMinor, Home: "h", Key: key(2)}, leaver{})
	wantCode(t, "another key", err, CodeNameBound, key(1), key(2), "failback rebind ps1 "+key(2))
	other, err := e.Connected(link.Peer{Name: "ps2", Minor: link.ProtocolMinor, Home: "h2", Key: key(1)}, leaver{}) // one key, two names
	if err != nil {
		t.Error(err)
	}
	other()
	bye()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}

	e = gate(t, dir, &bytes.Buffer{}) // another master target's life: the names stay
	_, err = e.Connected(link.Peer{Name: "ps1", Minor: link.ProtocolMinor, Key: key(2)}, leaver{})
	wantCode(t, "after a restart", err, CodeNameBound)
	bye, err = e.Connected(link.Peer{Name: "ps1", Minor: link.ProtocolMinor, Key: key(1)}, first)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range [][2]string{{"ps1", "short"}, {"../x", key(3)}, {"ps1", strings.ToUpper(strings.Repeat("ab", 16))}} {
		_, err := e.Rebind(context.Background(), x[0], x[1])
		wantCode(t, fmt.Sprint(x), err, "name")
	}
	if was, err := e.Rebind(context.Background(), "ps1", key(2)); err != nil || was != key(1) {
		t.Fatalf("rebind: got %s, %v", was, err)
	}
	wantCode(t, "sent away", <-first.left, CodeNameBound)
	if e.worker("ps1") != nil {
		t.Error("the one who lost the name is still given orders")
	}
	bye()
	_, err = e.Connected(link.Peer{Name: "ps1", Minor: link.ProtocolMinor, Key: key(1)}, leaver{})
	wantCode(t, "the old key", err, CodeNameBound)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = gate(t, dir, &bytes.Buffer{})
	defer e.Close()
	if bye, err = e.Connected(link.Peer{Name: "ps1", Minor: link.ProtocolMinor, Key: key(2)}, leaver{}); err != nil {
		t.Error(err)
	} else {
		bye()
	}
}

// TestCallsOfAnotherProcessServerAreRefused makes each call about a group with the right session, and the key of another process server.
func TestCallsOfAnotherProcessServerAreRefused(t *testing.T) {
	e, p := stage(t)
	if err := e.bind(link.Peer{Name: "ps", Minor: link.ProtocolMinor, Key: key(1)}); err != nil {
		t.Fatal(err)
	}
	s := <-p.ships
	f := link.Fence{Session: s.Session, Point: s.Point}
	calls := map[string]func(context.Context) error{
		"Coverage": func(ctx context.Context) error {
			return e.Coverage(ctx, f, func(replication.DiskNo, []replication.Extent) error { return nil })
		},
		"Compare": func(ctx context.Context) error {
			c, err := e.Compare(ctx, f, 0, nil)
			if err == nil {
				c.Close()
			}
			return err
		},
		"Pages": func(ctx context.Context) error { _, err := e.Pages(ctx, f, 0, 0); return err },
		"Lane": func(ctx context.Context) error {
			l, err := e.Lane(ctx, laneOf(s, 1))
			if err == nil {
				l.Close()
			}
			return err
		},
		"Finish": func(ctx context.Context) error { _, err := e.Finish(ctx, f, nil); return err },
	}
	for name, call := range calls {
		wantCode(t, name, call(link.WithCaller(context.Background(), key(2))), CodeNotYours, key(2), "ps")
		if err := call(link.WithCaller(context.Background(), key(1))); err != nil && replication.AsProblem(err).Code == CodeNotYours {
			t.Errorf("%s by its own process server: %v", name, err)
		}
	}
	s.done <- errors.New("enough")
}

func TestTokens(t *testing.T) {
	dir := t.TempDir()
	var log bytes.Buffer
	e := gate(t, dir, &log)
	again := func() {
		t.Helper()
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		e = gate(t, dir, &log)
	}
	mint := func(name string, replace bool) link.Token {
		t.Helper()
		token, until, err := e.Token(context.Background(), name, 0, replace)
		if err != nil {
			t.Fatal(err)
		}
		if left := time.Until(until); left < 59*time.Minute || left > time.Hour || token.Pin != [32]byte{7} {
			t.Errorf("a token for %v, pin %x", left, token.Pin)
		}
		return token
	}
	token := mint("ps1", false)
	again() // it outlives a restart
	if name, err := e.Redeem(token, key(1)); err != nil || name != "ps1" {
		t.Fatalf("got %q, %v", name, err)
	}
	again() // so does its end
	_, err := e.Redeem(token, key(2))
	wantCode(t, "used by another key", err, CodeToken)
	if name, err := e.Redeem(token, key(1)); err != nil || name != "ps1" {
		t.Errorf("the answer was lost, and asked for again: got %q, %v", name, err)
	}
	_, err = e.Connected(link.Peer{Name: "ps1", Minor: link.ProtocolMinor, Key: key(2)}, leaver{})
	wantCode(t, "the name of one that enrolled", err, CodeNameBound)
	_, _, err = e.Token(context.Background(), "ps1", 0, false)
	wantCode(t, "a token for a bound name", err, CodeNameBound, "--replace")
	if name, err := e.Redeem(mint("ps1", true), key(3)); err != nil || name != "ps1" || e.keyOf("ps1") != key(3) {
		t.Errorf("replace: got %q, %v", name, err)
	}

	// The name came to another between making and using the token.
	token = mint("ps2", false)
	if err := e.bind(link.Peer{Name: "ps2", Minor: link.ProtocolMinor, Key: key(5)}); err != nil {
		t.Fatal(err)
	}
	_, err = e.Redeem(token, key(6))
	wantCode(t, "bound meanwhile", err, CodeNameBound)

	// Wrong secrets void a token, whoever tries them, over restarts.
	token = mint("ps3", false)
	wrong := token
	for i := range maxWrong {
		wrong.Secret[0]++
		_, err = e.Redeem(wrong, key(7))
		wantCode(t, fmt.Sprint("guess ", i), err, CodeToken)
		again()
	}
	_, err = e.Redeem(token, key(7))
	wantCode(t, "a void token", err, CodeToken)
	_, unknown := e.Redeem(link.Token{ID: "0000000000000000"}, key(7))
	if err.Error() != unknown.Error() {
		t.Errorf("who guesses learns which tokens there are: %v, %v", err, unknown)
	}

	// Too old.
	token = mint("ps4", false)
	err = e.access(func(tx *bbolt.Tx) (map[string]binding, error) {
		b := bytes.ReplaceAll(tx.Bucket(bucketTokens).Get([]byte(token.ID)), []byte(time.Now().UTC().Format("2006-")), []byte("2001-"))
		return nil, tx.Bucket(bucketTokens).Put([]byte(token.ID), b)
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.Redeem(token, key(8))
	wantCode(t, "expired", err, CodeToken)
	kept := mint("ps7", false)
	for _, life := range []time.Duration{time.Second, -time.Hour, 25 * time.Hour} {
		_, _, err := e.Token(context.Background(), "ps5", life, false)
		wantCode(t, fmt.Sprint(life), err, "token")
	}
	for i := 0; err == nil || i < maxTokens; i++ {
		if _, _, err = e.Token(context.Background(), "ps6", 0, false); err != nil {
			break
		}
		if i > maxTokens {
			t.Fatal("tokens without bound")
		}
		if i == 2 { // a thousand times a disk's sync is long
			if err := fillTokens(e); err != nil {
				t.Fatal(err)
			}
		}
	}
	wantCode(t, "too many", err, "token", "waiting to be used")
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}

	// No secret is in the log or in the state.
	state, err := os.ReadFile(filepath.Join(dir, "mt", "catalogue.db"))
	if err != nil {
		t.Fatal(err)
	}
	for _, where := range [][]byte{state, log.Bytes()} {
		if bytes.Contains(where, kept.Secret[:]) || bytes.Contains(where, fmt.Appendf(nil, "%x", kept.Secret[:])) {
			t.Error("a token's secret is in the log or in the catalogue")
		}
		if !bytes.Contains(where, []byte(kept.ID)) {
			t.Error("the test looks in the wrong place")
		}
	}
}

func fillTokens(e *Engine) error {
	return e.access(func(tx *bbolt.Tx) (map[string]binding, error) {
		for i := range maxTokens {
			if err := putJSON(tx, bucketTokens, fmt.Sprint("filler", i), tokenRecord{Until: time.Now().Add(time.Hour)}); err != nil {
				return nil, err
			}
		}
		return nil, nil
	})
}

// TestCheckFindsAMasterTargetThatIsNewer: in the product we replace, reprotect succeeds then and replication fails.
func TestCheckFindsAMasterTargetThatIsNewer(t *testing.T) {
	e, p := stage(t)
	e.cfg.Version = "v9.5.0"
	plan := fmt.Sprintf("group: %%s\nos: linux\nprocess_server: %%s\nmachines: [{name: m, disks: [{id: a, source: 'image:/a', target: %s/x.raw}]}]\n", filepath.Join(e.cfg.Retention, "..", "ds"))
	for version, want := range map[string]bool{"v9.4.2": true, "v9.5.1": false, "v9.6.0": false} {
		bye, err := e.Connected(link.Peer{Name: "ps" + version, Minor: link.ProtocolMinor, Version: version}, p)
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Appendf(nil, plan, "other", "ps"+version)
		checked, err := e.Check(context.Background(), text, replication.PathAsk{})
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(checked.Findings, func(f replication.Finding) bool { return f.Code == preflight.CodeNewer })
		if (i >= 0) != want || want && (checked.Findings[i].Severity != replication.Error || !strings.Contains(checked.Findings[i].Message, "v9.5.0") || !strings.Contains(checked.Findings[i].Message, version)) {
			t.Errorf("process server %s: got %+v", version, checked.Findings)
		}
		if want {
			if _, _, err := e.Reprotect(context.Background(), text); err == nil {
				t.Error("reprotect did not care")
			}
		}
		bye()
	}
}
