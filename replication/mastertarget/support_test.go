package mastertarget

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"failback/replication"
)

// TestSupportTellsAllButSecrets gathers for a group whose commands hold one, with a problem that tells of them.
func TestSupportTellsAllButSecrets(t *testing.T) {
	const secret = `curl -u "ops:S3CRET" https://x/$1`
	p := newPair(t, 51)
	defer p.close()
	p.plan = []byte(strings.Replace(string(p.plan), "release: 'rm -f $2'", `release: 'rm -f $2; true || `+secret+`'`, 1))
	ctx := context.Background()
	if _, _, err := p.master.Reprotect(ctx, p.plan); err != nil {
		t.Fatal(err)
	}
	p.listed(1)
	g, err := p.master.group("g")
	if err != nil {
		t.Fatal(err)
	}
	command := "rm -f $2; true || " + secret
	g.notice("trial", fmt.Sprintf("it failed: %s; %q", command, command))
	g.happened(replication.EventDamage, replication.Warned, 0, "command %q failed", command)
	g.stuck(&replication.Problem{Code: "x", Message: fmt.Sprintf("command %q failed", command)})
	if f := g.facts(time.Now()); strings.Contains(f.Problem.Message, "S3CRET") {
		t.Errorf("an alert would tell: %s", f.Problem.Message)
	}
	files := map[string][]byte{}
	if err := p.master.Support(ctx, "g", func(name string, content []byte) error { files[name] = content; return nil }); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"versions.json", "status.json", "plan.json", "points.json", "throttle.json", "volumes.json"} {
		if !json.Valid(files[name]) {
			t.Errorf("%s is no JSON: %s", name, files[name])
		}
	}
	for name, want := range map[string]string{"points.json": `"head": 1`, "events.jsonl": `"kind":"plan"`, "profiles/goroutines.txt": "goroutine profile", "status.json": leftOut, "plan.json": leftOut} {
		if !bytes.Contains(files[name], []byte(want)) {
			t.Errorf("%s lacks %q: %.2000s", name, want, files[name])
		}
	}
	for name, content := range files {
		if bytes.Contains(content, []byte("S3CRET")) {
			t.Errorf("%s has the secret", name)
		}
	}
	if err := p.master.Support(ctx, "nope", nil); replication.AsProblem(err).Code != "no-such-group" {
		t.Errorf("no such group: got %v", err)
	}
}
