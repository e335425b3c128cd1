package blockio_test

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
)

func extentText(sectors int64, file string, offset int64) string {
	return fmt.Sprintf("RW %d FLAT %q %d\n", sectors, file, offset)
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

func writeFile(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
