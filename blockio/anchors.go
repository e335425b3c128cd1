package blockio

import (
	"encoding/binary"
	"regexp"
	"strconv"
)

// Anchors are the blocks in which partition tables, volume managers and file systems note that they were used: whoever mounts a file system for writing, or starts a machine,
// changes some of them. What is read here is only ever hashed: a wrong guess costs a read, and everything is bounded by sampler.at.

const (
	maxPartitions = 128 // of one disk, and logical volumes of one physical one
	maxGroups     = 64  // allocation groups, or blocks of descriptors, of one file system
)

// anchors reads the anchors of everything that is found on the disk.
func (s *sampler) anchors() {
	s.volume(0, s.d.Size())
	for _, sector := range []int64{512, 4096} {
		s.gpt(sector)
	}
	s.mbr()
}

// mbr follows the primary partitions, and the chain of the logical ones.
func (s *sampler) mbr() {
	table := s.at(0, 512)
	if table == nil || table[510] != 0x55 || table[511] != 0xaa {
		return
	}
	for i := range 4 {
		kind, start, size := mbrEntry(table, i)
		switch kind {
		case 0, 0xee:
		case 0x05, 0x0f, 0x85:
			s.logical(start)
		default:
			s.volume(start, size)
		}
	}
}

func mbrEntry(table []byte, i int) (kind byte, start, size int64) {
	e := table[446+16*i:]
	return e[4], int64(binary.LittleEndian.Uint32(e[8:])) * SectorSize, int64(binary.LittleEndian.Uint32(e[12:])) * SectorSize
}

// logical follows the logical partitions of the extended one that begins at first.
func (s *sampler) logical(first int64) {
	at := first
	for range maxPartitions {
		table := s.at(at, 512)
		if table == nil || table[510] != 0x55 || table[511] != 0xaa {
			return
		}
		if kind, start, size := mbrEntry(table, 0); kind != 0 {
			s.volume(at+start, size)
		}
		kind, next, _ := mbrEntry(table, 1)
		if kind == 0 || first+next <= at {
			return
		}
		at = first + next
	}
}

// gpt follows the partitions of a GUID partition table on a disk with sectors of that size.
func (s *sampler) gpt(sector int64) {
	h := s.at(sector, 92)
	if h == nil || string(h[:8]) != "EFI PART" {
		return
	}
	le := binary.LittleEndian
	at, count, each := int64(le.Uint64(h[72:]))*sector, min(le.Uint32(h[80:]), maxPartitions), le.Uint32(h[84:])
	if each < 128 || each > 4096 {
		return
	}
	for i := range int64(count) {
		e := s.at(at+i*int64(each), 128)
		if e == nil {
			return
		}
		if first, last := int64(le.Uint64(e[32:])), int64(le.Uint64(e[40:])); le.Uint64(e)|le.Uint64(e[8:]) != 0 && first > 0 && last >= first {
			s.volume(first*sector, (last-first+1)*sector)
		}
	}
}

// volume looks at what begins at start: a file system, or a physical volume. Superblocks of kinds that are not known here, of RAID sets among them, mostly lie in the first blocks
// or the last one.
func (s *sampler) volume(start, size int64) {
	if start < 0 || size <= 0 || start > s.d.Size()-sampleBytes || s.volumes[start] {
		return
	}
	s.volumes[start] = true // each once, or metadata that points in circles would never end
	head := s.at(start, sampleBytes)
	for _, at := range []int64{sampleBytes, 64 << 10, size - sampleBytes} {
		s.at(start+at, sampleBytes)
	}
	if head == nil {
		return
	}
	switch {
	case string(head[:4]) == "XFSB":
		s.xfs(start, head)
	case head[1024+56] == 0x53 && head[1024+57] == 0xef:
		s.ext(start, head[1024:])
	case string(head[3:11]) == "NTFS    ":
		s.ntfs(start, head)
	case string(head[82:87]) == "FAT32", string(head[54:58]) == "FAT1":
		reserved := int64(binary.LittleEndian.Uint16(head[14:])) * int64(binary.LittleEndian.Uint16(head[11:]))
		s.at(start+reserved, sampleBytes)
	}
	for sector := range 4 {
		if string(head[sector*512:][:8]) == "LABELONE" {
			s.lvm(start)
		}
	}
}

// spread reads a sample's worth at up to maxGroups of n places, evenly.
func (s *sampler) spread(n int64, place func(i int64) (off int64, bytes int)) {
	k := min(n, maxGroups)
	for i := range k {
		s.at(place(i * (n - 1) / max(k-1, 1)))
	}
}

