package retention

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"failback/replication"
	"failback/replication/block"
)

// The bytes of a journal's files: doc.go describes them, this file codes them, and nothing here does I/O.

const (
	logMagic      = "FBRETLOG"
	contentMagic  = "FBRETCON"
	footerMagic   = "FBRETEND"
	coverageMagic = "FBRETCOV"
	entryMagic    = 0x4b424246 // "FBBK"

	logVersion      = 6
	logGrown        = 5 // disks have grown, and none has left
	logCutover      = 4 // there is a cutover, and no disk has grown
	logJoined       = 3 // it tells of disks that joined, and of no cutover
	logOriginal     = 2 // it may tell of a point 0, and of no disk that joined
	contentVersion  = 1
	coverageVersion = 1
)

// Sizes of the fixed parts, in bytes.
const (
	sector         = 4096      // what a power failure may tear, at most
	logSlotA       = 4096      // where the first of the log's two end marks lies
	logSlotB       = 8192      // and the second: in another physical sector, so that they are not torn together
	logStart       = 12288     // where the first record lies
	logHeaderSize  = 16        //
	logSlotSize    = 64        //
	recordSize     = 56        // header of a record
	maxRecord      = 16 << 20  // payload of a record
	fileHeaderSize = 256       // of a segment or save file
	entryFixed     = 56        // header of an entry, before its extents
	extentSize     = 16        //
	chunkSize      = 4096      // of an index
	indexEntrySize = 48        //
	chunkEntries   = 85        // index entries of a chunk
	fenceSize      = 16        //
	footerSize     = 128       //
	coverageHeader = 64        //
	coverageStart  = 4096      // where the first batch lies
	coverageBatch  = 16        // header of a batch
	coverageEntry  = 24        //
	maxBatch       = 64 << 10  // entries of a coverage batch
	maxFileEnd     = 1 << 62   // no offset within a file is beyond
	maxIndexChunks = 256 << 20 // chunks of an index: 2e10 extents
)

var le = binary.LittleEndian

// errFormat says what is wrong with bytes; the callers turn it into a Corruption with file and offset.
var errFormat = errors.New("bad format")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errFormat, fmt.Sprintf(format, args...))
}

// newer is the error of a file that a later release wrote.
func newer(what string, version uint32, known int) error {
	return fmt.Errorf("%w: %s has format version %d, this program knows %d", ErrNewer, what, version, known)
}

func crc(b []byte) uint32 { return block.Checksum(b) }

// uuid is the random name of a journal; every file of the journal carries it.
type uuid [16]byte

func (u uuid) String() string { return hex.EncodeToString(u[:]) }

func parseUUID(s string) (u uuid, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(u) {
		return u, malformed("journal name %q is not 32 hexadecimal digits", s)
	}
	return uuid(b), nil
}

// putLogHeader codes the log's first bytes.
func putLogHeader(version uint32) []byte {
	b := make([]byte, logHeaderSize)
	copy(b, logMagic)
	le.PutUint32(b[8:], version)
	le.PutUint32(b[12:], crc(b[:12]))
	return b
}

func parseLogHeader(b []byte) error {
	if len(b) < logHeaderSize || string(b[:8]) != logMagic {
		return malformed("not a journal's log")
	}
	if le.Uint32(b[12:]) != crc(b[:12]) {
		return malformed("checksum of the log's header")
	}
	if v := le.Uint32(b[8:]); v == 0 || v > logVersion {
		return newer("the log", v, logVersion)
	}
	return nil
}

// chain is the hash over a log up to and including a record.
type chain [sha256.Size]byte

func (c chain) hash() replication.ChainHash { return replication.ChainHash(hex.EncodeToString(c[:])) }

// mark says how far the log is durable. A record before a valid mark's end is never a torn one.
type mark struct {
	end   int64
	seq   uint64 // records before end
	chain chain  // of the last of them
}

func (m mark) put() []byte {
	b := make([]byte, logSlotSize)
	le.PutUint64(b[8:], uint64(m.end))
	le.PutUint64(b[16:], m.seq)
	copy(b[24:], m.chain[:])
	le.PutUint32(b, crc(b[4:]))
	return b
}

func parseMark(b []byte) (m mark, err error) {
	if len(b) < logSlotSize || le.Uint32(b) != crc(b[4:logSlotSize]) {
		return m, malformed("checksum of an end mark")
	}
	m = mark{end: int64(le.Uint64(b[8:])), seq: le.Uint64(b[16:]), chain: chain(b[24:56])}
	if m.end < logStart || m.end > maxFileEnd {
		return m, malformed("end mark at %d", m.end)
	}
	return m, nil
}

// record is one entry of the log.
type record struct {
	kind    kind
	seq     uint64
	chain   chain
	payload []byte
}

