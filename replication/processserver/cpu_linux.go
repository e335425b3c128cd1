package processserver

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// threadCPU is the CPU time that the calling thread has had.
func threadCPU() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		return time.Since(programBegin)
	}
	return time.Duration(t.Nano())
}

// cpuTimes are the machine's idle and total CPU times since boot, in ticks.
type cpuTimes struct{ idle, total uint64 }

// processCPU is the CPU time that this process has had.
func processCPU() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// readCPU reads /proc/stat; zero times where it can't.
func readCPU() (c cpuTimes) {
	f, err := os.Open("/proc/stat")
	if err != nil {
		return c
	}
	defer f.Close()
	line, err := bufio.NewReaderSize(f, 256).ReadString('\n')
	fields := strings.Fields(line)
	if err != nil || len(fields) < 6 || fields[0] != "cpu" {
		return c
	}
	for i, s := range fields[1:min(len(fields), 9)] { // user nice system idle iowait irq softirq steal
		v, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			return cpuTimes{}
		}
		c.total += v
		if i == 3 || i == 4 {
			c.idle += v
		}
	}
	return c
}
