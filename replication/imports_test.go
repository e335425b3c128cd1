package replication_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// mayImport says which packages of ours a package and those below it may import, besides those below it. What is not here may import anything but programs.
var mayImport = map[string][]string{
	"blockio":                   {},
	"proto":                     {},
	"replication":               {"replication/pagehash"},
	"replication/backup":        {"replication"},
	"replication/block":         {"replication", "replication/crc32c"},
	"replication/crc32c":        {},
	"replication/forecast":      {"replication"},
	"replication/jobs":          {"replication", "replication/backup"},
	"replication/link":          {"replication", "replication/block", "replication/throttle"},
	"replication/throttle":      {},
	"replication/health":        {"replication"},
	"replication/plan":          {"replication", "replication/throttle", "retention/policy"},
	"replication/pagehash":      {},
	"replication/preflight":     {"replication", "replication/health", "replication/link", "replication/plan", "retention/policy", "retention/volume", "blockio"},
	"replication/mastertarget":  {"replication", "replication/backup", "replication/block", "replication/forecast", "replication/health", "replication/link", "replication/plan", "replication/preflight", "replication/preflight/machine", "replication/throttle", "retention", "retention/policy", "retention/volume", "blockio"},
	"replication/processserver": {"replication", "replication/block", "replication/link", "replication/throttle", "source"},
	"retention":                 {"replication", "replication/block", "replication/crc32c"},
	"retention/policy":          {"replication"},
	"source":                    {"replication", "replication/crc32c", "blockio"},
	"transport":                 {"proto", "replication", "replication/backup", "replication/block", "replication/link", "replication/throttle"},
}

// noNames are names that say nothing.
var noNames = []string{"util", "utils", "common", "types", "helper", "helpers", "misc"}

// testsMayImport says what a package's tests may import besides: master target and process server are tested against each other, without a wire and with one.
var testsMayImport = map[string][]string{
	"cmd/endtoend":             {"proto"}, // who attacks speaks for himself
	"replication/mastertarget": {"replication/processserver", "source"},
	"transport":                {"replication/processserver", "replication/mastertarget"}, // and with a wire
}

// TestImportsRunOneWay reads the import clauses of all Go files of the module. Tests may, besides, import packages that are there for tests (…test).
func TestImportsRunOneWay(t *testing.T) {
	seen := map[string]bool{}
	err := filepath.WalkDir("..", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := d.Name(); d.IsDir() && (name == "testdata" || name == "build" || name == "bin" || strings.HasPrefix(name, ".") && name != "..") {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(file, ".go") {
			return nil
		}
		pkg := filepath.ToSlash(filepath.Dir(file))[len(".."):]
		pkg = strings.TrimPrefix(pkg, "/")
		seen[pkg] = true
		if slices.Contains(noNames, path.Base(pkg)) {
			t.Errorf("package %s has a name that says nothing", pkg)
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, i := range f.Imports {
			imported, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			if ours, ok := strings.CutPrefix(imported, "failback/"); ok {
				if why := forbidden(pkg, ours, strings.HasSuffix(file, "_test.go") || forTests(pkg)); why != "" {
					t.Errorf("%s imports %s: %s", file, ours, why)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range mayImport {
		if !seen[pkg] {
			t.Errorf("there is a rule for package %s, which does not exist", pkg)
		}
	}
}

func forTests(pkg string) bool { return strings.HasSuffix(pkg, "test") }

// below says whether pkg is top or below it.
func below(pkg, top string) bool { return pkg == top || strings.HasPrefix(pkg, top+"/") }

func forbidden(pkg, imported string, test bool) string {
	if below(imported, "cmd") && !below(pkg, "cmd") {
		return "only programs use what belongs to programs"
	}
	if below(imported, "proto") && !below(pkg, "transport") && !(test && slices.Contains(testsMayImport[pkg], imported)) {
		return "wire types stop at package transport"
	}
	if forTests(imported) {
		if test {
			return ""
		}
		return "it is there for tests"
	}
	rule := ""
	for top := range mayImport {
		if below(pkg, top) && len(top) > len(rule) {
			rule = top
		}
	}
	if rule == "" || below(imported, rule) && (rule != "replication" || imported == "replication") || slices.Contains(mayImport[rule], imported) {
		return ""
	}
	if test && slices.Contains(testsMayImport[rule], imported) {
		return ""
	}
	return "package " + rule + " may only import " + strings.Join(mayImport[rule], ", ")
}

func TestImportsRulesForbid(t *testing.T) {
	for _, c := range []struct {
		pkg, imported string
		test, ok      bool
	}{
		{"blockio", "replication", false, false},
		{"blockio/blockiotest", "blockio", false, true},
		{"blockio", "blockio/blockiotest", false, false},
		{"blockio", "blockio/blockiotest", true, true},
		{"retention", "blockio", false, false},
		{"retention", "replication/block", false, true},
		{"retention/volume", "replication/mastertarget", false, false},
		{"source", "replication", false, true},
		{"source", "transport", false, false},
		{"replication", "replication/link", false, false},
		{"replication/plan/strictyaml", "replication/plan", false, true},
		{"replication/mastertarget", "transport", false, false},
		{"replication/mastertarget", "proto", true, false},
		{"replication/mastertarget", "replication/processserver", false, false},
		{"replication/mastertarget", "replication/processserver", true, true},
		{"transport/pki", "proto", false, true},
		{"cmd/failback", "proto", false, false},
		{"cmd/failback", "transport", false, true},
		{"bench", "cmd/internal/settings", false, false},
	} {
		if got := forbidden(c.pkg, c.imported, c.test); (got == "") != c.ok {
			t.Errorf("%s imports %s (test: %v): got %q, want allowed: %v", c.pkg, c.imported, c.test, got, c.ok)
		}
	}
}
