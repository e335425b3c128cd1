package mastertarget

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"testing"

	"failback/replication"
	"failback/replication/link"
)

// known says whether status tells of a process server.
func known(t *testing.T, e *Engine, name string) bool {
	t.Helper()
	s, err := e.Status(context.Background(), "")
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(s.Workers, func(w replication.WorkerStatus) bool { return w.Name == name })
}

func TestServerThatHasGoneIsForgotten(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	e := gate(t, dir, &bytes.Buffer{})
	_, err := e.ForgetServer(ctx, "ps1")
	wantCode(t, "one that never came", err, CodeNoServer)
	connect := func(n int) func() {
		t.Helper()
		bye, err := e.Connected(link.Peer{Name: "ps1", Minor: link.ProtocolMinor, Home: "h", Key: key(n)}, struct{ link.Worker }{})
		if err != nil {
			t.Fatal(err)
		}
		return bye
	}
	bye := connect(1)
	_, err = e.ForgetServer(ctx, "ps1")
	wantCode(t, "one that is there", err, CodeServerIsHere, "ps1", "stop it")
	bye()
	if !known(t, e, "ps1") {
		t.Error("one that has gone is not told of")
	}
	if was, err := e.ForgetServer(ctx, "ps1"); err != nil || was != key(1) {
		t.Errorf("got %s, %v", was, err)
	}
	if known(t, e, "ps1") || e.keyOf("ps1") != "" {
		t.Error("it is not forgotten")
	}
	_, err = e.ForgetServer(ctx, "ps1")
	wantCode(t, "one that is forgotten", err, CodeNoServer)
	connect(2)() // the name is anybody's
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}

	e = gate(t, dir, &bytes.Buffer{}) // and stays so; what a name is bound to is known after a restart, too
	if known(t, e, "ps1") || e.keyOf("ps1") != key(2) {
		t.Errorf("after a restart: known %v, by key %s", known(t, e, "ps1"), e.keyOf("ps1"))
	}
	if was, err := e.ForgetServer(ctx, "ps1"); err != nil || was != key(2) {
		t.Errorf("after a restart: got %s, %v", was, err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = gate(t, dir, &bytes.Buffer{})
	defer e.Close()
	if e.keyOf("ps1") != "" {
		t.Error("the name is bound again after a restart")
	}
	connect(3)()
}

// TestServerThatIsNeededIsNotForgotten: neither while it is connected, nor when it has gone; another, that no group has, is.
func TestServerThatIsNeededIsNotForgotten(t *testing.T) {
	e, _ := stage(t)
	ctx := context.Background()
	_, err := e.ForgetServer(ctx, "ps")
	wantCode(t, "one with a group", err, CodeServerNeeded, "needed by g", "failback move")
	e.worker("ps").leave(errGone)
	_, err = e.ForgetServer(ctx, "ps")
	wantCode(t, "one with a group that has gone", err, CodeServerNeeded)
	bye, err := e.Connected(link.Peer{Name: "ps2", Minor: link.ProtocolMinor, Key: key(2)}, leaver{})
	if err != nil {
		t.Fatal(err)
	}
	bye()
	if _, err := e.ForgetServer(ctx, "ps2"); err != nil {
		t.Error(err)
	}
	if !known(t, e, "ps") || known(t, e, "ps2") {
		t.Error("another one was forgotten")
	}
}

// TestServersComeWhileTheyAreForgotten: one that is let in has its name, whatever was said meanwhile.
func TestServersComeWhileTheyAreForgotten(t *testing.T) {
	e := gate(t, t.TempDir(), &bytes.Buffer{})
	defer e.Close()
	var wg sync.WaitGroup
	over := make(chan struct{})
	wg.Go(func() {
		for {
			select {
			case <-over:
				return
			default:
				_, _ = e.ForgetServer(context.Background(), "ps1")
			}
		}
	})
	for range 50 {
		bye, err := e.Connected(link.Peer{Name: "ps1", Minor: link.ProtocolMinor, Home: "h", Key: key(1)}, struct{ link.Worker }{})
		if err != nil {
			t.Fatal(err)
		}
		if got := e.keyOf("ps1"); got != key(1) || e.worker("ps1") == nil {
			t.Fatalf("it is connected, and the name is %q's", got)
		}
		bye()
	}
	close(over)
	wg.Wait()
}
