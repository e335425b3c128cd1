package endtoend

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"text/tabwriter"

	"failback/replication"
)

// story is a world, and what its operator typed and was answered.
type story struct {
	*world
	path  string // of the plan
	shift int    // how many more points are told than there are: how many are made in a while depends on the time; 0: no number is told yet
	said  strings.Builder
}

// toldFirst is the first point that is told by its number.
const toldFirst = 10

// tellsAs has a point told as another, and those after it by that.
func (s *story) tellsAs(point replication.PointID, as int) { s.shift = as - int(point) }

// tell says what happens, in lines of a comment.
func (s *story) tell(text string) {
	s.t.Log(text)
	line := "\n#"
	for word := range strings.FieldsSeq(text) {
		if len(line)+len(word) > 100 {
			s.said.WriteString(line + "\n")
			line = "#"
		}
		line += " " + word
	}
	s.said.WriteString(line + "\n")
}

// types runs a failback command, and notes what it answered: a result or, where it failed, why.
func (s *story) types(args ...string) {
	s.t.Helper()
	s.typesFor(func(string) bool { return true }, args...)
}

// typesFor is types, and leaves out lines of which keep says no: what is another thing on another machine, or at another time.
func (s *story) typesFor(keep func(line string) bool, args ...string) {
	s.t.Helper()
	out, said, code := s.CLI(s.ctx, args...)
	typed := "failback"
	for _, a := range args {
		if strings.ContainsAny(a, " ;") {
			a = "'" + a + "'"
		}
		typed += " " + a
	}
	text, last := "", ""
	for line := range strings.Lines(string(out)) {
		if !keep(line) {
			line = "…\n"
		}
		if line != last || line != "…\n" {
			text += line
		}
		last = line
	}
	if code != 0 {
		text += why(said) + fmt.Sprintf("(exit code %d)\n", code)
	}
	s.answers(typed, text)
}

// why is what a command said of why it failed: what it told of its progress before depends on how long that took.
func why(said []byte) string {
	all := "\n" + string(said)
	if at := strings.LastIndex(all, "\nfailback: "); at >= 0 {
		return all[at+1:]
	}
	return string(said)
}

// runsQuietly runs a failback command that must succeed, and returns its result.
func (s *story) runsQuietly(args ...string) string {
	s.t.Helper()
	out, said, code := s.CLI(s.ctx, args...)
	if code != 0 {
		s.t.Fatalf("failback %s: exit code %d: %s%s", strings.Join(args, " "), code, out, said)
	}
	return string(out)
}

// answers notes what was typed and answered.
func (s *story) answers(typed, answer string) {
	fmt.Fprintf(&s.said, "\n$ %s\n%s", s.plain(typed), aligned(s.plain(answer)))
}

var (
	clocks    = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`)
	rates     = regexp.MustCompile(`\b\d+(\.\d+)? ([KMGT]i)?B/s`)
	sizes     = regexp.MustCompile(`\b\d+(\.\d+)? ([KMGT]i)?B\b`)
	durations = regexp.MustCompile(`\b(\d+d\d\dh|\d+h\d\dm|\d+m\d\ds|\d+ ?ms|\d+(\.\d)? ?s)( [^-]|[^ \w]|$)`)
	ids       = regexp.MustCompile(`(content id is |ours was )[0-9a-f]{8}`)
	numbers   = regexp.MustCompile(`\b([Pp]oints? |erp )(\d+)\b`)
	landing   = regexp.MustCompile(`would stand at point \d+`)
	listed    = regexp.MustCompile(`(?m)^\d+\b`)
)

// plain leaves out of a text what is another one each time.
func (s *story) plain(text string) string {
	for _, place := range [][2]string{{s.Targets, "/vmfs/volumes/ds1"}, {s.Sources, "/dev/azure"}, {s.Retention, "/mnt/retention"}, {s.Dir + "/drill", "/mnt/drill"}, {s.Dir + "/", ""}} {
		text = strings.ReplaceAll(text, place[0], place[1])
	}
	for _, r := range []struct {
		what *regexp.Regexp
		by   string
	}{{clocks, "<clock>"}, {rates, "<rate>"}, {sizes, "<size>"}, {durations, "<time>$3"}, {ids, "$1<id>"}} {
		text = r.what.ReplaceAllString(text, r.by)
	}
	text = strings.ReplaceAll(text, ", after <time> of preparing while it runs", "") // if there is any, with one point more
	text = landing.ReplaceAllString(text, "would stand at point <next>")
	if s.shift == 0 {
		return text
	}
	told := func(number string) string {
		n, _ := strconv.Atoi(number)
		return fmt.Sprint(n + s.shift)
	}
	text = numbers.ReplaceAllStringFunc(text, func(m string) string {
		word, number, _ := strings.Cut(m, " ")
		return word + " " + told(number)
	})
	return listed.ReplaceAllStringFunc(text, told)
}

// aligned sets tables again, whose columns have become wider or narrower: lines that have two spaces between words, after one that does in capitals. Of a list of points only those that are
// told by number are kept.
func aligned(text string) string {
	var b strings.Builder
	gap := regexp.MustCompile(`  +`)
	var t *tabwriter.Writer
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		head := line != "" && line == strings.ToUpper(line) && gap.MatchString(line)
		if t != nil && !gap.MatchString(line) || head {
			if t != nil {
				t.Flush()
			}
			t = nil
		}
		if head {
			t = tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		}
		if t == nil {
			fmt.Fprintln(&b, line)
			continue
		}
		if cells := gap.Split(line, -1); !isEarlier(cells[0]) {
			fmt.Fprintln(t, strings.Join(cells, "\t"))
		}
	}
	if t != nil {
		t.Flush()
	}
	return b.String()
}

func isEarlier(cell string) bool {
	n, err := strconv.Atoi(cell)
	return err == nil && n < toldFirst
}

// golden holds the transcript against a file.
func (s *story) golden(path string) {
	s.t.Helper()
	got := strings.TrimLeft(s.said.String(), "\n")
	if *update {
		s.must(os.WriteFile(path, []byte(got), 0o644))
		return
	}
	b, err := os.ReadFile(path)
	s.must(err)
	if want := string(b); got != want {
		g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
		at := 0
		for at < len(g) && at < len(w) && g[at] == w[at] {
			at++
		}
		s.t.Errorf("the transcript differs from %s in line %d: got\n%s\nwant\n%s\nthe whole:\n%s", path, at+1, strings.Join(g[at:min(len(g), at+5)], "\n"), strings.Join(w[at:min(len(w), at+5)], "\n"), got)
	}
}
