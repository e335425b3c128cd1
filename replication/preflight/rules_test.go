package preflight

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"failback/replication"
)

// finders are the packages that make findings, and the functions by which they do, with the place of the code among the arguments.
var finders = map[string]map[string]int{
	".":                      {"find": 1, "refuse": 0},
	"../plan":                {"say": 1, "refuse": 0, "path": 0},
	"../mastertarget":        {"find": 1},
	"../../retention/volume": {"say": 1, "refuse": 0, "warn": 0, "trial": 0},
}

// others are packages whose problems may become findings, and those whose tests stage some of them.
var others = []string{"..", "../link", "../processserver", "../../transport"}

// scanned is what the source text of the finders says of codes.
type scanned struct {
	found  map[string]string // codes that findings are made with, and where
	named  map[string]bool   // texts that stand anywhere in code: some findings have their codes from a table, or from a problem
	tested map[string]bool   // codes that tests name
}

// scan reads the source text. Constants are followed by their name: in these packages no two of one name have another value.
func scan(t *testing.T) scanned {
	s := scanned{found: map[string]string{}, named: map[string]bool{}, tested: map[string]bool{}}
	values := map[string]string{}
	type file struct {
		*ast.File
		makers map[string]int
	}
	var files []file
	var tests []*ast.File
	set := token.NewFileSet()
	for _, dir := range append(slices.Collect(maps.Keys(finders)), others...) {
		names, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: no files, %v", dir, err)
		}
		for _, name := range names {
			f, err := parser.ParseFile(set, name, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(name, "_test.go") {
				tests = append(tests, f)
				continue
			}
			constants(f, values)
			if filepath.Base(name) != "rules.go" { // the list itself
				files = append(files, file{f, finders[dir]})
			}
		}
	}
	for _, file := range files {
		pkg := file.Name.Name
		declared := map[ast.Expr]bool{} // values of constants: to declare one is not to use it
		ast.Inspect(file.File, func(n ast.Node) bool {
			switch x := n.(type) {
			case *ast.GenDecl:
				if x.Tok == token.CONST {
					for _, spec := range x.Specs {
						for _, v := range spec.(*ast.ValueSpec).Values {
							declared[v] = true
						}
						for _, name := range spec.(*ast.ValueSpec).Names {
							declared[name] = true
						}
					}
				}
			case *ast.CallExpr:
				name := ""
				switch fn := x.Fun.(type) {
				case *ast.Ident:
					name = fn.Name
				case *ast.SelectorExpr:
					name = fn.Sel.Name
				}
				if i, ok := file.makers[name]; ok && i < len(x.Args) {
					if c := valueOf(x.Args[i], pkg, values); c != "" {
						s.found[c] = set.Position(x.Pos()).String()
					}
				}
			case *ast.CompositeLit:
				kind, _ := x.Type.(*ast.SelectorExpr)
				for _, e := range x.Elts {
					kv, ok := e.(*ast.KeyValueExpr)
					if !ok || kind == nil || kind.Sel.Name != "Finding" {
						continue
					}
					if key, _ := kv.Key.(*ast.Ident); key != nil && key.Name == "Code" {
						if c := valueOf(kv.Value, pkg, values); c != "" {
							s.found[c] = set.Position(x.Pos()).String()
						}
					}
				}
			}
			if e, ok := n.(ast.Expr); ok && !declared[e] {
				s.named[valueOf(e, pkg, values)] = true
			}
			return true
		})
	}
	for _, file := range tests {
		pkg := strings.TrimSuffix(file.Name.Name, "_test")
		ast.Inspect(file, func(n ast.Node) bool {
			if e, ok := n.(ast.Expr); ok {
				if c := valueOf(e, pkg, values); c != "" {
					for _, word := range strings.FieldsFunc(c, func(r rune) bool { return r != '-' && (r < 'a' || r > 'z') }) {
						s.tested[word] = true
					}
				}
			}
			return true
		})
	}
	return s
}

// constants notes the text constants of a file, as pkg.Name.
func constants(f *ast.File, values map[string]string) {
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, spec := range g.Specs {
			v := spec.(*ast.ValueSpec)
			for i, name := range v.Names {
				if i < len(v.Values) {
					if lit, ok := v.Values[i].(*ast.BasicLit); ok && lit.Kind == token.STRING {
						values[f.Name.Name+"."+name.Name], _ = strconv.Unquote(lit.Value)
					}
				}
			}
		}
	}
}

// valueOf returns the text of a literal or constant.
func valueOf(e ast.Expr, pkg string, values map[string]string) string {
	switch x := e.(type) {
	case *ast.BasicLit:
		if x.Kind == token.STRING {
			v, _ := strconv.Unquote(x.Value)
			return v
		}
	case *ast.Ident:
		return values[pkg+"."+x.Name]
	case *ast.SelectorExpr:
		if p, ok := x.X.(*ast.Ident); ok {
			return values[p.Name+"."+x.Sel.Name]
		}
	}
	return ""
}

// TestEveryCodeIsInTheList: what is found anywhere has a rule, each rule can be found, and a test stages it. The source text says so.
func TestEveryCodeIsInTheList(t *testing.T) {
	s := scan(t)
	if len(s.found) < 60 || len(s.tested) < 100 {
		t.Fatalf("the scan sees %d codes that are found: %v", len(s.found), slices.Sorted(maps.Keys(s.found)))
	}
	for code, where := range s.found {
		if r, ok := Explain(code); !ok || r.Code != code {
			t.Errorf("%s: code %q is not in the list", where, code)
		}
	}
	for _, r := range rules {
		if !s.named[r.Code] {
			t.Errorf("%s is in the list, and nothing finds it", r.Code)
		}
		if !s.tested[r.Code] {
			t.Errorf("no test names %s", r.Code)
		}
	}
}

func TestListIsWellFormed(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Rules() {
		if r.Code == "" || r.What == "" || r.Remedy == "" || seen[r.Code] || !slices.Contains([]replication.Severity{replication.Info, replication.Warning, replication.Error}, r.Worst) {
			t.Errorf("rule %+v", r)
		}
		if Elsewhere(r.ASR) != "" {
			t.Errorf("%s is found by %s, and said to be told elsewhere", r.ASR, r.Code)
		}
		seen[r.Code] = true
	}
	// What Azure Site Recovery has a code for, of what concerns a failback.
	for _, asr := range []string{"95226", "78052", "78093", "8061", "806", "78022", "78028", "78144", "78169", "78174", "78186", "78188"} {
		if all := Like(asr); (len(all) > 0) == (Elsewhere(asr) != "") {
			t.Errorf("%s: found as %+v, and told elsewhere: %q", asr, all, Elsewhere(asr))
		}
	}
	if len(Like("")) > 0 || len(Near("")) > 0 {
		t.Error("no code has a rule")
	}
	if got := Near("lvm"); !slices.Equal(got, []string{CodeActive, CodeLVM}) {
		t.Errorf("near lvm: %q", got)
	}
}

// TestDocumentedRulesOfVolumes: the list in package volume's doc has the same codes as ours.
func TestDocumentedRulesOfVolumes(t *testing.T) {
	doc, err := os.ReadFile("../../retention/volume/doc.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules {
		if strings.HasPrefix(r.Code, "volume-") && r.Code != "volume-unknown" && !strings.Contains(string(doc), "\t"+r.Code+" ") {
			t.Errorf("%s is not in the doc of package volume", r.Code)
		}
	}
}
