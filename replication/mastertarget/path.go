package mastertarget

import (
	"context"
	"fmt"
	"slices"
	"time"

	"failback/replication"
	"failback/replication/link"
	"failback/replication/preflight"
)

// path measures the way to the process server, and has it judged.
func (f *looking) path(ctx context.Context, ask replication.PathAsk) *replication.Path {
	name := f.plan.ProcessServer
	w := f.engine.worker(name)
	if w == nil { // told already
		return nil
	}
	prober, ok := w.Worker.(link.Prober)
	if !ok {
		f.find(replication.Info, preflight.CodeUnmeasured, name, fmt.Sprintf("process server %s is in this very process: there is no path to measure", name), "none needed")
		return nil
	}
	p, err := prober.Path(ctx, ask)
	if err != nil {
		told := replication.AsProblem(err)
		f.find(replication.Warning, preflight.CodeUnmeasured, name, fmt.Sprintf("the path to process server %s was not measured: %v", name, told), told.Remedy)
		return nil
	}
	var total int64
	for _, n := range f.sizes {
		total += n
	}
	f.findings = slices.DeleteFunc(f.findings, func(x replication.Finding) bool { return x.Code == preflight.CodeSkew }) // the path tells it better
	f.add(preflight.JudgePath(name, p, total, time.Duration(f.plan.Policy.CrashInterval), time.Duration(f.plan.Policy.RPOAlert), ask.Churn))
	return &p
}
