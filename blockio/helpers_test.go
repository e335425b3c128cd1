package blockio_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

func extentText(sectors int64, file string, offset int64) string {
	return fmt.Sprintf("RW %d FLAT %q %d\n", sectors, file, offset)
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
