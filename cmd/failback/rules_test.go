package main

import (
	"strings"
	"testing"

	"failback/replication/preflight"
)

// TestListAndExplain: all codes are listed, each can be explained, by either code, and no master target is needed for that.
func TestListAndExplain(t *testing.T) {
	t.Setenv(operatorEnv, "")
	list := failback(t.Context(), "", "check", "--list")
	codes := document(t, failback(t.Context(), "", "check", "--list", "--json").out)["codes"].([]any)
	if list.code != 0 || len(codes) != len(preflight.Rules()) || strings.Count(list.out, "\n") != len(codes)+1 {
		t.Errorf("got %+v", list)
	}
	for _, r := range preflight.Rules() {
		for _, code := range []string{r.Code, r.ASR} {
			if code == "" {
				continue
			}
			got := failback(t.Context(), "", "check", "--explain", code)
			if got.code != 0 || !strings.Contains(got.out, r.What) || !strings.Contains(list.out, code) {
				t.Errorf("%s: got %+v", code, got)
			}
		}
	}
	for args, want := range map[string]result{
		"--explain nonsense":         {code: 1, err: "failback check --list"},
		"--explain lvm":              {code: 1, err: "did you mean target-lvm-active, lvm-below?"},
		"--explain 78144":            {code: 1, err: "application-consistent"},
		"--list --explain lvm-below": {code: 2, err: "not both"},
		"--list plan.yaml":           {code: 2, err: "plan.yaml"},
		"":                           {code: 2, err: "--list"},
	} {
		got := failback(t.Context(), "", append([]string{"check"}, strings.Fields(args)...)...)
		if got.code != want.code || got.out != "" || !strings.Contains(got.err, want.err) {
			t.Errorf("check %s: got %+v, want %q", args, got, want.err)
		}
	}
}
