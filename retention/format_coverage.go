package retention

import (
	"failback/replication"
)

// putCoverageHeader begins a coverage file.
func putCoverageHeader(journal uuid, point replication.PointID) []byte {
	b := make([]byte, coverageHeader)
	copy(b, coverageMagic)
	le.PutUint32(b[8:], coverageVersion)
	copy(b[16:], journal[:])
	le.PutUint64(b[32:], uint64(point))
	le.PutUint32(b[12:], crc(b[16:]))
	return b
}

func parseCoverageHeader(b []byte) (journal uuid, point replication.PointID, err error) {
	if len(b) < coverageHeader || string(b[:8]) != coverageMagic {
		return journal, 0, malformed("not a coverage file")
	}
	if le.Uint32(b[12:]) != crc(b[16:coverageHeader]) {
		return journal, 0, malformed("checksum of the coverage file's header")
	}
	if v := le.Uint32(b[8:]); v == 0 || v > coverageVersion {
		return journal, 0, newer("the coverage file", v, coverageVersion)
	}
	return uuid(b[16:32]), replication.PointID(le.Uint64(b[32:])), nil
}

// covered is one extent of a coverage file.
type covered struct {
	disk replication.DiskNo
	ext  replication.Extent
}

// appendBatch codes a batch of coverage. at is its offset in the file, so that a batch does not pass for one elsewhere.
func appendBatch(dst []byte, at int64, cs []covered) []byte {
	n := len(dst)
	dst = append(dst, make([]byte, coverageBatch)...)
	le.PutUint32(dst[n+4:], uint32(len(cs)))
	le.PutUint64(dst[n+8:], uint64(at))
	for _, c := range cs {
		dst = le.AppendUint64(dst, uint64(c.disk))
		dst = le.AppendUint64(dst, uint64(c.ext.Off))
		dst = le.AppendUint64(dst, uint64(c.ext.End))
	}
	le.PutUint32(dst[n:], crc(dst[n+4:]))
	return dst
}

// batchLen returns the length of the batch whose header b begins with.
func batchLen(b []byte) (int, error) {
	if len(b) < coverageBatch {
		return 0, malformed("batch of %d bytes", len(b))
	}
	n := le.Uint32(b[4:])
	if n == 0 || n > maxBatch {
		return 0, malformed("batch of %d extents", n)
	}
	return coverageBatch + int(n)*coverageEntry, nil
}

// parseBatch decodes the batch that b holds exactly.
func parseBatch(b []byte, at int64, size func(replication.DiskNo) int64) (cs []covered, err error) {
	n, err := batchLen(b)
	if err != nil {
		return nil, err
	}
	if len(b) != n || le.Uint32(b) != crc(b[4:]) || int64(le.Uint64(b[8:])) != at {
		return nil, malformed("checksum of a coverage batch")
	}
	for x := b[coverageBatch:]; len(x) > 0; x = x[coverageEntry:] {
		d := le.Uint64(x)
		c := covered{replication.DiskNo(d), replication.Extent{Off: int64(le.Uint64(x[8:])), End: int64(le.Uint64(x[16:]))}}
		if d >= maxNumbers || size(c.disk) < 0 || c.ext.Check(size(c.disk)) != nil {
			return nil, malformed("coverage of disk %d %v", d, c.ext)
		}
		cs = append(cs, c)
	}
	return cs, nil
}
