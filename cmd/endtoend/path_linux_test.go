package endtoend

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"failback/bench/stand"
	"failback/bench/vpn"
	"failback/replication"
)

// newWorldOver is newWorld with the process server at the other end of a link.
func newWorldOver(t *testing.T, o vpn.Options, disks ...*disk) (*world, *vpn.VPN) {
	t.Helper()
	if err := vpn.Usable(); err != nil {
		t.Skip(err)
	}
	line := o.Line
	o.Line = vpn.Line{} // setting up is not what is tested
	v, err := vpn.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	w := newWorldAt(t, stand.Options{Far: v.Within()}, func(s *stand.Stand) {
		s.Listen = strings.Replace(s.Listen, "127.0.0.1", v.Near(), 1)
		s.ProcessServer.Metrics = strings.Replace(s.ProcessServer.Metrics, "127.0.0.1", v.Far(), 1)
	}, disks...)
	v.Set(line)
	return w, v
}

// TestPathIsChecked measures a path that is slow and far, and one that lost its way for large packets.
func TestPathIsChecked(t *testing.T) {
	line := vpn.Line{Rate: vpn.Mbit(40), RTT: 30 * time.Millisecond}
	w, v := newWorldOver(t, vpn.Options{Line: line}, &disk{machine: "m", id: "d", format: "raw", size: 8 * mib})
	type document struct {
		OK       bool
		Findings []replication.Finding
		Path     *replication.Path
	}
	check := func(args ...string) (d document) {
		t.Helper()
		args = append([]string{"check", w.plan()}, args...)
		if err := w.Do(w.ctx, &d, args...); err != nil {
			if e, ok := err.(*stand.CommandError); !ok || e.Code != 1 {
				t.Fatal(err)
			} else if err := json.Unmarshal(e.Stdout, &d); err != nil {
				t.Fatal(err)
			}
		}
		return d
	}
	severity := func(d document, code string) replication.Severity {
		for _, f := range d.Findings {
			if f.Code == code {
				return f.Severity
			}
		}
		return ""
	}

	d := check("--path-time", "1s", "--churn", "900MB/s")
	for range 5 { // a machine that is busy with something else for a second measures that
		if p := d.Path; p != nil && p.Up.Rate >= 1e6 && p.Down.Rate >= 1e6 {
			break
		}
		d = check("--path-time", "1s", "--churn", "900MB/s")
	}
	if d.OK || d.Path == nil || severity(d, "churn-exceeds-link") != replication.Error || severity(d, "baseline-time") != replication.Info {
		t.Errorf("got %+v", d)
	} else if p := d.Path; p.RTT < line.RTT || p.Connect < line.RTT || p.Up.Rate < 1e6 || p.Up.Rate > 8e6 || p.Down.Rate < 1e6 || p.Down.Rate > 8e6 || p.Segment < 1000 || p.Segment > 1400 {
		t.Errorf("a path of 40 Mbit/s and %v was measured as %+v", line.RTT, *p) // what a busy machine measures within a second is only about the rate
	}
	if d := check("--path-time", "300ms", "--churn", "1kB/s"); severity(d, "rpo") != replication.Info {
		t.Errorf("got %+v", d)
	}
	if d := check("--path-time", "0"); d.Path != nil || !d.OK {
		t.Errorf("got %+v", d)
	}

	v.Set(vpn.Line{RTT: line.RTT, Blackhole: 1300})
	d = check("--path-time", "1s")
	if d.OK || d.Path == nil || severity(d, "path-mtu") != replication.Error {
		t.Errorf("got %+v", d)
	} else if p := d.Path; p.Vanished <= 1260 || p.Passes != 1200 {
		t.Errorf("packets of more than 1,300 bytes vanish, and that was measured as %+v", *p)
	}
}
