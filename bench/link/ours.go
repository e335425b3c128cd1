package link

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"failback/bench/stand"
	"failback/bench/vpn"
	"failback/bench/workload"
	"failback/replication"
	"failback/transport"
)

// patience is how long a scenario waits for a point, besides what the link takes for it.
const patience = 3 * time.Minute

// group is the name of the group, its machine and its disk.
const group = "link"

// pair is both daemons, with the link between them.
type pair struct {
	*stand.Stand
	link   *vpn.VPN
	target string
}

// pair starts both daemons over a link.
func (l *lab) pair(ctx context.Context, line vpn.Line, flags []string) (*pair, error) {
	dir, err := l.scratch()
	if err != nil {
		return nil, err
	}
	start := line // setting up is not what is measured
	start.Stall = vpn.Stall{}
	v, err := l.link(start)
	if err != nil {
		return nil, err
	}
	flags = append(append([]string{}, flags...), l.psFlags...)
	if l.lanes > 0 {
		flags = append(flags, fmt.Sprintf("--lanes=%d", l.lanes))
	}
	s, err := stand.New(dir, stand.Options{Binaries: l.Binaries, Far: v.Within(), ProcessServerFlags: flags, MasterTargetFlags: l.mtFlags})
	if err != nil {
		return nil, errors.Join(err, v.Close())
	}
	p := &pair{Stand: s, link: v, target: filepath.Join(s.Targets, "disk.raw")}
	s.Listen = strings.Replace(s.Listen, "127.0.0.1", v.Near(), 1)
	s.ProcessServer.Metrics = strings.Replace(s.ProcessServer.Metrics, "127.0.0.1", v.Far(), 1)
	if err := s.Start(ctx); err != nil {
		return nil, errors.Join(err, p.close())
	}
	v.Set(line)
	return p, nil
}

func (p *pair) close() error { return errors.Join(p.Close(), p.link.Close()) }

// plan is the plan of the one disk. Its source is kept still. Where views are wanted, they are copies: what was read stays true over a cut then.
func (p *pair) plan(source, changes string, views bool) (string, error) {
	d := stand.Disk{ID: "disk", Source: source, Target: p.target, Format: "raw", Changes: changes}
	if views {
		d.Snapshot, d.Release = `v="$FAILBACK_SOURCE.$FAILBACK_POINT" && cp --sparse=always "$FAILBACK_SOURCE" "$v" && echo "$v"`, `rm -f "$FAILBACK_VIEW"`
	}
	return p.WritePlan(stand.Plan{Group: group, Machines: []stand.Machine{{Name: group, Disks: []stand.Disk{d}}}})
}

// listed waits until a point is listed. A group that stops is an error.
func (p *pair) listed(ctx context.Context, point replication.PointID) error {
	return p.listedWithin(ctx, point, patience)
}

func (p *pair) listedWithin(ctx context.Context, point replication.PointID, while time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, while)
	defer cancel()
	g, err := p.Wait(ctx, group, fmt.Sprintf("point %d is listed", point), func(g replication.GroupStatus) bool {
		return g.Last >= point || g.State == replication.StateError || g.Problem != nil && g.Problem.Code != transport.CodeUnreachable
	})
	if err == nil && g.Last < point {
		err = fmt.Errorf("group %s stopped: %w", group, g.Problem)
	}
	return err
}

func (p *pair) cpu() time.Duration {
	return p.MasterTarget.Usage().CPU() + p.ProcessServer.Usage().CPU()
}

// ours copies a disk into a new one: from the plan being sent until the first point is listed.
func (l *lab) ours(ctx context.Context, j job) (s sample, err error) {
	p, err := l.pair(ctx, j.line, j.flags)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	plan, err := p.plan(j.source, "", j.views)
	if err != nil {
		return s, err
	}
	cpu, t, begin := p.cpu(), follow(p.link), time.Now()
	if err := p.Do(ctx, nil, "reprotect", plan); err != nil {
		return s, err
	}
	beside, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, 1)
	go func() {
		if j.during == nil {
			failed <- nil
			return
		}
		failed <- j.during(beside, p.link, p)
	}()
	within := patience
	if j.line.Rate > 0 {
		within += 4 * time.Duration(float64(j.bytes)/float64(j.line.Rate)*float64(time.Second))
	}
	err = p.listedWithin(ctx, 1, within)
	took := time.Since(begin)
	cancel()
	if err := errors.Join(err, <-failed); err != nil {
		return s, err
	}
	s = t.end(j.bytes)
	s.Seconds, s.CPU = took.Seconds(), (p.cpu() - cpu).Seconds()
	return s, workload.Compare(j.source, p.target)
}
