package preflight

import (
	"fmt"
	"time"

	"failback/replication"
	"failback/replication/link"
)

// Worker is the process server.
type Worker struct {
	Name         string
	Seen         bool // it was connected since the master target was started
	Connected    bool
	Since        time.Time // connected, or gone, since then
	Ours, Theirs link.Version
	Skew         time.Duration // its clock less ours
	Dir          string        // its state directory
	Total, Free  int64         // bytes of the volume that this is on; Total 0: not known
	Disks        int64         // bytes of the disks that it has no tables of yet
}

// MaxSkew is how far the clocks of the two sides may be apart before it is worth a word.
const MaxSkew = 30 * time.Second

// tables is which part of a disk's size a process server takes for it: hashes of 16 bytes for each page of 4 KiB, twice during a cycle.
const tables = 4096 / (2 * 16)

// leastFree is the share of the process server's volume below which it is worth a word: the product that we replace warns there, and below a fifth it slows its machines down.
const leastFree = 0.30

// JudgeWorker judges the process server.
func JudgeWorker(w Worker) []replication.Finding {
	var j judge
	const remedy = "start it with --name %s and this master target's address, and see that the VPN lets it through"
	switch {
	case !w.Connected && !w.Seen:
		j.find(replication.Error, CodeNeverSeen, w.Name, fmt.Sprintf("process server %s is not connected, and was not since this master target was started: it can't reach it, does not run, or has another name", w.Name), fmt.Sprintf(remedy, w.Name))
		return j.found
	case !w.Connected:
		j.find(replication.Error, CodeAway, w.Name, fmt.Sprintf("process server %s is not connected any more, since %s", w.Name, w.Since.UTC().Format(time.DateTime)), fmt.Sprintf(remedy, w.Name))
		return j.found
	}
	if w.Ours.NewerThan(w.Theirs) {
		j.find(replication.Error, CodeNewer, w.Name, fmt.Sprintf("this master target is newer than process server %s: it speaks %s, that one %s", w.Name, w.Ours, w.Theirs), "")
	}
	if skew := w.Skew.Abs(); skew > MaxSkew {
		j.find(replication.Warning, CodeSkew, w.Name, fmt.Sprintf("the clock of process server %s is %s away from this master target's", w.Name, skew.Round(time.Second)), "")
	}
	if w.Total <= 0 {
		return j.found
	}
	need := w.Disks / tables
	switch left := w.Free - need; {
	case left < 0:
		j.find(replication.Error, CodeCache, w.Name, fmt.Sprintf("process server %s has %s free at %s, and its tables take up to %s (0.8 %% of %s of disks: 16 bytes for each 4 KiB, twice)",
			w.Name, bytesText(float64(w.Free)), w.Dir, bytesText(float64(need)), bytesText(float64(w.Disks))), "")
	case float64(left) < leastFree*float64(w.Total):
		j.find(replication.Warning, CodeCache, w.Name, fmt.Sprintf("process server %s will have %.0f %% free at %s, below %.0f %%: %s of %s are free, its tables take up to %s",
			w.Name, 100*float64(left)/float64(w.Total), w.Dir, 100*leastFree, bytesText(float64(w.Free)), bytesText(float64(w.Total)), bytesText(float64(need))), "")
	}
	return j.found
}

// expiresWithin is how long before its end a certificate is worth a word.
const expiresWithin = 30 * 24 * time.Hour

// JudgeCertificates judges those of a master target and of a process server, as they stand at the time now. The same one is told of once.
func JudgeCertificates(ours, theirs []replication.Certificate, name string, now time.Time) []replication.Finding {
	var j judge
	said := map[replication.Certificate]bool{}
	for side, all := range [][]replication.Certificate{ours, theirs} {
		subject := "master target"
		if side == 1 {
			subject = name
		}
		for _, c := range all {
			if said[c] {
				continue
			}
			said[c] = true
			switch left := c.Until.Sub(now); {
			case left <= 0:
				j.find(replication.Error, CodeExpired, subject, fmt.Sprintf("the certificate %q expired at %s", c.Name, c.Until.UTC().Format(time.DateTime)), "")
			case left < expiresWithin:
				j.find(replication.Warning, CodeExpires, subject, fmt.Sprintf("the certificate %q expires at %s, in %s", c.Name, c.Until.UTC().Format(time.DateTime), long(left)), "")
			}
		}
	}
	return j.found
}