// ext: the group descriptors count free blocks and inodes, the journal's superblock its transactions. Its place is in the backup of the journal's inode.
func (s *sampler) ext(start int64, sb []byte) {
	le := binary.LittleEndian
	if le.Uint32(sb[24:]) > 6 || le.Uint32(sb[32:]) == 0 {
		return
	}
	block := int64(1024) << le.Uint32(sb[24:])
	descriptor := int64(32)
	if le.Uint32(sb[0x60:])&0x80 != 0 { // 64bit
		descriptor = int64(le.Uint16(sb[0xfe:]))
	}
	groups := ceilDiv(int64(le.Uint32(sb[4:])), int64(le.Uint32(sb[32:])))
	table := start + (int64(le.Uint32(sb[20:]))+1)*block
	s.spread(ceilDiv(groups*descriptor, sampleBytes), func(i int64) (int64, int) { return table + i*sampleBytes, sampleBytes })
	if journal := sb[0x10c:]; sb[0xfd] == 1 && le.Uint16(journal) == 0xf30a && le.Uint16(journal[6:]) == 0 { // an extent tree of one level
		first := int64(le.Uint16(journal[12+6:]))<<32 | int64(le.Uint32(journal[12+8:]))
		s.at(start+first*block, 1024)
	}
}

// xfs: each allocation group has counters in its first four sectors. The log is a ring; some of its blocks are looked at.
func (s *sampler) xfs(start int64, sb []byte) {
	be := binary.BigEndian
	block, groupBlocks, groups, sector := int64(be.Uint32(sb[4:])), int64(be.Uint32(sb[84:])), int64(be.Uint32(sb[88:])), int(be.Uint16(sb[102:]))
	if block < 512 || block > 65536 || sector < 512 || sector > 32768 || sb[124] > 32 {
		return
	}
	s.spread(groups, func(i int64) (int64, int) { return start + i*groupBlocks*block, 4 * sector })
	if log := be.Uint64(sb[48:]); log != 0 {
		at := int64(log>>sb[124])*groupBlocks + int64(log&(1<<sb[124]-1))
		s.spread(16, func(i int64) (int64, int) {
			return start + at*block + i*int64(be.Uint32(sb[96:]))/16*block, sampleBytes
		})
	}
}

// ntfs: the first records of the file table, which are those of its own files ($Volume says whether it was dismounted), and the restart areas at the start of $LogFile.
func (s *sampler) ntfs(start int64, boot []byte) {
	le := binary.LittleEndian
	cluster := int64(le.Uint16(boot[11:])) * int64(boot[13])
	mft := start + int64(le.Uint64(boot[48:]))*cluster
	if cluster <= 0 || le.Uint64(boot[48:]) > maxSectors {
		return
	}
	s.at(mft, 16<<10)
	const record = 1024
	log := s.at(mft+2*record, record)
	if log == nil || string(log[:4]) != "FILE" {
		return
	}
	for at := int(le.Uint16(log[20:])); at+64 < record; {
		kind, length := le.Uint32(log[at:]), int(le.Uint32(log[at+4:]))
		if kind == 0x80 && log[at+8] != 0 { // its content, outside of the record: a list of runs
			runs := log[min(at+int(le.Uint16(log[at+32:])), record):]
			if len(runs) > 16 && runs[0]&0x0f <= 8 && runs[0]>>4 <= 7 {
				var first [8]byte
				copy(first[:runs[0]>>4], runs[1+runs[0]&0x0f:])
				s.at(start+int64(le.Uint64(first[:]))*cluster, 8<<10)
			}
			return
		}
		if length < 24 || kind == 0xffffffff {
			return
		}
		at += length
	}
}

var (
	lvmExtentSize = regexp.MustCompile(`\bextent_size = (\d+)`)
	lvmDataStart  = regexp.MustCompile(`\bpe_start = (\d+)`)
	lvmSegment    = regexp.MustCompile(`"pv\d+", (\d+)`)
)

// lvm finds in the metadata of a physical volume where pieces of logical volumes begin, and takes each for the beginning of one.
func (s *sampler) lvm(start int64) {
	const area = 4096 // where the tools of Linux put it
	h := s.at(start+area, 512)
	if h == nil || string(h[4:20]) != " LVM2 x[5A%r0N*>" {
		return
	}
	le := binary.LittleEndian
	off, size := le.Uint64(h[40:]), le.Uint64(h[48:])
	if off > 1<<30 || size > 256<<10 {
		return
	}
	text := s.at(start+area+int64(off), int(size))
	number := func(r *regexp.Regexp) int64 {
		if m := r.FindSubmatch(text); m != nil {
			n, _ := strconv.ParseInt(string(m[1]), 10, 40)
			return n * SectorSize
		}
		return 0
	}
	extent, data := number(lvmExtentSize), number(lvmDataStart)
	if extent == 0 || extent > 1<<40 {
		return
	}
	for _, m := range lvmSegment.FindAllSubmatch(text, maxPartitions) {
		n, err := strconv.ParseInt(string(m[1]), 10, 24)
		if at := start + data + n*extent; err == nil && at > start {
			s.volume(at, extent)
		}
	}
}
