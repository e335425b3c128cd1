package source

import (
	"os"
	"syscall"
	"testing"
)

// blocks returns how many 512-byte blocks a file takes.
func blocks(t *testing.T, path string) int64 {
	t.Helper()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return fi.Sys().(*syscall.Stat_t).Blocks
}
