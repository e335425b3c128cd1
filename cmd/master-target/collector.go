package main

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"failback/replication"
	"failback/replication/mastertarget"
)

// collector tells the groups' status as metrics, at the moment it is asked.
type collector struct {
	engine *mastertarget.Engine
	group  map[string]*prometheus.Desc
	disk   map[string]*prometheus.Desc
	link   map[string]*prometheus.Desc
	codec  *prometheus.Desc
	worker *prometheus.Desc
	damage *prometheus.Desc
	more   more
	hook   *webhook // nil: there is none
}

func newCollector(e *mastertarget.Engine, hook *webhook) *collector {
	c := &collector{engine: e, hook: hook, more: newMore(), group: map[string]*prometheus.Desc{}, disk: map[string]*prometheus.Desc{}, link: map[string]*prometheus.Desc{}}
	for name, help := range map[string]string{
		"lag_seconds":     "Age of the last listed point.",
		"app_timestamp":   "When the last application-consistent point was cut, in seconds since 1970; 0: there is none.",
		"head_point":      "The point that the disks show; 0: none.",
		"last_point":      "The last listed point; 0: none.",
		"held":            "1 while a rewind holds the head.",
		"problem":         "1 while something stands in the way; status says what.",
		"generation":      "The group's generation.",
		"scrub_timestamp": "When the group's journal was last read in whole, in seconds since 1970; 0: never.",
		"state_timestamp": "When the group came into its state, in seconds since 1970.",
	} {
		c.group[name] = prometheus.NewDesc("failback_mastertarget_group_"+name, help, []string{"group", "state"}, nil)
	}
	for name, help := range map[string]string{
		"total_bytes":    "To look at in the open or last cycle.",
		"done_bytes":     "Looked at in the open or last cycle.",
		"read_bytes":     "Read from the source in the open or last cycle.",
		"zero_bytes":     "Zero in the open or last cycle.",
		"equal_bytes":    "Not sent because of equal hashes in the open or last cycle.",
		"raw_bytes":      "Sent in the open or last cycle, before compression.",
		"payload_bytes":  "Sent in the open or last cycle, after compression.",
		"kept_bytes":     "Not sent in the open or last cycle because it was durable already.",
		"again_bytes":    "Sent again in the open or last cycle, after a lane was lost; before compression.",
		"wire_bytes":     "On the wire in the open or last cycle, headers and TLS included.",
		"repeated_bytes": "Not sent in the open or last cycle because the target holds it elsewhere.",
		"durable_bytes":  "Durable on the master target of the open cycle.",
	} {
		c.disk[name] = prometheus.NewDesc("failback_mastertarget_disk_"+name, help, []string{"group", "disk"}, nil)
	}
	c.codec = prometheus.NewDesc("failback_mastertarget_disk_codec_bytes", "Sent in the open or last cycle by codec, before (raw) and after (payload) compression.", []string{"group", "disk", "codec", "of"}, nil)
	for name, help := range map[string]string{
		"lanes":       "Connections that the shipment under way uses.",
		"wire_rate":   "Bytes a second on the wire of the shipment under way.",
		"limit_bytes": "Bytes a second on the wire that the shipment under way may have; 0: no limit.",
	} {
		c.link[name] = prometheus.NewDesc("failback_mastertarget_link_"+name, help, []string{"group"}, nil)
	}
	c.worker = prometheus.NewDesc("failback_mastertarget_process_server_connected", "1 while the process server is connected.", []string{"name"}, nil)
	c.damage = prometheus.NewDesc("failback_retention_damaged_bytes", "Of the disks: what points need, and is lost of the group's journal.", []string{"group"}, nil)
	return c
}

// Describe tells all that there may be, also what is not there just now.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, of := range []map[string]*prometheus.Desc{c.group, c.disk, c.link, c.more} {
		for _, d := range of {
			ch <- d
		}
	}
	ch <- c.codec
	ch <- c.worker
	ch <- c.damage
}

func (c *collector) Collect(ch chan<- prometheus.Metric) {
	s, err := c.engine.Status(context.Background(), "")
	if err != nil {
		return
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	c.collectMore(ch, s)
	for _, w := range s.Workers {
		gauge(c.worker, truth(w.Connected), w.Name)
	}
	for _, g := range s.Groups {
		scrubbed, app := 0.0, 0.0
		if g.LastApp > 0 {
			app = float64(g.LastAppTime.UnixNano()) / float64(time.Second)
		}
		if g.Scrub != nil {
			gauge(c.damage, float64(g.Scrub.Lost), string(g.Group))
			if !g.Scrub.Whole.IsZero() {
				scrubbed = float64(g.Scrub.Whole.UnixNano()) / float64(time.Second)
			}
		}
		for name, v := range map[string]float64{
			"lag_seconds": g.LagSeconds, "head_point": float64(g.Head), "last_point": float64(g.Last), "held": truth(g.Held),
			"scrub_timestamp": scrubbed, "app_timestamp": app, "problem": truth(g.Problem != nil), "generation": float64(g.Generation), "state_timestamp": float64(g.Since.UnixNano()) / float64(time.Second),
		} {
			gauge(c.group[name], v, string(g.Group), string(g.State))
		}
		if l := g.Link; l != nil {
			gauge(c.link["lanes"], float64(l.Lanes), string(g.Group))
			gauge(c.link["wire_rate"], l.Rate, string(g.Group))
			gauge(c.link["limit_bytes"], float64(l.Limit), string(g.Group))
		}
		for _, d := range g.Disks {
			for name, v := range diskValues(d) {
				gauge(c.disk[name], float64(v), string(g.Group), string(d.Disk))
			}
			for name, s := range map[string]replication.Sent{"none": d.Ledger.Codecs.None, "lz4": d.Ledger.Codecs.LZ4, "s2": d.Ledger.Codecs.S2, "zstd": d.Ledger.Codecs.Zstd} {
				gauge(c.codec, float64(s.Raw), string(g.Group), string(d.Disk), name, "raw")
				gauge(c.codec, float64(s.Payload), string(g.Group), string(d.Disk), name, "payload")
			}
		}
	}
}

func diskValues(d replication.DiskStatus) map[string]int64 {
	return map[string]int64{
		"total_bytes": d.Ledger.Total, "done_bytes": d.Ledger.Done, "read_bytes": d.Ledger.Read, "zero_bytes": d.Ledger.Zero,
		"equal_bytes": d.Ledger.Equal, "raw_bytes": d.Ledger.Raw, "payload_bytes": d.Ledger.Payload, "durable_bytes": d.Durable,
		"kept_bytes": d.Ledger.Kept, "again_bytes": d.Ledger.Again, "wire_bytes": d.Ledger.Wire, "repeated_bytes": d.Ledger.Repeated,
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
