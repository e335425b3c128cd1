package mastertarget

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"failback/blockio"
	"failback/replication"
	"failback/replication/link"
)

func TestAnotherProcessServerOfTheSameNameIsRefused(t *testing.T) {
	e, err := Open(Config{State: t.TempDir(), Retention: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	connect := func(home string) (func(), error) { return e.Connected(link.Peer{Name: "ps", Home: home}, &puppet{}) }
	first, err := connect("one")
	if err != nil {
		t.Fatal(err)
	}
	var p *replication.Problem
	if _, err := connect("two"); !errors.As(err, &p) || p.Code != "name-in-use" || p.Remedy == "" {
		t.Errorf("another one got %v", err)
	}
	if e.worker("ps") == nil {
		t.Error("the first is away")
	}
	again, err := connect("one") // it lost its connection, and this side did not see it
	if err != nil {
		t.Fatal(err)
	}
	first()
	if e.worker("ps") == nil {
		t.Error("the end of a connection ended the next one")
	}
	again()
	other, err := connect("two")
	if err != nil {
		t.Fatalf("when the first is gone: %v", err)
	}
	other()
}

// codes returns the codes of the errors and warnings of a check.
func codes(t *testing.T, e *Engine, plan string) string {
	t.Helper()
	_, found, err := e.Check(context.Background(), []byte(plan))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, f := range found {
		if f.Severity != replication.Info && f.Code != "no-snapshot" {
			all = append(all, f.Code)
		}
	}
	return strings.Join(all, " ")
}

func TestCheckOfAProtectedGroupLooksAtItsSourcesToo(t *testing.T) {
	d := newDevice(t)
	g, _ := d.master.group("g")
	plan := string(g.plan.Canonical())
	if got := codes(t, d.master, plan); got != "" {
		t.Errorf("nothing is wrong, got %s", got)
	}
	if err := os.Truncate(d.src, int64(len(d.live))+512); err != nil {
		t.Fatal(err)
	}
	if got := codes(t, d.master, plan); got != "size-differs" {
		t.Errorf("a disk that grew: got %q", got)
	}
	d.write()
	if err := os.Truncate(d.src, int64(len(d.live))); err != nil {
		t.Fatal(err)
	}
	for start := time.Now(); ; { // the group's loop may be about to say that all is well
		g.mu.Lock()
		g.problem = &replication.Problem{Code: "retention-full", Message: "no space", Remedy: "make some"}
		g.mu.Unlock()
		if got := codes(t, d.master, plan); got == "retention-full" {
			break
		} else if time.Since(start) > 10*time.Second {
			t.Fatalf("a group that stands still: got %q", got)
		}
	}
}

func TestCheckTellsWhatATargetsFormatWillBe(t *testing.T) {
	d := newDevice(t)
	plan := func(target, format string) string {
		return fmt.Sprintf("group: h\nos: linux\nprocess_server: ps\nmachines: [{name: m, disks: [{id: d, source: 'image:%s', target: %s, format: %s}]}]\n", d.src, target, format)
	}
	flat := filepath.Join(d.dir, "flat.vmdk")
	if err := blockio.Create(flat, blockio.FormatVMFS, int64(len(d.live))); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		plan(filepath.Join(d.dir, "none"), "device"): "target-missing",
		plan(flat, "monolithicSparse"):               "target-format",
		plan(flat, "vmfs"):                           "",
	} {
		if got := codes(t, d.master, text); got != want {
			t.Errorf("got %q, want %q of\n%s", got, want, text)
		}
	}
}

func TestFullDatastoreIsSaidToBeFull(t *testing.T) {
	if p := replication.AsProblem(targetProblem("/t", fmt.Errorf("write: %w", syscall.ENOSPC))); p.Code != "target-full" || !strings.Contains(p.Remedy, "space") {
		t.Errorf("got %+v", p)
	}
}
