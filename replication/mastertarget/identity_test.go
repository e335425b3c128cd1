package mastertarget

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"failback/replication"
)

// TestStrangersWritesAreFound has something else write a target while the master target is down: by content id for a VMDK, by fingerprint for a raw file
// and for a data file that was written past its descriptor.
func TestStrangersWritesAreFound(t *testing.T) {
	for name, write := range map[string]func(p *pair) error{
		"VMDK": func(p *pair) error { // as any program of VMware's would: another content id
			b, err := os.ReadFile(p.dst(0))
			if err != nil {
				return err
			}
			at := indexAfter(b, "CID=")
			copy(b[at:], "12345678")
			return os.WriteFile(p.dst(0), b, 0o600)
		},
		"DataFile": func(p *pair) error { return overwrite(strings.TrimSuffix(p.dst(0), ".vmdk") + "-flat.vmdk") },
		"Raw":      func(p *pair) error { return overwrite(p.dst(1)) },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, 5)
			ctx := context.Background()
			if _, _, err := p.master.Reprotect(ctx, p.plan); err != nil {
				t.Fatal(err)
			}
			p.listed(1)
			p.close()
			p.open() // nobody wrote: it goes on
			g, err := p.master.group("g")
			if err != nil {
				t.Fatal(err)
			}
			<-g.ready
			if look := g.journal.Fingerprints(); len(look) > 0 {
				t.Errorf("a session is open, and after a crash its own writes would be held against %q", look)
			}
			p.close()
			if err := write(p); err != nil {
				t.Fatal(err)
			}
			p.open()
			defer p.close()
			var problem *replication.Problem
			err = p.master.wait(ctx, func() bool {
				s, err := p.master.Status(ctx, "g")
				if err != nil {
					return true
				}
				problem = s.Groups[0].Problem
				return problem != nil || s.Groups[0].State == replication.StateProtected
			})
			if err != nil || problem == nil || problem.Code != "target-changed" {
				t.Errorf("got problem %+v, error %v; want target-changed", problem, err)
			}
		})
	}
}

// overwrite writes into a file as dd would.
func overwrite(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte("mine now"), 1024)
	return errors.Join(err, f.Close())
}

func indexAfter(b []byte, key string) int {
	for i := range b {
		if i+len(key) <= len(b) && string(b[i:i+len(key)]) == key {
			return i + len(key)
		}
	}
	return -1
}
