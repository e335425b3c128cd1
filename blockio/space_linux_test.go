package blockio_test

import (
	"os"
	"syscall"
	"testing"
)

// bytesUsed is how much space the file at path takes.
func bytesUsed(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Blocks * 512
}
