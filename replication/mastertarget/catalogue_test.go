package mastertarget

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"failback/replication"
	"failback/replication/bolttest"
)

// TestCatalogueUnderCrash leads a group through its life, and looks at what a crash at any write of the catalogue leaves: one that opens, and holds all of a change, or nothing of it.
func TestCatalogueUnderCrash(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var files [][]byte // as each change found it
	var p *pair
	path := ""
	take := func() {
		mu.Lock()
		defer mu.Unlock()
		b, err := os.ReadFile(path)
		if err != nil {
			panic(err)
		}
		if n := len(files); n == 0 || !bytes.Equal(files[n-1], b) {
			files = append(files, b)
		}
	}
	p = newPair(t, 5)
	p.close()
	path = filepath.Join(p.dir, "mt", catalogueName)
	p.config.changing = func() error { take(); return nil }
	p.open()
	ctx := context.Background()
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	said := func(replication.MoveStatus) {}
	p.protected(3)
	_, err := p.master.Move(ctx, "g", replication.MoveRequest{To: 1}, said)
	must("rewind", err)
	p.commit(replication.CommitRequest{})
	p.undo()
	_, err = p.master.Move(ctx, "g", replication.MoveRequest{Advance: true}, said)
	must("advance", err)
	limit := "100MB/s"
	_, err = p.master.Throttle(ctx, replication.ThrottleChange{Schedule: &limit})
	must("throttle", err)
	p.plan = append([]byte("priority: 30\n"), p.plan...)
	_, err = p.master.Apply(ctx, replication.ApplyRequest{Plan: p.plan})
	must("apply", err)
	_, err = p.master.Resync(ctx, replication.ResyncRequest{Group: "g"})
	must("resync", err)
	p.listed(5)
	p.close()
	take()
	files = append(files, nil) // to open it is a change, which is not seen
	p.foreign(p.dst(1))
	p.open()
	o := p.asked()
	_, err = p.master.Resync(ctx, replication.ResyncRequest{Group: "g", Overwrite: true, Seen: o.Seen})
	must("resync with consent", err)
	p.listed(1)
	p.commit(replication.CommitRequest{})
	_, err = p.master.FinishCutover(ctx, "g")
	must("finish", err)
	p.listedAnew()
	_, _, err = p.master.Unprotect(ctx, "g", false, false)
	must("unprotect", err)
	p.close()
	take()

	dir := t.TempDir()
	changes, images := 0, 0
	for i := range len(files) - 1 {
		if files[i] == nil || files[i+1] == nil {
			continue
		}
		all := bolttest.Crashes(t, files[i], files[i+1])
		if all == nil {
			continue
		}
		was, err := recordsOf(dir, files[i], true)
		must("before", err)
		is, err := recordsOf(dir, files[i+1], true)
		must("after", err)
		if was != is {
			changes++
		}
		for n, x := range all {
			images++
			want := was
			if x.New {
				want = is
			}
			got, err := recordsOf(dir, x.File, n%8 != 7)
			if err != nil {
				t.Fatalf("change %d, %s: %v", i, x.Name, err)
			}
			if got != want {
				t.Fatalf("change %d, %s: the catalogue is neither as before nor as after: got\n%s\nwant\n%s", i, x.Name, got, want)
			}
		}
	}
	t.Logf("%d changes, %d crashes", changes, images)
	if changes < 15 || images < 15*changes {
		t.Errorf("%d changes and %d crashes: a life has more", changes, images)
	}
}

// listedAnew protects the group again, whose disks are its machine's.
func (p *pair) listedAnew() {
	p.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		_, _, err := p.master.Reprotect(context.Background(), p.plan)
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			p.t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	p.listed(1)
}

// recordsOf returns what a catalogue's file holds. Unless readOnly, it is opened as at a start, changed, and checked by bbolt too.
func recordsOf(dir string, file []byte, readOnly bool) (string, error) {
	path := filepath.Join(dir, "c.db")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		return "", err
	}
	c, err := openCatalogueFile(path, readOnly)
	if err != nil {
		return "", err
	}
	var said strings.Builder
	err = c.db.View(func(tx *bbolt.Tx) error { return saidOf(tx, &said) })
	if err == nil && !readOnly {
		err = c.put(bucketPaces, "probe", paceRecord{})
		err = errors.Join(err, c.db.View(func(tx *bbolt.Tx) error {
			var all []error
			for e := range tx.Check() {
				all = append(all, e)
			}
			return errors.Join(all...)
		}))
	}
	return said.String(), errors.Join(err, c.close())
}

func saidOf(tx *bbolt.Tx, w io.Writer) error {
	return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
		return b.ForEach(func(k, v []byte) error { _, err := fmt.Fprintf(w, "%s %s %s\n", name, k, v); return err })
	})
}
