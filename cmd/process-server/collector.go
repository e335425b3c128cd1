package main

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"failback/replication"
	"failback/replication/processserver"
)

// collector tells what the process server does as metrics, at the moment it is asked.
type collector struct {
	engine    *processserver.Engine
	connected *atomic.Bool
	machine   map[string]*prometheus.Desc
	disk      map[string]*prometheus.Desc
	spent     *prometheus.Desc
}

func newCollector(e *processserver.Engine, connected *atomic.Bool) *collector {
	c := &collector{engine: e, connected: connected, machine: map[string]*prometheus.Desc{}, disk: map[string]*prometheus.Desc{}}
	for name, help := range map[string]string{
		"connected":         "1 while the master target is connected.",
		"shipments":         "Shipments under way.",
		"frozen_machines":   "Machines that were frozen for a cut, and could not be thawed since.",
		"cpu_share":         "Share of this machine's cores that was busy since it was asked before, 0 to 1.",
		"memory_share":      "Share of this machine's memory that is not available, 0 to 1.",
		"state_free_bytes":  "Free on the volume of the state directory.",
		"state_total_bytes": "Size of the volume of the state directory.",
	} {
		c.machine[name] = prometheus.NewDesc("failback_processserver_"+name, help, nil, nil)
	}
	for name, help := range map[string]string{
		"total_bytes":   "To look at in the shipment under way.",
		"done_bytes":    "Looked at in the shipment under way.",
		"read_bytes":    "Read from the source in the shipment under way.",
		"payload_bytes": "Sent in the shipment under way, after compression.",
		"wire_bytes":    "On the wire in the shipment under way, headers and TLS included.",
	} {
		c.disk[name] = prometheus.NewDesc("failback_processserver_disk_"+name, help, []string{"group", "disk"}, nil)
	}
	c.spent = prometheus.NewDesc("failback_processserver_disk_spent_seconds", "What workers spent their time on in the shipment under way, by stage: source read, hash, compress, send (waiting for lanes), target read (waiting for hashes).", []string{"group", "disk", "stage"}, nil)
	return c
}

// Describe tells all that there may be.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, of := range []map[string]*prometheus.Desc{c.machine, c.disk} {
		for _, d := range of {
			ch <- d
		}
	}
	ch <- c.spent
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	connected := 0.0
	if c.connected.Load() {
		connected = 1
	}
	gauge(c.machine["connected"], connected)
	f := c.engine.Figures()
	gauge(c.machine["shipments"], float64(f.Shipping))
	gauge(c.machine["frozen_machines"], float64(len(f.Frozen)))
	if f.CPU >= 0 {
		gauge(c.machine["cpu_share"], f.CPU)
	}
	if f.Memory >= 0 {
		gauge(c.machine["memory_share"], f.Memory)
	}
	if f.StateTotal > 0 {
		gauge(c.machine["state_free_bytes"], float64(f.StateFree))
		gauge(c.machine["state_total_bytes"], float64(f.StateTotal))
	}
	for group, disks := range c.engine.Shipments() {
		for disk, l := range disks {
			c.ship(gauge, string(group), string(disk), l)
		}
	}
}

func (c *collector) ship(gauge func(*prometheus.Desc, float64, ...string), group, disk string, l replication.Ledger) {
	for name, v := range map[string]int64{"total_bytes": l.Total, "done_bytes": l.Done, "read_bytes": l.Read, "payload_bytes": l.Payload, "wire_bytes": l.Wire} {
		gauge(c.disk[name], float64(v), group, disk)
	}
	for stage, v := range map[string]float64{
		"source read": l.Spent.Read.Seconds(), "hash": l.Spent.Hash.Seconds(), "compress": l.Spent.Compress.Seconds(), "send": l.Spent.Send.Seconds(), "target read": l.Spent.Target.Seconds(),
	} {
		gauge(c.spent, v, group, disk, stage)
	}
}
