package blockio

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"strings"
)

// neverModified is the content id that tells a disk was not written since it was made.
const neverModified = 0xfffffffe

// NewContentID returns a random content id. It is never 0 (none recorded), ffffffff (no parent) or fffffffe (never modified).
func NewContentID() uint32 {
	for {
		var b [4]byte
		rand.Read(b[:]) // never fails
		if id := binary.LittleEndian.Uint32(b[:]); validContentID(id) == nil {
			return id
		}
	}
}

func validContentID(id uint32) error {
	if id == 0 || id == noParent || id == neverModified {
		return fmt.Errorf("content id %08x has a meaning of its own; take one from NewContentID", id)
	}
	return nil
}

// newUUID returns a random ddb.uuid in the form that ESXi accepts: 16 bytes, of which the first three and a half say VMware.
func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[0], b[1], b[2], b[3] = 0x60, 0x00, 0xc2, 0x90|b[3]&0x0f
	return fmt.Sprintf("% x-% x", b[:8], b[8:])
}

// newLongContentID returns 32 digits of which the last 8 are the content id.
func newLongContentID(id uint32) string {
	var b [12]byte
	rand.Read(b[:])
	return fmt.Sprintf("%x%08x", b, id)
}

// SerialOfUUID turns a ddb.uuid into the form in which a guest or a master target sees the disk under /dev/disk/by-id (behind
// "wwn-0x" and "scsi-3"): lower case, without blanks and dashes. It returns "" when uuid does not have 16 bytes.
func SerialOfUUID(uuid string) string {
	s := strings.ToLower(strings.NewReplacer(" ", "", "-", "").Replace(uuid))
	if len(s) != 32 || strings.Trim(s, "0123456789abcdef") != "" {
		return ""
	}
	return s
}
