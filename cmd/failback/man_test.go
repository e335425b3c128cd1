package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"failback/cmd/internal/settings"
	"failback/transport/operatortest"
)

// TestEveryCommandHasAManualPage writes the pages, and has groff read them, where it is.
func TestEveryCommandHasAManualPage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man1")
	if got := failback(t.Context(), "", "man", dir); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	for _, c := range available((&tool{}).root()) {
		page, err := os.ReadFile(filepath.Join(dir, settings.ManName(c)))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, want := range []string{".SH NAME\n", ".SH SYNOPSIS\n", ".SH DESCRIPTION\n", strings.ReplaceAll(c.Short, "-", "\\-")} {
			if !bytes.Contains(page, []byte(want)) {
				t.Errorf("%s has no %q", settings.ManName(c), want)
			}
		}
	}
	pages, _ := filepath.Glob(filepath.Join(dir, "*"))
	if _, err := exec.LookPath("groff"); err != nil || len(pages) == 0 {
		t.Skip("no groff here to read them")
	}
	if said, err := exec.Command("groff", append([]string{"-k", "-man", "-Tutf8", "-z", "-wmac"}, pages...)...).CombinedOutput(); err != nil || bytes.Contains(said, []byte("warning")) {
		t.Errorf("groff: %v: %s", err, said)
	}
}

// TestShellsComplete asks as a shell's script does.
func TestShellsComplete(t *testing.T) {
	address := operatortest.Serve(t, staged())
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if got := failback(t.Context(), "", "completion", shell); got.code != 0 || !strings.Contains(got.out, "failback") {
			t.Errorf("completion %s: %+v", shell, got)
		}
	}
	for args, want := range map[string]string{
		"rewind ":             "erp\tprotected\n:4\n",
		"rewind erp ":         "latest\tthe last point\n1\t2026-03-01 12:00:00, crash\n2\t2026-03-01 12:01:00, app\n3\t2026-03-01 12:02:00, final\n:4\n",
		"commit erp --point ": "latest\tthe last point\n1\t2026-03-01 12:00:00, crash\n2\t2026-03-01 12:01:00, app\n3\t2026-03-01 12:02:00, final\n:4\n",
		"export erp 2 ":       "db/os\ndb/data\n:4\n",
		"export erp 2 db/os ": ":0\n",
		"reprotect ":          ":0\n",
		"jobs erp ":           ":4\n",
	} {
		words := strings.Split(args, " ")
		if got := failback(t.Context(), "", append([]string{"__complete", "--operator", address}, words...)...); got.out != want {
			t.Errorf("failback %s: got %q, want %q", args, got.out, want)
		}
	}
	if got := failback(t.Context(), "", "__complete", "--operator", "unix:/none", "rewind", ""); got.out != ":4\n" {
		t.Errorf("nobody answers: %+v", got)
	}
}
