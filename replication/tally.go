package replication

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
)

// Tally adds up extents of one disk that rise, as they pass by: how many bytes they are, and the digest of their set. It holds none of them. The zero value is the
// empty set's.
type Tally struct {
	h     hash.Hash // over the extents before last
	last  Extent    // may grow
	bytes int64     // of these
	b     [16]byte
}

// Add takes the next extent. It may touch the one before or overlap it, and must not begin before it.
func (t *Tally) Add(e Extent) {
	switch {
	case e.Empty():
		return
	case e.Off < t.last.Off: // a digest of anything else would be wrong without a word
		panic(fmt.Sprintf("replication: extent %v after %v", e, t.last))
	case t.last.Empty():
		t.last = e
	case e.Off <= t.last.End:
		t.last.End = max(t.last.End, e.End)
	default:
		t.put()
		t.last = e
	}
}

// Bytes returns how many bytes the extents are.
func (t *Tally) Bytes() int64 { return t.bytes + t.last.Len() }

// Digest returns SHA-256 over the extents of the set that was added, each as two little-endian uint64. It comes last: nothing is added afterwards.
func (t *Tally) Digest() [32]byte {
	t.put()
	return [32]byte(t.h.Sum(nil))
}

// put hashes the last extent, which grows no more.
func (t *Tally) put() {
	if t.h == nil {
		t.h = sha256.New()
	}
	if t.last.Empty() {
		return
	}
	t.bytes += t.last.Len()
	binary.LittleEndian.PutUint64(t.b[:], uint64(t.last.Off))
	binary.LittleEndian.PutUint64(t.b[8:], uint64(t.last.End))
	t.h.Write(t.b[:])
	t.last.Off = t.last.End
}
