package mastertarget

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"failback/blockio"
	"failback/replication"
	"failback/replication/preflight"
	"failback/replication/preflight/machine"
)

// surroundings looks at the machine that this master target runs on, and at the certificates of both sides.
func (f *looking) surroundings() {
	f.host()
	var ours, theirs []replication.Certificate
	if f.engine.cfg.Certificates != nil {
		ours = f.engine.cfg.Certificates()
	}
	if f.worker != nil {
		theirs = f.worker.Certificates
	}
	f.add(preflight.JudgeCertificates(ours, theirs, f.plan.ProcessServer, time.Now()))
}

// root is where the files lie that tell of this machine.
func (e *Engine) root() string {
	if e.cfg.root != "" {
		return e.cfg.root
	}
	return "/"
}

// host looks at this machine, with the plan's disks attached.
func (f *looking) host() {
	e := f.engine
	h := preflight.Host{Machine: machine.Look(e.root()), Held: e.places(f.plan.Group, f.there > 0)}
	h.Retention = e.place(e.cfg.Retention, e.cfg.Retention, "retention volume")
	for _, d := range f.plan.Disks()[f.there:] {
		p := e.place(string(d.Name), d.Target, "target of disk "+string(d.Name))
		p.Serial = f.serials[d.No]
		h.Targets = append(h.Targets, p)
	}
	f.add(preflight.JudgeHost(h))
}

// place looks at where a path lies.
func (e *Engine) place(subject, path, what string) preflight.Place {
	p := preflight.Place{Subject: subject, What: what, Path: path}
	if !e.volumes.Answers(path) {
		return p
	}
	p.Number, p.Device = blockDevice(path)
	p.Below = machine.Below(e.root(), p.Number)
	return p
}

// places are the targets of all groups, those of the group id only where own is set. They are not touched.
func (e *Engine) places(id replication.GroupID, own bool) (all []preflight.Place) {
	e.mu.Lock()
	groups := maps.Clone(e.groups)
	e.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		g := groups[name]
		if name == id && !own {
			continue
		}
		for i, d := range g.plan.Disks() {
			p := preflight.Place{Subject: string(d.Name), What: fmt.Sprintf("target of disk %s of group %s", d.Name, name), Path: d.Target}
			if g.isReady() == nil && i < len(g.targets) {
				desc := g.targets[i].Description()
				p.Device, p.Number = desc.Format == blockio.FormatDevice, deviceNumber(desc.Device)
			}
			all = append(all, p)
		}
	}
	return all
}
