// Package observetest holds the dashboard and the alert rules of observe/ against what the daemons export.
package observetest

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	named    = regexp.MustCompile(`\b(failback_[a-z_]+)(\{[^}]*\})?`)
	selector = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)`)
	values   = regexp.MustCompile(`label_values\((failback_[a-z_]+), *([a-z_]+)\)`)
	desc     = regexp.MustCompile(`fqName: "([a-z_]+)".*variableLabels: \{([^}]*)\}`)
)

// prefixes are those of all metrics of ours.
var prefixes = []string{"failback_mastertarget_", "failback_retention_", "failback_processserver_"}

// Exported checks that each metric of these prefixes that a file in the directory names is one of the collector's, with the labels by which it is chosen there; and that the files name some.
func Exported(t *testing.T, dir string, c prometheus.Collector, ours ...string) {
	t.Helper()
	labels := map[string][]string{}
	ch := make(chan *prometheus.Desc)
	go func() { c.Describe(ch); close(ch) }()
	for d := range ch {
		m := desc.FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("what is %s?", d)
		}
		labels[m[1]] = strings.Split(m[2], ",")
	}
	used := map[string]bool{}
	for _, name := range []string{"dashboard.json", "alerts.yml"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(b), `\"`, `"`)
		for _, m := range named.FindAllStringSubmatch(text, -1) {
			if !slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(m[1], p) }) {
				t.Errorf("%s: %s is no metric of any daemon", name, m[1])
			}
			if !slices.ContainsFunc(ours, func(p string) bool { return strings.HasPrefix(m[1], p) }) {
				continue
			}
			has, ok := labels[m[1]]
			if !ok {
				t.Errorf("%s: there is no metric %s", name, m[1])
				continue
			}
			used[m[1]] = true
			for _, s := range selector.FindAllStringSubmatch(m[2], -1) {
				if !slices.Contains(has, s[1]) && s[1] != "job" && s[1] != "instance" {
					t.Errorf("%s: metric %s has labels %q, and is chosen by %s", name, m[1], has, s[1])
				}
			}
		}
		for _, m := range values.FindAllStringSubmatch(text, -1) {
			if has, ok := labels[m[1]]; ok && !slices.Contains(has, m[2]) {
				t.Errorf("%s: metric %s has labels %q, not %s", name, m[1], has, m[2])
			}
		}
	}
	if len(used) == 0 {
		t.Errorf("no metric of %q is named in %s", ours, dir)
	}
}
