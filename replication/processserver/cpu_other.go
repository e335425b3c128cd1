//go:build !linux

package processserver

import "time"

// threadCPU is wall time here: what else the machine does is in it.
func threadCPU() time.Duration { return time.Since(programBegin) }

// processCPU is not known here: all but compression seems to cost nothing, and half of the cores are had.
func processCPU() time.Duration { return 0 }

// cpuTimes are not known here.
type cpuTimes struct{ idle, total uint64 }

func readCPU() cpuTimes { return cpuTimes{} }
