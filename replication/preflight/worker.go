package preflight

import (
	"fmt"
	"time"

	"failback/replication"
	"failback/replication/health"
	"failback/replication/link"
)

// Worker is the process server.
type Worker struct {
	Name         string
	Seen         bool // it was connected since the master target was started
	Connected    bool
	Since        time.Time            // connected, or gone, since then
	Refused      *replication.Problem // why it was turned away last, since it was there; nil: it was not
	Came         time.Time            // and when
	Ours, Theirs link.Version
	Skew         time.Duration        // its clock less ours
	Dir          string               // its state directory; "": not told
	Disks        int64                // bytes of the disks that it will have tables of, and has none yet
	Data         int64                // of these, what is not known to be zeros: tables of zeros take no room
	Figures      *replication.Figures // of its machine; nil: not told
}

// limits are those from which on alerts are raised while groups replicate.
var limits = health.Failback()

// tables is which part of a disk's size a process server takes for it: hashes of 16 bytes for each page of 4 KiB, twice during a cycle.
const tables = 4096 / (2 * 16)

// JudgeWorker judges the process server.
func JudgeWorker(w Worker) []replication.Finding {
	var j judge
	const remedy = "start it with --name %s and this master target's address, and see that the VPN lets it through"
	switch {
	case !w.Connected && w.Refused != nil:
		j.find(replication.Error, CodeTurnedAway, w.Name, fmt.Sprintf("process server %s comes, and is turned away, last at %s: %s", w.Name, w.Came.UTC().Format(time.DateTime), w.Refused.Error()), w.Refused.Remedy)
		return j.found
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
	if skew := w.Skew.Abs(); skew > limits.Skew {
		j.find(replication.Warning, CodeSkew, w.Name, fmt.Sprintf("the clock of process server %s is %s away from this master target's", w.Name, skew.Round(time.Second)), "")
	}
	w.machine(&j)
	return j.found
}

// machine judges the figures of a process server's machine.
func (w *Worker) machine(j *judge) {
	n := w.Figures
	if n == nil {
		return
	}
	for _, x := range []struct {
		what  string
		share float64
	}{{"cores", n.CPU}, {"memory", n.Memory}} {
		if x.share >= limits.BusyWarned {
			j.find(replication.Warning, CodeBusy, w.Name, fmt.Sprintf("%.0f %% of the %s of the machine of process server %s are used just now; from %.0f %% on, alerts are raised", 100*x.share, x.what, w.Name, 100*limits.BusyWarned), "")
		}
	}
	if n.StateTotal <= 0 {
		return
	}
	need := w.Disks / tables
	switch left := n.StateFree - need; {
	case left < 0:
		severity := replication.Warning
		if n.StateFree < w.Data/tables {
			severity = replication.Error
		}
		j.find(severity, CodeCache, w.Name, fmt.Sprintf("process server %s has %s free at %s, and its tables take up to %s (0.8 %% of %s of disks: 16 bytes for each 4 KiB, twice)",
			w.Name, bytesText(float64(n.StateFree)), w.Dir, bytesText(float64(need)), bytesText(float64(w.Disks))), "")
	case float64(left) < limits.FreeWarned*float64(n.StateTotal):
		j.find(replication.Warning, CodeCache, w.Name, fmt.Sprintf("process server %s will have %.0f %% free at %s, and below %.0f %% alerts are raised: %s of %s are free, its tables take up to %s",
			w.Name, 100*float64(left)/float64(n.StateTotal), w.Dir, 100*limits.FreeWarned, bytesText(float64(n.StateFree)), bytesText(float64(n.StateTotal)), bytesText(float64(need))), "")
	}
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
			case left <= 0 && side == 1: // it was good when the connection was made, and may have been renewed since
				j.find(replication.Warning, CodeExpired, subject, fmt.Sprintf("the certificate %q, with which process server %s connected, expired at %s", c.Name, name, c.Until.UTC().Format(time.DateTime)), "renew it, if that is not done (`failback pki issue`), and start the process server anew")
			case left <= 0:
				j.find(replication.Error, CodeExpired, subject, fmt.Sprintf("the certificate %q expired at %s", c.Name, c.Until.UTC().Format(time.DateTime)), "")
			case left < expiresWithin:
				j.find(replication.Warning, CodeExpires, subject, fmt.Sprintf("the certificate %q expires at %s, in %s", c.Name, c.Until.UTC().Format(time.DateTime), long(left)), "")
			}
		}
	}
	return j.found
}
