package mastertarget

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"failback/replication"
	"failback/replication/link"
	"failback/retention/volume"
)

// shared says whether a finding is that the volume is not one of its own, of the severity.
func shared(s replication.Severity) func(replication.Finding) bool {
	return func(f replication.Finding) bool {
		return f.Severity == s && slices.Contains([]string{volume.CodeTarget, volume.CodeState}, f.Code)
	}
}

// TestSharedVolumeIsRefused keeps journals, targets and state on one file system: that goes on trial only, and a group that was made on trial is not opened without.
func TestSharedVolumeIsRefused(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"ret", "ds"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	plan := []byte(fmt.Sprintf("group: g\nos: linux\nprocess_server: ps\npolicy: {crash_interval: 1h, app_interval: 1h, rpo_alert: 2h}\nmachines: [{name: m, disks: [{id: d, source: 'image:/s', target: %s/ds/d.raw}]}]\n", dir))
	var e *Engine
	with := func(allow bool, do func()) {
		t.Helper()
		var err error
		if e, err = Open(Config{State: filepath.Join(dir, "mt"), Retention: filepath.Join(dir, "ret"), AllowSharedVolume: allow}); err != nil {
			t.Fatal(err)
		}
		bye, err := e.Connected(link.Peer{Name: "ps", Minor: link.ProtocolMinor}, newPuppet())
		if err != nil {
			t.Fatal(err)
		}
		do()
		bye()
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
	with(false, func() {
		checked, err := e.Check(context.Background(), plan, replication.PathAsk{})
		if err != nil || !slices.ContainsFunc(checked.Findings, shared(replication.Error)) {
			t.Errorf("check: got %v, %+v", err, checked.Findings)
		}
		var p *replication.Problem
		if _, _, err := e.Reprotect(context.Background(), plan); !errors.As(err, &p) || !strings.Contains(p.Message, "retention volume "+filepath.Join(dir, "ret")) {
			t.Errorf("reprotect: got %v", err)
		}
		if _, err := os.Stat(filepath.Join(dir, "ds", "d.raw")); err == nil {
			t.Error("the target of a refused group was made")
		}
	})
	with(true, func() {
		checked, err := e.Check(context.Background(), plan, replication.PathAsk{})
		if err != nil || !slices.ContainsFunc(checked.Findings, shared(replication.Warning)) || slices.ContainsFunc(checked.Findings, shared(replication.Error)) {
			t.Errorf("check on trial: got %v, %+v", err, checked.Findings)
		}
		if _, _, err := e.Reprotect(context.Background(), plan); err != nil {
			t.Errorf("reprotect on trial: got %v", err)
		}
		all, err := e.Volumes(context.Background())
		if err != nil || !slices.ContainsFunc(all, func(v replication.Volume) bool {
			return v.Retention && v.Usable && slices.ContainsFunc(v.Findings, shared(replication.Warning))
		}) {
			t.Errorf("volumes: got %v, %+v", err, all)
		}
	})
	with(false, func() {
		if p := problemOf(t, e, "g"); p == nil || !strings.Contains(p.Message, "retention volume ") {
			t.Errorf("a group that was made on trial: got %+v", p)
		}
	})
}

// problemOf waits for what a group says at its first attempt to open.
func problemOf(t *testing.T, e *Engine, id replication.GroupID) (p *replication.Problem) {
	t.Helper()
	g, err := e.group(id)
	if err != nil {
		t.Fatal(err)
	}
	_ = e.wait(t.Context(), func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		p = g.problem
		return p != nil || g.state != replication.StateChecking
	})
	return p
}

// TestRetentionVolumeIsForOneMasterTarget opens a second one on the same directory, with a state directory of its own.
func TestRetentionVolumeIsForOneMasterTarget(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{State: filepath.Join(dir, "mt"), Retention: filepath.Join(dir, "ret"), AllowSharedVolume: true}
	if err := os.Mkdir(cfg.Retention, 0o700); err != nil {
		t.Fatal(err)
	}
	e, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	second := cfg
	second.State = filepath.Join(dir, "mt2")
	var p *replication.Problem
	if _, err := Open(second); !errors.As(err, &p) || p.Code != volume.CodeLocked || p.Remedy == "" {
		t.Errorf("the second: got %v", err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(second)
	if err != nil {
		t.Fatalf("after the first has ended: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

// TestVolumeMountedLater mounts the retention volume under a master target that runs: no restart is needed.
func TestVolumeMountedLater(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	ret, image := filepath.Join(dir, "ret"), filepath.Join(dir, "image")
	for _, d := range []string{"ret", "ds"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 64<<20); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", image).CombinedOutput(); err != nil {
		t.Skipf("mkfs.ext4 (e2fsprogs): %v: %s", err, out)
	}
	e, err := Open(Config{State: filepath.Join(dir, "mt"), Retention: ret})
	if err != nil {
		t.Fatal(err)
	}
	bye, err := e.Connected(link.Peer{Name: "ps", Minor: link.ProtocolMinor}, newPuppet())
	if err != nil {
		t.Fatal(err)
	}
	plan := []byte(fmt.Sprintf("group: g\nos: linux\nprocess_server: ps\npolicy: {crash_interval: 1h, app_interval: 1h, rpo_alert: 2h}\nmachines: [{name: m, disks: [{id: d, source: 'image:/s', target: %s/ds/d.raw}]}]\n", dir))
	if _, _, err := e.Reprotect(context.Background(), plan); err == nil {
		t.Error("protected without a retention volume")
	}
	if out, err := exec.Command("mount", "-o", "loop", image, ret).CombinedOutput(); err != nil {
		t.Skipf("cannot mount here: %v: %s", err, out)
	}
	defer func() {
		if out, err := exec.Command("umount", ret).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	}()
	all, err := e.Volumes(context.Background())
	if err != nil || !slices.ContainsFunc(all, func(v replication.Volume) bool {
		return v.Path == ret && v.Retention && v.Usable && len(v.Findings) == 0
	}) {
		t.Errorf("the new volume: got %v, %+v", err, all)
	}
	if _, _, err := e.Reprotect(context.Background(), plan); err != nil {
		t.Errorf("on a volume of its own: %v", err)
	}
	bye()
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}
