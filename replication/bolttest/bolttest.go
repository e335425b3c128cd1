// Package bolttest makes the files that a crash may leave of a bbolt database, for tests.
//
// A transaction writes its pages, in any order, and syncs; then it writes one of the two meta pages, the first of the file, and syncs. Before the first sync each of its pages may be there, in part, or not at all; after it the meta page may.
// Nothing else counts: what bbolt has not synced, a crash may have written or lost.
package bolttest

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
)

// Image is what a crash leaves.
type Image struct {
	Name string
	File []byte
	New  bool // the transaction is there; else it is not
}

// Crashes returns what a crash may leave of a database that was before, while one transaction made it after.
func Crashes(t *testing.T, before, after []byte) []Image {
	t.Helper()
	page := int(binary.LittleEndian.Uint32(after[16+8:])) // page header, then magic, version, page size
	if page < 512 || page&(page-1) != 0 || len(after)%page != 0 {
		t.Fatalf("pages of %d bytes in a file of %d", page, len(after))
	}
	at := func(b []byte, i int) []byte { return b[min(len(b), i*page):min(len(b), (i+1)*page)] }
	var data, meta []int
	for i := range len(after) / page {
		switch {
		case bytes.Equal(at(before, i), at(after, i)):
		case i < 2:
			meta = append(meta, i)
		default:
			data = append(data, i)
		}
	}
	switch {
	case len(meta) == 0 && len(data) == 0:
		return nil
	case len(meta) != 1:
		t.Fatalf("a transaction has written meta pages %v", meta)
	}
	grown := make([]byte, max(len(before), len(after)))
	copy(grown, before)
	images := []Image{{"nothing is written", slices.Clone(before), false}, {"the file has grown", grown, false}}
	add := func(name string, base []byte, is bool, pages ...int) {
		f := slices.Clone(base)
		for _, i := range pages {
			copy(f[i*page:], at(after, i))
		}
		images = append(images, Image{name, f, is})
	}
	for n, i := range data {
		add("one page alone", grown, false, i)
		add("all pages up to one", grown, false, data[:n+1]...)
		add("all pages but one", grown, false, slices.Concat(data[:n], data[n+1:])...)
		torn := slices.Clone(grown)
		copy(torn[i*page:], at(after, i)[:page/2])
		add("all pages, one torn", torn, false, data[:n]...)
	}
	whole := slices.Clone(grown)
	for _, i := range data {
		copy(whole[i*page:], at(after, i))
	}
	m := meta[0]
	for _, n := range []int{16, 24, 40, 56, 72, 79} { // within its fields, and before the last byte of its checksum
		torn := slices.Clone(whole)
		copy(torn[m*page:], at(after, m)[:n])
		images = append(images, Image{"the meta page is torn", torn, bytes.Equal(at(torn, m), at(after, m))})
	}
	lost := slices.Clone(whole)
	clear(at(lost, m)[16:])
	images = append(images, Image{"the meta page is lost", lost, false})
	add("all is written", whole, true, m)
	return images
}
