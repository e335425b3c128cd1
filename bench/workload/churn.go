package workload

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"

	"failback/replication"
)

// Scatter changes n pages of a file, spread evenly over the places where it holds data, durably. Half of each page becomes random bytes and the other half what another
// page holds: about what a database's page compresses to. It returns what was changed, in rising order.
func Scatter(path string, data []replication.Extent, n int, seed uint64) ([]replication.Extent, error) {
	pages := pagesOf(data)
	if n > len(pages) {
		return nil, fmt.Errorf("change %d pages of %s: it holds %d", n, path, len(pages))
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	random := rand.New(rand.NewPCG(seed, 0))
	noise := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)})
	picked := make([]int64, n)
	for i := range picked { // the first part of a shuffle
		j := i + random.IntN(len(pages)-i)
		pages[i], pages[j] = pages[j], pages[i]
		picked[i] = pages[i]
	}
	slices.Sort(picked)
	page := make([]byte, replication.Page)
	changed := make([]replication.Extent, n)
	for i, off := range picked {
		if _, err := f.ReadAt(page, pages[random.IntN(len(pages))]); err != nil {
			return nil, err
		}
		noise.Read(page[:len(page)/2])
		if _, err := f.WriteAt(page, off); err != nil {
			return nil, err
		}
		changed[i] = replication.Extent{Off: off, End: off + replication.Page}
	}
	return changed, f.Sync()
}

// pagesOf returns the offsets of all whole pages in data.
func pagesOf(data []replication.Extent) []int64 {
	var all []int64
	for _, x := range data {
		for off := (x.Off + replication.Page - 1) &^ (replication.Page - 1); off+replication.Page <= x.End; off += replication.Page {
			all = append(all, off)
		}
	}
	return all
}

// WriteRanges writes extents to a file as a changes command prints them: "offset length", one a line.
func WriteRanges(path string, all []replication.Extent) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	for _, x := range all {
		fmt.Fprintln(w, x.Off, x.Len())
	}
	if err := w.Flush(); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
