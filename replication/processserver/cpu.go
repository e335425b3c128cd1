package processserver

import "time"

// programBegin is what times that are told apart only are counted from.
var programBegin = time.Now()

// idleSince returns the share of the machine's cores that was idle since the earlier reading, 0 to 1; -1 where it is not known.
func (c cpuTimes) idleSince(earlier cpuTimes) float64 {
	if c.total <= earlier.total || c.idle < earlier.idle {
		return -1
	}
	return float64(c.idle-earlier.idle) / float64(c.total-earlier.total)
}
