package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"failback/replication"
)

// more are the metrics of how well things are: alerts, backlogs, bottlenecks, space, process servers, events; by name without the prefix failback_.
type more map[string]*prometheus.Desc

func newMore() more {
	m := more{}
	for _, d := range []struct {
		name, help string
		labels     []string
	}{
		{"mastertarget_alert", "1 for each alert that stands.", []string{"rule", "code", "group", "subject", "level"}},
		{"mastertarget_group_health", "The worst alert of the group or its process server: 0 healthy, 1 warning, 2 critical.", []string{"group"}},
		{"mastertarget_group_bottleneck", "1 for the stage that binds the work under way.", []string{"group", "stage"}},
		{"mastertarget_group_behind_points", "Listed points that the disks are behind the last one.", []string{"group"}},
		{"mastertarget_group_catch_up_seconds", "How long it would take to bring the disks to the last point, estimated.", []string{"group"}},
		{"mastertarget_group_points", "Points that are listed.", []string{"group"}},
		{"mastertarget_group_moving", "1 while the disks move.", []string{"group"}},
		{"mastertarget_group_drills", "Drills under way.", []string{"group"}},
		{"mastertarget_disk_backlog_bytes", "What of a disk is on its way, by where it is: source, process_server or master_target.", []string{"group", "disk", "at"}},
		{"mastertarget_disk_stage_share", "How long a stage of the work on a disk was busy lately, or waited for, 0 to 1.", []string{"group", "disk", "stage"}},
		{"mastertarget_disk_rate", "Bytes a second of a disk that were looked at lately.", []string{"group", "disk"}},
		{"mastertarget_throttle_limit_bytes", "Bytes a second on the wire that all groups together may have now; 0: no limit.", nil},
		{"mastertarget_process_server_health", "The worst alert of the process server: 0 healthy, 1 warning, 2 critical.", []string{"name"}},
		{"mastertarget_process_server_cpu_share", "Share of the cores of the process server's machine that was busy, as it told last.", []string{"name"}},
		{"mastertarget_process_server_memory_share", "Share of the memory of the process server's machine that is not available, as it told last.", []string{"name"}},
		{"mastertarget_process_server_state_free_bytes", "Free on the volume of the process server's state, as it told last.", []string{"name"}},
		{"mastertarget_process_server_state_total_bytes", "Size of the volume of the process server's state, as it told last.", []string{"name"}},
		{"mastertarget_process_server_clock_skew_seconds", "The process server's clock less ours.", []string{"name"}},
		{"mastertarget_events_lost_total", "Events that could not be written.", nil},
		{"mastertarget_webhook_posted_total", "Alerts that the webhook took.", nil},
		{"mastertarget_webhook_failed_total", "Attempts to post an alert that failed.", nil},
		{"mastertarget_webhook_passed_total", "Alerts that could not be posted for a day, and were passed over.", nil},
		{"retention_used_bytes", "Taken by the group's journal.", []string{"group"}},
		{"retention_dead_bytes", "Of that, needed by no point.", []string{"group"}},
		{"retention_spare_bytes", "Of that, copies of what the disks hold.", []string{"group"}},
		{"retention_limit_bytes", "What the group's journal may take.", []string{"group"}},
		{"retention_free_bytes", "Free on the retention volume.", []string{"group"}},
		{"retention_total_bytes", "Size of the retention volume.", []string{"group"}},
		{"retention_covers_seconds", "Age of the oldest point.", []string{"group"}},
		{"retention_full_timestamp", "When the limit is reached at the present churn, in seconds since 1970; 0: it is not.", []string{"group"}},
	} {
		m[d.name] = prometheus.NewDesc("failback_"+d.name, d.help, d.labels, nil)
	}
	return m
}

func (c *collector) collectMore(ch chan<- prometheus.Metric, s replication.Status) {
	tell := func(kind prometheus.ValueType, name string, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(c.more[name], kind, v, labels...)
	}
	gauge := func(name string, v float64, labels ...string) { tell(prometheus.GaugeValue, name, v, labels...) }
	for _, a := range c.engine.Alerts() {
		gauge("mastertarget_alert", 1, a.Rule, a.Code, string(a.Group), a.Subject, string(a.Level))
	}
	tell(prometheus.CounterValue, "mastertarget_events_lost_total", float64(c.engine.EventsLost()))
	if h := c.hook; h != nil {
		tell(prometheus.CounterValue, "mastertarget_webhook_posted_total", float64(h.posted.Load()))
		tell(prometheus.CounterValue, "mastertarget_webhook_failed_total", float64(h.failed.Load()))
		tell(prometheus.CounterValue, "mastertarget_webhook_passed_total", float64(h.passed.Load()))
	}
	gauge("mastertarget_throttle_limit_bytes", float64(c.engine.Throttled().Limit))
	for _, w := range s.Workers {
		gauge("mastertarget_process_server_health", float64(w.Health.Rank()), w.Name)
		if !w.NoClock {
			gauge("mastertarget_process_server_clock_skew_seconds", w.ClockSkew.Seconds(), w.Name)
		}
		if f := w.Figures; f != nil {
			if f.CPU >= 0 {
				gauge("mastertarget_process_server_cpu_share", f.CPU, w.Name)
			}
			if f.Memory >= 0 {
				gauge("mastertarget_process_server_memory_share", f.Memory, w.Name)
			}
			if f.StateTotal > 0 {
				gauge("mastertarget_process_server_state_free_bytes", float64(f.StateFree), w.Name)
				gauge("mastertarget_process_server_state_total_bytes", float64(f.StateTotal), w.Name)
			}
		}
	}
	for _, g := range s.Groups {
		id := string(g.Group)
		gauge("mastertarget_group_health", float64(g.Health.Rank()), id)
		if g.Bottleneck != "" {
			gauge("mastertarget_group_bottleneck", 1, id, g.Bottleneck)
		}
		gauge("mastertarget_group_behind_points", float64(g.Behind), id)
		gauge("mastertarget_group_catch_up_seconds", g.CatchUp.Seconds(), id)
		gauge("mastertarget_group_moving", truth(g.Move != nil), id)
		gauge("mastertarget_group_drills", float64(len(g.Drills)), id)
		if p := g.Space; p != nil {
			full := 0.0
			if !p.Full.IsZero() {
				full = float64(p.Full.Unix())
			}
			for name, v := range map[string]float64{
				"used_bytes": float64(p.Used), "dead_bytes": float64(p.Dead), "spare_bytes": float64(p.Spare), "limit_bytes": float64(p.Limit), "free_bytes": float64(p.Free), "total_bytes": float64(p.Total),
				"covers_seconds": p.Covers.Seconds(), "full_timestamp": full,
			} {
				gauge("retention_"+name, v, id)
			}
			gauge("mastertarget_group_points", float64(p.Points), id)
		}
		for _, d := range g.Disks {
			disk := string(d.Disk)
			gauge("mastertarget_disk_rate", d.Rate, id, disk)
			gauge("mastertarget_disk_backlog_bytes", float64(d.Backlog.Source), id, disk, "source")
			gauge("mastertarget_disk_backlog_bytes", float64(d.Backlog.ProcessServer), id, disk, "process_server")
			gauge("mastertarget_disk_backlog_bytes", float64(d.Backlog.MasterTarget), id, disk, "master_target")
			for _, s := range d.Stages {
				gauge("mastertarget_disk_stage_share", s.Share, id, disk, s.Stage)
			}
		}
	}
}