// putRecord codes a record that follows one with the given chain hash, and returns its own.
func putRecord(k kind, seq uint64, prev chain, payload []byte) ([]byte, chain) {
	b := make([]byte, recordSize, recordSize+len(payload))
	le.PutUint32(b, uint32(len(payload)))
	le.PutUint16(b[8:], uint16(k))
	le.PutUint16(b[10:], 1)
	le.PutUint64(b[16:], seq)
	b = append(b, payload...)
	c := link(prev, b)
	copy(b[24:], c[:])
	le.PutUint32(b[4:], crc(b[8:]))
	return b, c
}

// link is SHA-256 over the chain hash before, the header's length, kind, version and sequence, and the payload.
func link(prev chain, rec []byte) chain {
	h := sha256.New()
	h.Write(prev[:])
	h.Write(rec[:4])
	h.Write(rec[8:24])
	h.Write(rec[recordSize:])
	return chain(h.Sum(nil))
}

// recordLen returns the length of the payload that a record's header announces.
func recordLen(b []byte) (int, error) {
	if len(b) < recordSize {
		return 0, malformed("record of %d bytes", len(b))
	}
	n := le.Uint32(b)
	if n > maxRecord {
		return 0, malformed("record with a payload of %d bytes, at most %d", n, maxRecord)
	}
	return int(n), nil
}

// parseRecord decodes the record that b holds exactly. The payload lies in b.
func parseRecord(b []byte, prev chain, seq uint64) (r record, err error) {
	n, err := recordLen(b)
	if err != nil {
		return r, err
	}
	if len(b) != recordSize+n {
		return r, malformed("record of %d bytes, want %d", len(b), recordSize+n)
	}
	if le.Uint32(b[4:]) != crc(b[8:]) {
		return r, malformed("checksum of a record")
	}
	if v := le.Uint16(b[10:]); v != 1 {
		return r, newer("a record", uint32(v), 1)
	}
	if le.Uint32(b[12:]) != 0 {
		return r, malformed("padding of a record's header is not zeros")
	}
	r = record{kind: kind(le.Uint16(b[8:])), seq: le.Uint64(b[16:]), chain: chain(b[24:56]), payload: b[recordSize:]}
	if r.seq != seq {
		return r, malformed("record number %d, want %d", r.seq, seq)
	}
	if r.chain != link(prev, b) {
		return r, malformed("record %d does not follow the one before", seq)
	}
	if r.kind == 0 || r.kind > lastKind {
		return r, newer("the log", uint32(r.kind), int(lastKind))
	}
	return r, nil
}

// fileKind tells segments from saves. The numbers are part of the format.
type fileKind uint32

const (
	segmentFile fileKind = 1
	saveFile    fileKind = 2
	packFile    fileKind = 3
)

// gone is the kind of an index entry without content, in a pack: the disks hold it.
const gone block.Kind = 0x80

// lost is the kind of an index entry whose content is quarantined, or was when it was packed: only in packs, and in what a file with quarantined parts tells.
const lost block.Kind = 0x81

// fileHeader begins a segment or save file.
type fileHeader struct {
	kind       fileKind
	journal    uuid
	point      replication.PointID // segment: the point it makes; save: the head it was taken at; pack: the last one when it was made
	generation replication.Generation
	session    uint64
	attempt    uint64
	lane       uint32
	group      replication.GroupID
}

func (h fileHeader) put() []byte {
	b := make([]byte, fileHeaderSize)
	copy(b, contentMagic)
	le.PutUint32(b[8:], contentVersion)
	le.PutUint32(b[12:], uint32(h.kind))
	copy(b[16:], h.journal[:])
	le.PutUint64(b[32:], uint64(h.point))
	le.PutUint64(b[40:], uint64(h.generation))
	le.PutUint64(b[48:], h.session)
	le.PutUint64(b[56:], h.attempt)
	le.PutUint32(b[64:], h.lane)
	copy(b[72:136], h.group)
	le.PutUint32(b[fileHeaderSize-4:], crc(b[:fileHeaderSize-4]))
	return b
}

func parseFileHeader(b []byte) (h fileHeader, err error) {
	if len(b) < fileHeaderSize || string(b[:8]) != contentMagic {
		return h, malformed("not a segment or save file")
	}
	if le.Uint32(b[fileHeaderSize-4:]) != crc(b[:fileHeaderSize-4]) {
		return h, malformed("checksum of the file's header")
	}
	if v := le.Uint32(b[8:]); v == 0 || v > contentVersion {
		return h, newer("the file", v, contentVersion)
	}
	n := 0
	for n < 64 && b[72+n] != 0 {
		n++
	}
	h = fileHeader{
		kind: fileKind(le.Uint32(b[12:])), journal: uuid(b[16:32]), point: replication.PointID(le.Uint64(b[32:])),
		generation: replication.Generation(le.Uint64(b[40:])), session: le.Uint64(b[48:]), attempt: le.Uint64(b[56:]),
		lane: le.Uint32(b[64:]), group: replication.GroupID(b[72 : 72+n]),
	}
	if h.kind != segmentFile && h.kind != saveFile && h.kind != packFile {
		return h, malformed("file of kind %d", h.kind)
	}
	return h, nil
}

