package endtoend

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"failback/bench/stand"
)

// attempt runs a process server until its log has all the words, and ends it.
func (w *world) attempt(words []string, args ...string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patient)
	defer cancel()
	said := &lockedBuffer{}
	cmd := exec.CommandContext(ctx, binaries.Path("process-server"), args...)
	cmd.Stderr = said
	w.must(cmd.Start())
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
	}()
	w.waitFor(ctx, words, said.String)
}

// waitFor waits until a text has all the words.
func (w *world) waitFor(ctx context.Context, words []string, text func() string) {
	w.t.Helper()
	for {
		missing := ""
		for _, word := range words {
			if !strings.Contains(text(), word) {
				missing = word
			}
		}
		if missing == "" {
			return
		}
		select {
		case <-ctx.Done():
			w.t.Fatalf("want %q in: %s", missing, text())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (w *world) masterTargetSaid() string {
	b, _ := os.ReadFile(w.MasterTarget.Log)
	return string(b)
}

// TestStrangersAreRefused dials with certificates of another authority and of another role. Both sides say which it is; the group is not disturbed.
func TestStrangersAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stand.Options{}, threeDisks()[0])
	w.protect()
	others := filepath.Join(w.Dir, "others")
	w.must(w.Do(w.ctx, nil, "pki", "init", others))
	state := filepath.Join(w.Dir, "stranger")

	w.attempt([]string{"another authority", "failback pki init"}, "--name", "ps1", "--state", state, "--master-target", w.Listen, "--pki", others)

	// A process server that trusts us, with a certificate that we don't: we say why.
	mixed := filepath.Join(w.Dir, "mixed")
	w.must(os.Mkdir(mixed, 0o700))
	for _, f := range [][2]string{{others, "process-server.crt"}, {others, "process-server.key"}, {w.PKI, "ca.crt"}} {
		w.must(exec.Command("cp", filepath.Join(f[0], f[1]), mixed).Run())
	}
	w.attempt([]string{"process-server.crt"}, "--name", "ps1", "--state", state, "--master-target", w.Listen, "--pki", mixed)

	// An operator at the process servers' door, and with a process server's key at its own.
	p := w.refused(1, []string{"operator", "process-server"}, "--operator", w.Listen, "--pki", w.PKI, "status")
	if p.Code == "" {
		t.Error("no code")
	}
	disguised := filepath.Join(w.Dir, "disguised")
	w.must(os.Mkdir(disguised, 0o700))
	for from, to := range map[string]string{"ca.crt": "ca.crt", "operator.crt": "process-server.crt", "operator.key": "process-server.key"} {
		w.must(exec.Command("cp", filepath.Join(w.PKI, from), filepath.Join(disguised, to)).Run())
	}
	w.attempt([]string{"operator", "process-server"}, "--name", "ps1", "--state", state, "--master-target", w.Listen, "--pki", disguised)

	w.cut()
	w.shows(2)
}

// TestSecondDaemonIsRefused starts each daemon again beside itself, with the same directories.
func TestSecondDaemonIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stand.Options{}, threeDisks()[0])
	w.protect()
	w.attempt([]string{w.PSState, "in use"}, "--name", "ps1", "--state", w.PSState, "--master-target", w.Listen, "--pki", w.PKI)
	for _, c := range []struct{ state, want string }{{w.State, w.State}} {
		cmd := exec.CommandContext(w.ctx, binaries.Path("master-target"), "--state", c.state, "--retention", w.Retention, "--allow-shared-volume", "--listen", "127.0.0.1:0",
			"--operator", "unix:"+filepath.Join(w.Dir, "second.sock"), "--pki", w.PKI)
		var said bytes.Buffer
		cmd.Stderr = &said
		if err := cmd.Run(); err == nil || !strings.Contains(said.String(), c.want) || !strings.Contains(said.String(), "What to do: ") {
			t.Errorf("a second master target: %v: %s", err, said.String())
		}
	}
	w.cut()
	w.shows(2)
}

// TestOtherProtocolIsRefused says hello with another major version.
func TestOtherProtocolIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stand.Options{}, threeDisks()[0])
	w.protect()
	err := hello(w.ctx, w.Listen, w.PKI, "ps1", 7)
	if err == nil {
		t.Fatal("a process server of protocol 7 was let in")
	}
	for _, word := range []string{"ps1", "protocol 7", "1."} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("got %v, want %q in it", err, word)
		}
	}
	w.waitFor(w.ctx, []string{"process server refused", "protocol 7"}, w.masterTargetSaid)
	w.cut()
	w.shows(2)
}
