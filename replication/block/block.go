package block

import (
	"errors"
	"fmt"

	"failback/replication"
	"failback/replication/crc32c"
)

// Limits of a block, checked by Check on both ends.
const (
	MaxRaw     = 64 << 10                // bytes of content
	MaxExtents = MaxRaw/512 + 1          // extents of a data block: one per sector at worst
	MaxPayload = MaxRaw + MaxRaw/64 + 64 // bytes of payload: no codec is kept that makes more
	MaxRanges  = 4096                    // extents of a zero or equal block
)

// Kind says what a block tells of its extents. The numbers are part of the wire and journal formats.
type Kind uint8

// The kinds of blocks.
const (
	Data  Kind = 1 // the payload is their content
	Zero  Kind = 2 // they read as zeros; of any length
	Equal Kind = 3 // the target already holds their content; only in compare mode, never in a journal

	Repeat Kind = 4 // the target holds their content elsewhere; never in a journal, which gets the content
)

// Codec says how a payload is compressed. The numbers are part of the wire and journal formats.
type Codec uint8

// The codecs.
const (
	None Codec = 1
	LZ4  Codec = 2
	S2   Codec = 3
	Zstd Codec = 4

	Stream Codec = 5 // the next part of its lane's zstd stream: stands on those before it; never in a journal
)

func (c Codec) String() string {
	switch c {
	case None:
		return "none"
	case LZ4:
		return "lz4"
	case S2:
		return "s2"
	case Zstd:
		return "zstd"
	case Stream:
		return "stream"
	}
	return fmt.Sprintf("codec %d", uint8(c))
}

// ParseCodec is the inverse of Codec.String for the four codecs of which each block decodes on its own.
func ParseCodec(s string) (Codec, error) {
	for c := None; c <= Zstd; c++ {
		if c.String() == s {
			return c, nil
		}
	}
	return 0, fmt.Errorf("codec %q is none of none, lz4, s2, zstd", s)
}

// ErrCorrupt is in the chain of every error that says that bytes are not what their checksum or header says.
var ErrCorrupt = errors.New("corrupt block")

// Block is one encoded block.
type Block struct {
	Disk    replication.DiskNo
	Kind    Kind
	Extents []replication.Extent // rising, disjoint; for Data their lengths add up to Raw
	Codec   Codec                // Data only
	Raw     int                  // bytes after decoding; Data, and Repeat, which has one extent of so many bytes
	CRC     uint32               // CRC-32C of the raw bytes; Data only
	Payload []byte               // encoded content; Data only. Whose it is, the user of the block says.

	Origin Origin // Repeat only
}

// Origin is where the target holds the content of a Repeat, as far as its sender knows, and what that content is.
type Origin struct {
	Disk replication.DiskNo // of the same group
	Off  int64              // a whole page's
	Hash replication.Hash   // HashRegion of the pages
}

// Checksum returns CRC-32C of b.
func Checksum(b []byte) uint32 { return crc32c.Checksum(b) }

// Bytes returns how many bytes of the disk the block's extents cover.
func (b *Block) Bytes() (n int64) {
	for _, e := range b.Extents {
		n += e.Len()
	}
	return n
}

// Check says whether the header is one that Encode could have made for a disk of the given size. It does not look at the payload's bytes.
func (b *Block) Check(size int64) error { return b.check(size, Zstd) }

// CheckOnLane is Check for a block that has come over a lane: it may be part of the lane's stream.
func (b *Block) CheckOnLane(size int64) error { return b.check(size, Stream) }

func (b *Block) check(size int64, last Codec) error {
	limit := MaxRanges
	if b.Kind == Data {
		limit = MaxExtents
	}
	if len(b.Extents) == 0 || len(b.Extents) > limit {
		return fmt.Errorf("%w: %d extents, want 1 to %d", ErrCorrupt, len(b.Extents), limit)
	}
	end := int64(0)
	for _, e := range b.Extents {
		if e.Off < end || e.End <= e.Off || e.End > size {
			return fmt.Errorf("%w: extent %v after %d on a disk of %d bytes", ErrCorrupt, e, end, size)
		}
		end = e.End
	}
	switch b.Kind {
	case Data:
		if n := b.Bytes(); b.Raw <= 0 || b.Raw > MaxRaw || n != int64(b.Raw) {
			return fmt.Errorf("%w: %d raw bytes for extents of %d, at most %d", ErrCorrupt, b.Raw, n, MaxRaw)
		}
		if len(b.Payload) == 0 || len(b.Payload) > MaxPayload {
			return fmt.Errorf("%w: payload of %d bytes, want 1 to %d", ErrCorrupt, len(b.Payload), MaxPayload)
		}
		if b.Codec < None || b.Codec > last {
			return fmt.Errorf("%w: %v", ErrCorrupt, b.Codec)
		}
	case Repeat:
		if n := b.Bytes(); len(b.Extents) != 1 || n > MaxRaw || n != int64(b.Raw) {
			return fmt.Errorf("%w: a repeat of %d bytes for %d extents of %d, want one of at most %d", ErrCorrupt, b.Raw, len(b.Extents), n, MaxRaw)
		}
		if (b.Extents[0].Off|b.Origin.Off|int64(b.Raw))%replication.Page != 0 || b.Origin.Off < 0 || b.Origin.Hash == (replication.Hash{}) {
			return fmt.Errorf("%w: a repeat of %v from %d is not of whole pages, or has no hash", ErrCorrupt, b.Extents[0], b.Origin.Off)
		}
		if len(b.Payload) != 0 || b.Codec != 0 || b.CRC != 0 {
			return fmt.Errorf("%w: kind %d with a payload", ErrCorrupt, b.Kind)
		}
	case Zero, Equal:
		if b.Raw != 0 || len(b.Payload) != 0 || b.Codec != 0 || b.CRC != 0 {
			return fmt.Errorf("%w: kind %d with a payload", ErrCorrupt, b.Kind)
		}
	default:
		return fmt.Errorf("%w: kind %d", ErrCorrupt, b.Kind)
	}
	if b.Kind != Repeat && b.Origin != (Origin{}) {
		return fmt.Errorf("%w: kind %d with an origin", ErrCorrupt, b.Kind)
	}
	return nil
}
