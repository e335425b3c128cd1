package main

import (
	"fmt"
	"time"
)

// size returns a number of bytes as people write it.
func size(n int64) string {
	const units = "KMGTPE"
	if n < 1024 && n > -1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, u := float64(n)/1024, 0
	for ; (f >= 999.95 || f <= -999.95) && u < len(units)-1; u++ {
		f /= 1024
	}
	return fmt.Sprintf("%.1f %ciB", f, units[u])
}

// age returns a duration as people say it, with at most two units.
func age(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + age(-d)
	case d > 0 && d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	}
	s := int64(d.Round(time.Second) / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	case s < 48*3600:
		return fmt.Sprintf("%dh%02dm", s/3600, s/60%60)
	}
	return fmt.Sprintf("%dd%02dh", s/86400, s/3600%24)
}

// clock returns a time in this machine's time zone.
func clock(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

// percent returns how much done is of total. It is 100 only when all is done.
func percent(done, total int64) string {
	if total <= 0 {
		return "-"
	}
	p := int64(float64(done) / float64(total) * 100)
	if done < total {
		p = min(p, 99)
	}
	return fmt.Sprintf("%d %%", p)
}

// plural returns a count with its noun.
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// skew writes how far apart the disks of a point were cut, rounded up; "-": that is not known.
func skew(d time.Duration) string {
	switch {
	case d <= 0:
		return "-"
	case d < time.Second:
		return fmt.Sprintf("%d ms", (d+time.Millisecond-1)/time.Millisecond)
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
