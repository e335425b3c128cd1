package mastertarget

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"

	"failback/replication"
	"failback/replication/plan"
)

// leftOut stands for a command: it may hold a password, and is of no use to anybody else.
const leftOut = "(command left out)"

// Support implements transport.Operations. What can't be told is told so, in the file's place: the group may be in any state.
func (e *Engine) Support(ctx context.Context, id replication.GroupID, give func(name string, content []byte) error) error {
	g, err := e.group(id)
	if err != nil {
		return err
	}
	g.mu.Lock()
	r := g.record
	g.mu.Unlock()
	secrets := g.commandsKnown()
	p, perr := plan.Parse(r.Plan)
	if perr == nil {
		for m := range p.Machines {
			if q := p.Machines[m].Quiesce; q != nil {
				secrets = append(secrets, q.Freeze, q.Thaw)
				q.Freeze, q.Thaw = leftOut, leftOut
			}
			for d := range p.Machines[m].Disks {
				disk := &p.Machines[m].Disks[d]
				for _, c := range []*string{&disk.Snapshot, &disk.Release, &disk.Changes} {
					if *c != "" {
						secrets, *c = append(secrets, *c), leftOut
					}
				}
			}
		}
	}
	status, serr := e.Status(ctx, id)
	for i := range status.Groups {
		if c := status.Groups[i].Cutover; c != nil {
			told := *c
			for _, command := range []*string{&told.Stop, &told.After} {
				if *command != "" {
					secrets, *command = append(secrets, *command), leftOut
				}
			}
			status.Groups[i].Cutover = &told
		}
	}
	told := func(name string, err error, text func(*bytes.Buffer) error) error {
		var b bytes.Buffer
		if err == nil {
			err = text(&b)
		}
		if err != nil {
			fmt.Fprintf(&b, "\ncan't be told: %v\n", err)
		}
		return give(name, withoutSecrets(b.Bytes(), secrets))
	}
	asJSON := func(v any) func(*bytes.Buffer) error {
		return func(b *bytes.Buffer) error {
			enc := json.NewEncoder(b)
			enc.SetIndent("", "  ")
			return enc.Encode(v)
		}
	}
	head, points, pointsErr := e.Points(ctx, id)
	volumes, volumesErr := e.Volumes(ctx)
	versions := map[string]string{"master_target": e.cfg.Version, "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH, "cores": fmt.Sprint(runtime.NumCPU())}
	for _, w := range status.Workers {
		versions["process server "+w.Name] = w.Version
	}
	for _, f := range []struct {
		name string
		err  error
		text func(*bytes.Buffer) error
	}{
		{"versions.json", nil, asJSON(versions)},
		{"status.json", serr, asJSON(status)},
		{"plan.json", perr, func(b *bytes.Buffer) error { b.Write(p.Canonical()); return nil }},
		{"points.json", pointsErr, asJSON(map[string]any{"head": head, "points": points})},
		{"throttle.json", nil, asJSON(e.Throttled())},
		{"volumes.json", volumesErr, asJSON(volumes)},
		{"events.jsonl", nil, func(b *bytes.Buffer) error {
			return e.Events(ctx, replication.EventsRequest{}, func(ev replication.Event) error { return json.NewEncoder(b).Encode(ev) })
		}},
		{"profiles/goroutines.txt", nil, func(b *bytes.Buffer) error { return pprof.Lookup("goroutine").WriteTo(b, 1) }},
	} {
		if err := told(f.name, f.err, f.text); err != nil {
			return err
		}
	}
	var heap bytes.Buffer
	if err := pprof.Lookup("heap").WriteTo(&heap, 0); err != nil {
		return err
	}
	return give("profiles/heap.pb.gz", heap.Bytes())
}

// discreet returns a text of the group's without the commands that it may tell of. Events and alerts go further than to who gave them.
func (g *group) discreet(text string) string {
	return string(withoutSecrets([]byte(text), g.commandsKnown()))
}

// commandsKnown returns the commands of the plan and of cutovers, of earlier ones too.
func (g *group) commandsKnown() []string {
	var all []string
	for _, d := range g.plan.Disks() {
		all = append(all, d.Snapshot, d.Release, d.Changes)
	}
	for _, q := range g.plan.Quiesced() {
		all = append(all, q.Freeze, q.Thaw)
	}
	if g.isOpen() || g.isAway() {
		if at := g.journal.Cutover(); at != nil {
			g.keepQuiet(at.Stop, at.After)
		}
	}
	g.hush.mu.Lock()
	defer g.hush.mu.Unlock()
	return append(all, g.hush.commands...)
}

// hushed are commands that were run for the group: what is told of them may be told long after.
type hushed struct {
	mu       sync.Mutex
	commands []string
}

func (g *group) keepQuiet(commands ...string) {
	g.hush.mu.Lock()
	defer g.hush.mu.Unlock()
	for _, c := range commands {
		if c != "" && !slices.Contains(g.hush.commands, c) {
			g.hush.commands = append(g.hush.commands, c)
		}
	}
}

// withoutSecrets leaves out what was said of commands elsewhere, such as in the message of a problem; as it is, and as JSON writes it.
func withoutSecrets(text []byte, secrets []string) []byte {
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) }) // one may be a part of another
	for _, s := range secrets {
		if s == "" || s == leftOut {
			continue
		}
		text = bytes.ReplaceAll(text, []byte(s), []byte(leftOut))
		forms := []string{strconv.Quote(s)}
		if quoted, err := json.Marshal(s); err == nil {
			forms = append(forms, string(quoted))
		}
		if quoted, err := json.Marshal(strconv.Quote(s)); err == nil { // a message that quotes it, in a document
			forms = append(forms, string(quoted[3:len(quoted)-3]))
		}
		for _, form := range forms {
			text = bytes.ReplaceAll(text, []byte(strings.TrimSuffix(strings.TrimPrefix(form, `"`), `"`)), []byte(leftOut))
		}
	}
	return text
}
