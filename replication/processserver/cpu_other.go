//go:build !linux

package processserver

import "time"

// threadCPU is wall time here: what else the machine does is in it.
func threadCPU() time.Duration { return time.Since(programBegin) }

// cpuTimes are not known here.
type cpuTimes struct{ idle, total uint64 }

func readCPU() cpuTimes { return cpuTimes{} }