// where says in which file an entry lies, by the checksum of the file's header, and at which offset. The entry repeats it, so that content which looks like an
// entry, a disk that holds a journal, never passes for one.
type where struct {
	at   int64
	salt uint32
}

// salt returns the checksum of the header.
func (h fileHeader) salt() uint32 { return le.Uint32(h.put()[fileHeaderSize-4:]) }

// appendEntry codes a block's header and extents, which its payload follows.
func appendEntry(dst []byte, b *block.Block, version replication.PointID, w where) []byte {
	n := len(dst)
	var f [entryFixed]byte
	le.PutUint32(f[0:], entryMagic)
	le.PutUint32(f[8:], uint32(b.Disk))
	f[12], f[13] = byte(b.Kind), byte(b.Codec)
	le.PutUint64(f[16:], uint64(version))
	le.PutUint32(f[24:], uint32(b.Raw))
	le.PutUint32(f[28:], b.CRC)
	le.PutUint32(f[32:], uint32(len(b.Payload)))
	le.PutUint32(f[36:], uint32(len(b.Extents)))
	le.PutUint64(f[40:], uint64(w.at))
	le.PutUint32(f[48:], w.salt)
	le.PutUint32(f[52:], crc(b.Payload))
	dst = append(dst, f[:]...)
	for _, e := range b.Extents {
		dst = le.AppendUint64(dst, uint64(e.Off))
		dst = le.AppendUint64(dst, uint64(e.End))
	}
	le.PutUint32(dst[n+4:], crc(dst[n+8:]))
	return dst
}

// entrySize returns the length of an entry's header with its extents, and of its payload, from the fixed part.
func entrySize(fixed []byte) (header, payload int, err error) {
	if len(fixed) < entryFixed || le.Uint32(fixed) != entryMagic {
		return 0, 0, malformed("no entry begins here")
	}
	p, n := le.Uint32(fixed[32:]), le.Uint32(fixed[36:])
	if n == 0 || n > block.MaxRanges || p > block.MaxPayload {
		return 0, 0, malformed("entry of %d extents and a payload of %d bytes", n, p)
	}
	return entryFixed + int(n)*extentSize, int(p), nil
}

// parseEntry decodes an entry's header, without its payload. size tells a disk's size, -1 when there is no such disk.
func parseEntry(h []byte, w where, size func(replication.DiskNo) int64) (b block.Block, version replication.PointID, err error) {
	n, payload, err := entrySize(h)
	if err != nil {
		return b, 0, err
	}
	if len(h) != n {
		return b, 0, malformed("entry header of %d bytes, want %d", len(h), n)
	}
	if le.Uint32(h[4:]) != crc(h[8:]) {
		return b, 0, malformed("checksum of an entry's header")
	}
	if got := (where{int64(le.Uint64(h[40:])), le.Uint32(h[48:])}); got != w {
		return b, 0, malformed("entry of another file, or from offset %d", got.at)
	}
	b = block.Block{Disk: replication.DiskNo(le.Uint32(h[8:])), Kind: block.Kind(h[12]), Codec: block.Codec(h[13]), Raw: int(le.Uint32(h[24:])), CRC: le.Uint32(h[28:])}
	b.Extents = make([]replication.Extent, 0, (n-entryFixed)/extentSize)
	for x := h[entryFixed:]; len(x) > 0; x = x[extentSize:] {
		b.Extents = append(b.Extents, replication.Extent{Off: int64(le.Uint64(x)), End: int64(le.Uint64(x[8:]))})
	}
	if payload > 0 {
		b.Payload = zeroPayload[:payload] // Check looks at its length only
	}
	s := size(b.Disk)
	if s < 0 {
		return b, 0, malformed("entry of disk %d, which the group does not have", b.Disk)
	}
	if err := b.Check(s); err != nil {
		return b, 0, malformed("entry: %v", err)
	}
	if b.Kind != block.Data && b.Kind != block.Zero {
		return b, 0, malformed("entry of kind %d", b.Kind)
	}
	b.Payload = nil
	return b, replication.PointID(le.Uint64(h[16:])), nil
}

// checkPayload compares an entry's payload with its header: a change that decodes to the same bytes is damage too.
func checkPayload(h, payload []byte) error {
	if le.Uint32(h[52:]) != crc(payload) {
		return malformed("checksum of a payload")
	}
	return nil
}

var zeroPayload [block.MaxPayload]byte

// alignUp returns the next sector's begin. What was made durable never shares a sector with what is written later, which could tear it.
func alignUp(n int64) int64 { return (n + sector - 1) &^ (sector - 1) }
