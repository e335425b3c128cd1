package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDiskInfoOfSnapshot: the disks below a snapshot are listed, with what became of their content ids.
func TestDiskInfoOfSnapshot(t *testing.T) {
	dir := t.TempDir()
	name := func(i int) string { return filepath.Join(dir, []string{"base.vmdk", "one.vmdk", "two.vmdk"}[i]) }
	ids := make([]string, 3)
	for i := range 3 {
		made := document(t, string(ok(t, nil, "disk", "create", "--format", "twoGbMaxExtentSparse", "--size", "1M", name(i), "--json")))
		ids[i] = made["content_id"].(string)
		if i > 0 {
			editFile(t, name(i), "parentCID=ffffffff", "parentCID="+ids[i-1]+"\nparentFileNameHint=\""+filepath.Base(name(i-1))+"\"")
		}
	}
	parents := func() []any {
		t.Helper()
		return document(t, string(ok(t, nil, "disk", "info", name(2), "--json")))["parents"].([]any)
	}
	look := func(p any) (file string, id, noted any, sound bool, wrong string) {
		m := p.(map[string]any)
		return filepath.Base(m["file"].(string)), m["content_id"], m["content_id_noted"], m["sound"].(bool), m["wrong"].(string)
	}
	all := parents()
	if len(all) != 2 {
		t.Fatalf("parents %v", all)
	}
	for i, want := range []int{1, 0} {
		if file, id, noted, sound, wrong := look(all[i]); file != filepath.Base(name(want)) || id != ids[want] || noted != ids[want] || !sound || wrong != "" {
			t.Errorf("parent %d: %v", i, all[i])
		}
	}
	if out := string(ok(t, nil, "disk", "info", name(2))); strings.Count(out, "as it was then") != 2 {
		t.Errorf("for people: %s", out)
	}

	editFile(t, name(0), "CID="+ids[0], "CID=12345678")
	all = parents()
	if len(all) != 2 {
		t.Fatalf("the base was changed: %v", all)
	}
	if file, id, noted, sound, wrong := look(all[1]); file != "base.vmdk" || id != "12345678" || noted != ids[0] || sound || !strings.Contains(wrong, "was changed after the snapshot") {
		t.Errorf("the base was changed: %v", all[1])
	}
	if out := string(ok(t, nil, "disk", "info", name(2))); !regexp.MustCompile(`base.vmdk: not what this was made on: .* is 12345678, want ` + ids[0]).MatchString(out) {
		t.Errorf("for people: %s", out)
	}

	if err := os.Remove(name(1)); err != nil {
		t.Fatal(err)
	}
	if all = parents(); len(all) != 1 {
		t.Fatalf("a disk of the chain is missing: %v", all)
	}
	if file, id, noted, sound, wrong := look(all[0]); file != "one.vmdk" || id != "" || noted != ids[1] || sound || !strings.Contains(wrong, "missing") {
		t.Errorf("a disk of the chain is missing: %v", all[0])
	}
}

func editFile(t *testing.T, path, was, is string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(b), was) {
		t.Fatalf("%s: %v, or no %q in it", path, err, was)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(b), was, is, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
}
