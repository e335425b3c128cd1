package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// screen is a writer whose lines are to be no longer than a number of characters; 0: as long as they like.
type screen struct {
	io.Writer
	width int
}

// screenOf returns what shows text on w: as wide as its terminal.
func (t *tool) screenOf(w io.Writer) screen {
	s := screen{w, t.width}
	if f, ok := w.(*os.File); ok && s.width == 0 && isTerminal(f) {
		s.width, _, _ = term.GetSize(int(f.Fd()))
	}
	return s
}

const (
	gutter    = 2  // between two columns
	leastLast = 20 // what a last column needs to be read at all
)

// table writes rows in aligned columns; the first row is the head. Where that is wider than a screen, the last column goes on in lines below it; where that does not do, each row is
// told by itself, a line for each column.
func table(w io.Writer, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, r := range rows {
		for i := range r {
			if r[i] == "" {
				r[i] = "-"
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(r[i]))
		}
	}
	left, last := 0, len(widths)-1
	for _, n := range widths[:last] {
		left += n + gutter
	}
	s, _ := w.(screen)
	switch {
	case s.width == 0 || left+widths[last] <= s.width:
		s.width = left + widths[last]
	case s.width-left < leastLast:
		cards(w, rows)
		return
	}
	for _, r := range rows {
		var line strings.Builder
		for i, cell := range r[:last] {
			fmt.Fprintf(&line, "%-*s", widths[i]+gutter, cell)
		}
		for _, part := range wrapped(r[last], s.width-left) {
			fmt.Fprintln(w, line.String()+part)
			line.Reset()
			fmt.Fprintf(&line, "%*s", left, "")
		}
	}
}

// cards writes each row by itself.
func cards(w io.Writer, rows [][]string) {
	widest := 0
	for _, name := range rows[0] {
		widest = max(widest, utf8.RuneCountInString(name))
	}
	for i, r := range rows[1:] {
		if i > 0 {
			fmt.Fprintln(w)
		}
		for k, cell := range r {
			fmt.Fprintf(w, "%-*s%s\n", widest+gutter, rows[0][k], cell)
		}
	}
}

// wrapped returns a text in lines of at most so many characters, broken at spaces; a word that is longer stays whole.
func wrapped(text string, width int) (lines []string) {
	if utf8.RuneCountInString(text) <= width {
		return []string{text}
	}
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
