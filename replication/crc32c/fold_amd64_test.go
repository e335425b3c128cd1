package crc32c

import (
	"testing"

	"golang.org/x/sys/cpu"
)

// TestWhatTheProcessorHasIsUsed: a way that gives wrong sums is not taken, and nobody would see that it is gone.
func TestWhatTheProcessorHasIsUsed(t *testing.T) {
	if x := cpu.X86; x.HasAVX512F && x.HasAVX512DQ && x.HasAVX512VPCLMULQDQ && foldLeast == never {
		t.Error("folding does not give what hash/crc32 does")
	}
}
