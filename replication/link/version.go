package link

import (
	"fmt"
	"regexp"
	"strconv"

	"failback/replication"
)

// The replication protocol that this release speaks. Another major is refused by both sides; of two minors the lower one is spoken.
//
// What an order asks for by a field of its own needs no new minor, where the process server may leave it: references (Shipment.Repeats), streams (Shipment.Streams). Whoever does not know of it neither asks nor sends it.
const (
	ProtocolMajor = 1
	ProtocolMinor = 1
)

// MinorLeaving is the first minor whose process server tells the disks of what it cut before by their names: before, it takes those that were numbered anew, as others left, for others.
const MinorLeaving = 1

// CodeVersion is the code of sides that can't talk, or are in the wrong order.
const CodeVersion = "protocol-version"

// Version is what one side speaks, and the release of its program, for people.
type Version struct {
	Major, Minor uint32
	Program      string
}

// Ours is the version of this side.
func Ours(program string) Version { return Version{ProtocolMajor, ProtocolMinor, program} }

func (v Version) String() string {
	if v.Program == "" {
		return fmt.Sprintf("replication protocol %d.%d", v.Major, v.Minor)
	}
	return fmt.Sprintf("replication protocol %d.%d (release %s)", v.Major, v.Minor, v.Program)
}

// Speak returns the minor that two sides speak. Who names the other one.
func (v Version) Speak(who string, other Version) (uint32, error) {
	if v.Major != other.Major {
		return 0, &replication.Problem{Code: CodeVersion,
			Message: fmt.Sprintf("%s speaks %s, this side speaks %s: they have no major version in common", who, other, v),
			Remedy:  "run the same release of failback on both sides; upgrade process servers first, their master target last"}
	}
	return min(v.Minor, other.Minor), nil
}

var releaseForm = regexp.MustCompile(`^v(\d+)\.(\d+)\.`)

// NewerThan says whether a master target of version v is newer than one of its process servers: it must not be. A later release counts by its first two numbers; those built from
// a working tree have none.
func (v Version) NewerThan(processServer Version) bool {
	if v.Minor != processServer.Minor {
		return v.Minor > processServer.Minor
	}
	ours, theirs := releaseForm.FindStringSubmatch(v.Program), releaseForm.FindStringSubmatch(processServer.Program)
	if ours == nil || theirs == nil {
		return false
	}
	for i := 1; i <= 2; i++ {
		a, _ := strconv.ParseUint(ours[i], 10, 64)
		b, _ := strconv.ParseUint(theirs[i], 10, 64)
		if a != b {
			return a > b
		}
	}
	return false
}
