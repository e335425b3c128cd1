package mastertarget

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"failback/replication"
)

// TestForecastComesTrue commits a group whose disk changes at a steady rate, over a link with a rate, and holds the time that the machine was down against the forecast of just before.
func TestForecastComesTrue(t *testing.T) {
	t.Parallel()
	const (
		size  = 8 << 20
		churn = 128 << 10 // bytes a second
		pace  = 512 << 10
		write = 16 << 10 // at a time
	)
	p := newPair(t, 91)
	ctx := context.Background()
	told := filepath.Join(p.dir, "told")
	if err := os.WriteFile(p.src(0), make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	p.plan = fmt.Appendf(nil, `group: g
os: linux
process_server: ps
policy: {crash_interval: 1h, app_interval: 1h, rpo_alert: 2h}
machines:
  - name: a
    disks:
      - id: one
        source: image:%[1]s
        target: %[2]s
        snapshot: sleep 1; mv %[3]s %[3]s.$1 2>/dev/null; cp --sparse=always %[1]s %[3]s.view.$1 && echo %[3]s.view.$1
        release: rm -f $2
        changes: cat %[3]s.$2
`, p.src(0), p.dst(0), told)
	if _, _, err := p.master.Reprotect(ctx, p.plan); err != nil {
		t.Fatal(err)
	}
	p.listed(1)
	_, err := p.master.Forecast(ctx, "g", replication.CommitRequest{})
	isProblem(t, "before a cycle was measured", err, replication.CodeNoForecast)

	p.link.pace = pace
	stop, stopped := make(chan struct{}), make(chan error)
	defer close(stop)
	go func() { stopped <- p.writesSteadily(stop, told, size, write, time.Second*write/churn) }()
	r := replication.CommitRequest{Stop: "true"}
	const tries = 5 // a machine that has other things to do for a moment is nobody's forecast
	for try := 1; ; try++ {
		for range 3 {
			id, err := p.master.Cut(ctx, "g", false)
			if err != nil {
				t.Fatal(err)
			}
			p.listed(id)
		}
		f, err := p.master.Forecast(ctx, "g", r)
		if err != nil {
			t.Fatal(err)
		}
		var down time.Duration
		at, err := p.master.Commit(ctx, "g", r, func(s replication.CutoverStatus) { down = s.Down })
		if err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-stopped:
			t.Fatalf("the machine stopped writing: %v", err)
		default:
		}
		if at != f.Point {
			t.Errorf("committed at point %d, forecast %d", at, f.Point)
		}
		t.Logf("down %v, forecast %v; %.0f bytes a second change", down, f.Down, f.Churn)
		if (down - f.Down).Abs() <= down/4 {
			break
		}
		if try == tries {
			t.Fatalf("the machine was down for %v, forecast %v: %+v", down, f.Down, f)
		}
		if _, err := p.master.Undo(ctx, "g", false, silent); err != nil {
			t.Fatal(err)
		}
	}
	p.close()
}

// writesSteadily overwrites the first source, n bytes at a time, and notes what it overwrote for a changes command.
func (p *pair) writesSteadily(stop chan struct{}, told string, size, n int64, every time.Duration) error {
	f, err := os.OpenFile(p.src(0), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, n)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for at := int64(0); ; at = (at + n) % size {
		select {
		case <-stop:
			return nil
		case <-tick.C:
		}
		for i := range b {
			b[i]++
		}
		log, err := os.OpenFile(told, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		fmt.Fprintf(log, "%d %d\n", at, n)
		log.Close()
		if _, err := f.WriteAt(b, at); err != nil {
			return err
		}
	}
}
