package pagehash

import (
	"testing"

	"golang.org/x/sys/cpu"
)

// TestWhatTheProcessorHasIsUsed: a way that gives wrong sums is not taken, and nobody would see that it is gone.
func TestWhatTheProcessorHasIsUsed(t *testing.T) {
	if cpu.X86.HasAVX && hasSHA() && !pairs {
		t.Error("two at a time are not what crypto/sha256 gives")
	}
	if cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && sixteenLeast > Most {
		t.Error("sixteen at a time are not what crypto/sha256 gives")
	}
}
