package blockio_test

import (
	"path/filepath"
	"testing"

	"failback/blockio"
	"failback/blockio/blockiotest"
)

// BenchmarkSequentialWrite writes 1 MiB at a time and syncs at the end; the disk is new each time.
func BenchmarkSequentialWrite(b *testing.B) {
	const size = 512 << 20
	p := blockiotest.Pattern(1, 1<<20)
	for _, f := range []blockio.Format{blockio.FormatVMFS, blockio.FormatMonolithicSparse} {
		b.Run(string(f), func(b *testing.B) {
			b.SetBytes(size)
			b.ReportAllocs()
			for range b.N {
				path := filepath.Join(b.TempDir(), "x.vmdk")
				if err := blockio.Create(path, f, size); err != nil {
					b.Fatal(err)
				}
				d, err := openForWriting(path)
				if err != nil {
					b.Fatal(err)
				}
				for off := int64(0); off < size; off += int64(len(p)) {
					if _, err := d.WriteAt(p, off); err != nil {
						b.Fatal(err)
					}
				}
				if err := d.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkMapEmpty walks the data ranges of an empty sparse disk of 1 TiB.
func BenchmarkMapEmpty(b *testing.B) {
	path := filepath.Join(b.TempDir(), "x.vmdk")
	if err := blockio.Create(path, blockio.FormatMonolithicSparse, 1<<40); err != nil {
		b.Fatal(err)
	}
	for range b.N {
		d, err := blockio.OpenReader(path)
		if err != nil {
			b.Fatal(err)
		}
		if start, _, err := d.NextData(0); err != nil || start != 1<<40 {
			b.Fatalf("NextData = %d, %v", start, err)
		}
		d.Close()
	}
}
