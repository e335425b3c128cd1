package source

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"failback/replication"
)

func TestParseRange(t *testing.T) {
	const size = 1 << 20
	for line, want := range map[string]replication.Extent{
		"0 512":                {Off: 0, End: 512},
		"  4096\t1 ":           {Off: 4096, End: 4097},
		"0x1000 0X10":          {Off: 4096, End: 4112},
		"010 08":               {Off: 10, End: 18}, // decimal, not octal
		"0 1048576":            {Off: 0, End: size},
		"512 0":                {Off: 512, End: 512},
		"1048576 0":            {Off: size, End: size},
		"0 512\r":              {Off: 0, End: 512},
		"":                     {},
		"0x00000000000000 0x1": {Off: 0, End: 1},
	} {
		if got, err := parseRange([]byte(line), size); got != want || err != nil {
			t.Errorf("%q: got %v %v, want %v", line, got, err, want)
		}
	}
	for _, line := range []string{
		"0", "0 1 2", "-1 5", "0 -5", "+1 1", "1,2", "1_0 1", "0b1 1", "0x 1", "1 0x", "a 1", "1.0 1", "0 1048577", "1048576 1", "1048577 0",
		"9223372036854775807 9223372036854775807", "18446744073709551615 1", "0 99999999999999999999", "0x8000000000000000 1", "error: no such device",
	} {
		if got, err := parseRange([]byte(line), size); err == nil {
			t.Errorf("%q: got %v, want an error", line, got)
		}
	}
}

// FuzzParseRange: what is accepted lies within the disk.
func FuzzParseRange(f *testing.F) {
	for _, s := range []string{"0 512", "0x10 0x20", "9223372036854775807 1", "1 9223372036854775807", "\x00 \xff", "0 0 0"} {
		f.Add([]byte(s), int64(1<<20))
	}
	f.Fuzz(func(t *testing.T, line []byte, size int64) {
		if size < 0 || size > replication.MaxDiskSize {
			return
		}
		e, err := parseRange(line, size)
		if err == nil && !(0 <= e.Off && e.Off <= e.End && e.End <= size) {
			t.Errorf("%q: %v outside %d", line, e, size)
		}
	})
}

// FuzzParseChanges: what is accepted is what would be written for it.
func FuzzParseChanges(f *testing.F) {
	h := changesHeader{newCutID(1<<20, 7, "7-x"), 6}
	f.Add(appendChanges(nil, h, nil))
	f.Add(appendChanges(nil, h, []replication.Extent{{Off: 0, End: 4096}, {Off: 8192, End: 1 << 20}}))
	f.Add(appendChanges(nil, h, []replication.Extent{{Off: 0, End: 4096}, {Off: 4096, End: 1 << 20}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, set, err := parseChanges(b)
		if err != nil {
			return
		}
		again := appendChanges(nil, h, set.Extents())
		if len(again) != len(b) || !bytes.Equal(again[16:len(again)-4], b[16:len(b)-4]) {
			t.Errorf("%x is read as %x", b, again)
		}
	})
}

func TestParseChangesRefuses(t *testing.T) {
	h := changesHeader{newCutID(1<<20, 7, "7-x"), 6}
	for name, x := range map[string][]replication.Extent{
		"Falling":  {{Off: 8192, End: 12288}, {Off: 0, End: 4096}},
		"Touching": {{Off: 0, End: 4096}, {Off: 4096, End: 8192}},
		"Empty":    {{Off: 4096, End: 4096}},
		"Outside":  {{Off: 0, End: 1<<20 + 1}},
		"Negative": {{Off: -1, End: 1}},
	} {
		if _, set, err := parseChanges(appendChanges(nil, h, x)); err == nil {
			t.Errorf("%s: %v", name, set.Extents())
		}
	}
	whole := appendChanges(nil, h, []replication.Extent{{Off: 0, End: 4096}, {Off: 8192, End: 1 << 20}})
	if got, set, err := parseChanges(whole); err != nil || got != h || set.Bytes() != 4096+1<<20-8192 {
		t.Fatalf("got %v %v %v", got, set, err)
	}
	for i := range whole {
		b := bytes.Clone(whole)
		b[i] ^= 0x40
		if _, _, err := parseChanges(b); err == nil {
			t.Errorf("byte %d flipped: nothing is missed", i)
		}
		if _, _, err := parseChanges(whole[:i]); err == nil {
			t.Errorf("%d bytes of it: nothing is missed", i)
		}
	}
}

// TestRangesNeverLoseAByte compares with a map of pages, few and very many, in any order.
func TestRangesNeverLoseAByte(t *testing.T) {
	for _, c := range []struct {
		n      int
		size   int64
		exact  bool
		rising bool
	}{
		{100, 1<<20 + 512, true, false},
		{5000, 1 << 30, true, false},
		{300_000, 64 << 40, false, false},
		{300_000, 64 << 40, false, true},
	} {
		r := rand.New(rand.NewPCG(uint64(c.n), 1))
		p := newRanges(c.size)
		var told []replication.Extent
		for i := range c.n {
			off := r.Int64N(c.size)
			if c.rising {
				off = int64(i) * 8192
			}
			e := replication.Extent{Off: off, End: min(c.size, off+1+r.Int64N(9000))}
			told = append(told, e)
			if err := p.add(fmt.Appendf(nil, "%d 0x%x", e.Off, e.Len())); err != nil {
				t.Fatal(err)
			}
		}
		x := p.extents()
		set := replication.NewSet(x...)
		if len(x) > maxExtents || !slices.Equal(set.Extents(), x) {
			t.Fatalf("%d ranges, which rise and do not touch: %v", len(x), slices.Equal(set.Extents(), x))
		}
		for _, e := range told {
			if !set.Contains(e.Outward(c.size)) {
				t.Fatalf("%v is lost", e)
			}
		}
		if c.exact {
			want := &replication.Set{}
			for _, e := range told {
				want.Add(e.Outward(c.size))
			}
			if set.Digest() != want.Digest() {
				t.Fatalf("%d bytes, want %d", set.Bytes(), want.Bytes())
			}
		}
	}
}

func TestLines(t *testing.T) {
	const text = "a\n\nbc\r\nlast"
	for size := 1; size <= len(text); size++ {
		var got []string
		l := &lines{line: func(b []byte) error { got = append(got, string(b)); return nil }}
		for s := text; s != ""; s = s[min(size, len(s)):] {
			if _, err := l.Write([]byte(s[:min(size, len(s))])); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.end(); err != nil || strings.Join(got, "|") != "a||bc\r|last" {
			t.Errorf("by %d: %q %v", size, got, err)
		}
	}
	l := &lines{line: func([]byte) error { return nil }}
	for i := range 3 {
		_, err := l.Write(bytes.Repeat([]byte("x"), maxLine/2))
		if (err != nil) != (i == 2) {
			t.Errorf("write %d: %v", i, err)
		}
	}
}
