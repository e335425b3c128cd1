package volume

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// killedIn names the directory that a process of this test probes until it is killed, and the step to stop before.
const killedIn = "FAILBACK_TEST_PROBE"

func TestMain(m *testing.M) {
	if dir, at, ok := strings.Cut(os.Getenv(killedIn), "|"); ok {
		err := probe(dir, func(step string) {
			if step == at {
				os.Stdout.WriteString("here\n")
				select {}
			}
		})
		os.Stdout.WriteString("probed, " + errText(err) + "\n")
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func errText(err error) string {
	if err == nil {
		return "well"
	}
	return err.Error()
}

func namesIn(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

var probeSteps = []string{"write old", "write new", "sync directory", "rename", "sync rename", "read", "remove", "sync removal"}

func TestProbeLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	var steps []string
	if err := probe(dir, func(s string) { steps = append(steps, s) }); err != nil {
		t.Fatal(err)
	}
	if strings.Join(steps, ", ") != strings.Join(probeSteps, ", ") {
		t.Errorf("steps: got %q, want %q", steps, probeSteps)
	}
	if left := namesIn(t, dir); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// TestProbeThatWasKilledIsSweptUp kills a probe before each of its steps. The next one leaves nothing, and does not touch what is not a probe's.
func TestProbeThatWasKilledIsSweptUp(t *testing.T) {
	leftovers := 0
	for _, step := range probeSteps {
		dir := t.TempDir()
		others := []string{".failback-probe-", ".failback-probe-0123456789abcdef-new", ".failback-probe-0123456789abcdeg", "failback-probe-0123456789abcdef"}
		for _, n := range others {
			if err := os.WriteFile(filepath.Join(dir, n), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		large := filepath.Join(dir, ".failback-probe-fedcba9876543210")
		if err := os.WriteFile(large, make([]byte, probeSize+1), 0o600); err != nil {
			t.Fatal(err)
		}
		killProbe(t, dir, step)
		leftovers += len(namesIn(t, dir)) - len(others) - 1
		if err := Probe(dir); err != nil {
			t.Errorf("%s: %v", step, err)
		}
		if got := namesIn(t, dir); len(got) != len(others)+1 {
			t.Errorf("killed before %s: after the next probe there are %q", step, got)
		}
	}
	if leftovers < 7 {
		t.Errorf("the kills left %d files in all: they came too early or too late", leftovers)
	}
}

func killProbe(t *testing.T, dir, step string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), killedIn+"="+dir+"|"+step)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // it was killed
	if line != "here\n" {
		t.Fatalf("probe to be killed before %s: %q", step, line)
	}
}

// TestProbesDoNotDisturbEachOther lets one begin at each step of another.
func TestProbesDoNotDisturbEachOther(t *testing.T) {
	dir := t.TempDir()
	others := 0
	err := probe(dir, func(string) {
		others++
		if err := Probe(dir); err != nil {
			t.Error(err)
		}
	})
	if err != nil || others != len(probeSteps) {
		t.Errorf("got %v after %d others", err, others)
	}
}

func TestProbeTellsOfFailures(t *testing.T) {
	dir := t.TempDir()
	if err := Probe(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: got %v", err)
	}
	for step, harm := range map[string]func(name string){
		"rename": func(name string) { os.Remove(name) },
		"read":   func(name string) { os.WriteFile(name+"-old", []byte("torn"), 0o600) },
	} {
		err := probe(dir, func(s string) {
			for _, n := range namesIn(t, dir) {
				if s == step && !strings.HasSuffix(n, "-old") || s == step && step == "read" {
					harm(strings.TrimSuffix(filepath.Join(dir, n), "-old"))
				}
			}
		})
		if err == nil {
			t.Errorf("a probe harmed before %s ended well", step)
		}
		if left := namesIn(t, dir); len(left) > 0 {
			t.Errorf("harmed before %s: left %q", step, left)
		}
	}
}

// TestSilentVolumeIsAskedOnce has a volume that does not answer: it is waited for by one goroutine, and asked again when it has answered.
func TestSilentVolumeIsAskedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New("/x", false)
		hang := make(chan struct{})
		var calls atomic.Int32
		do := func() int32 { n := calls.Add(1); <-hang; return n }
		for range 3 {
			began := time.Now()
			if _, ok := ask(l, "v", do); ok || calls.Load() != 1 || time.Since(began) > patience {
				t.Errorf("got an answer (%v) in %s from call %d", ok, time.Since(began), calls.Load())
			}
		}
		if n, ok := ask(l, "another", func() int { return 7 }); n != 7 || !ok {
			t.Errorf("another volume: got %d, %v", n, ok)
		}
		close(hang)
		time.Sleep(time.Millisecond)
		if n, ok := ask(l, "v", do); n != 2 || !ok {
			t.Errorf("after it answered: got %d, %v", n, ok)
		}
	})
}

// TestAnswers: what is there answers, and what is not there does too; what is being waited for in vain does not.
func TestAnswers(t *testing.T) {
	l := New(t.TempDir(), false)
	for _, path := range []string{l.dir, filepath.Join(l.dir, "none"), "/none/at/all"} {
		if !l.Answers(path) {
			t.Errorf("%s does not answer", path)
		}
	}
	l.silent["path "+l.dir] = true
	if l.Answers(l.dir) {
		t.Error("one that is silent answers")
	}
}
