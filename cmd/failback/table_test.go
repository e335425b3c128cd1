package main

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"failback/transport/operatortest"
)

func TestTablesFitTheScreen(t *testing.T) {
	rows := func() [][]string {
		return [][]string{{"POINT", "KIND", "NOTES"}, {"1", "crash", "head, pinned: before the upgrade of the warehouse"}, {"12", "", "–"}}
	}
	for width, want := range map[int]string{
		0: "POINT  KIND   NOTES\n" +
			"1      crash  head, pinned: before the upgrade of the warehouse\n" +
			"12     -      –\n",
		40: "POINT  KIND   NOTES\n" +
			"1      crash  head, pinned: before the\n" +
			"              upgrade of the warehouse\n" +
			"12     -      –\n",
		30: "POINT  1\nKIND   crash\nNOTES  head, pinned: before the upgrade of the warehouse\n\nPOINT  12\nKIND   -\nNOTES  –\n",
	} {
		var b bytes.Buffer
		table(screen{&b, width}, rows())
		if b.String() != want {
			t.Errorf("%d wide: got\n%swant\n%s", width, b.String(), want)
		}
	}
}

// TestPointsFitTheTerminal runs a command on a terminal of 80 characters.
func TestPointsFitTheTerminal(t *testing.T) {
	var out, errs bytes.Buffer
	address := operatortest.Serve(t, staged())
	if code := run(t.Context(), []string{"points", "erp", "--operator", address}, streams{in: strings.NewReader(""), out: &out, err: &errs}, pace{width: 80}); code != 0 {
		t.Fatal(errs.String())
	}
	for line := range strings.Lines(out.String()) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 {
			t.Errorf("%d characters: %s", n, line)
		}
	}
}
