package blockio

import "fmt"

// Twins are two of a set of disks that are one, or say that they are.
type Twins struct {
	First, Second int    // indices into the set, First < Second
	Reason        string // what they share, and what to do
}

// FindTwins looks in a set of disks for those that must not be written side by side: two that lie in the same file or on the same device, a device and a partition of it, and two with one
// UUID. Of the last, one is a copy, and which of them a machine would see is a matter of chance.
func FindTwins(disks []Description) []Twins {
	var twins []Twins
	for j, b := range disks {
		for i, a := range disks[:j] {
			if reason := twinReason(a, b); reason != "" {
				twins = append(twins, Twins{i, j, reason})
			}
		}
	}
	return twins
}

func twinReason(a, b Description) string {
	for _, x := range a.Extents {
		for _, y := range b.Extents {
			if x == y {
				return fmt.Sprintf("%s and %s both have their data in %s; name it once", a.Path, b.Path, x)
			}
		}
	}
	switch {
	case a.Device != 0 && a.Device == b.Device && a.Inode == b.Inode:
		return fmt.Sprintf("%s and %s are two names of one disk; name it once", a.Path, b.Path)
	case isPartOf(a, b) || isPartOf(b, a):
		return fmt.Sprintf("one of %s and %s is a partition of the other; name the whole device", a.Path, b.Path)
	}
	if uuid := SerialOfUUID(a.UUID); uuid != "" && uuid == SerialOfUUID(b.UUID) {
		return fmt.Sprintf("%s and %s have the same UUID %s: one is a copy of the other, or attached as a device; detach it, or give it a UUID of its own", a.Path, b.Path, uuid)
	}
	return ""
}

func isPartOf(a, whole Description) bool {
	return a.Format == FormatDevice && whole.Format == FormatDevice && whole.Device != 0 && wholeDevice(a.Device) == whole.Device
}
