package workload

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"failback/replication"
)

// StampSector is the unit that a stamped disk is written in, in bytes.
const StampSector = 512

// Stamped is a disk of which every sector says what wrote it: the disk, its own place, the number of the write, when it was, and a checksum over all 512 bytes. So a copy of it as of any moment
// can be judged by itself: a sector is whole and where it belongs, or it is not; and with what Cut returned, it is the very one that the disk had at that moment, or it is not.
//
//	sector: magic "FBSTAMP1", disk u32, checksum u32 (CRC-32C of the sector with zeros here), offset u64, write u64, time i64 (ns since 1970), bytes drawn from disk, offset and write
//	write 0: a sector of zeros
type Stamped struct {
	Path string
	Disk uint32

	f      *os.File
	r      *rand.Rand
	write  uint64
	writes []uint64 // by sector: the write that it holds
	buf    []byte
}

const stampMagic = "FBSTAMP1"

// Cut is what a stamped disk held at a moment: for each sector the number of its write.
type Cut []uint64

// NewStamped makes a disk of zeros. The same seed makes the same writes.
func NewStamped(path string, disk uint32, size int64, seed uint64) (*Stamped, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(size); err != nil {
		f.Close()
		return nil, err
	}
	return &Stamped{Path: path, Disk: disk, f: f, r: rand.New(rand.NewPCG(seed, uint64(disk))), writes: make([]uint64, size/StampSector)}, nil
}

// Change writes n runs of sectors, of up to most sectors each, anywhere, half of them where it has written lately; one in eight becomes zeros.
func (s *Stamped) Change(n, most int) error {
	hot := s.r.IntN(len(s.writes))
	for range n {
		length := 1 + s.r.IntN(most)
		at := s.r.IntN(len(s.writes))
		if s.r.IntN(2) == 0 {
			at = min(hot+s.r.IntN(8*most), len(s.writes)-1)
		}
		length = min(length, len(s.writes)-at)
		if err := s.put(int64(at), int64(length), s.r.IntN(8) == 0); err != nil {
			return err
		}
	}
	return nil
}

// Write writes all sectors of an extent anew.
func (s *Stamped) Write(x replication.Extent) error {
	return s.put(x.Off/StampSector, x.Len()/StampSector, false)
}

// Discard gives an extent back: it is a hole then, of zeros.
func (s *Stamped) Discard(x replication.Extent) error {
	if err := unix.Fallocate(int(s.f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, x.Off, x.Len()); err != nil {
		return fmt.Errorf("discard %d bytes at %d of %s: %w", x.Len(), x.Off, s.Path, err)
	}
	s.write++
	clear(s.writes[x.Off/StampSector : x.End/StampSector])
	return nil
}

// put writes sectors, or zeros.
func (s *Stamped) put(at, length int64, zero bool) error {
	s.write++
	w := s.write
	if n := length * StampSector; int64(cap(s.buf)) < n {
		s.buf = make([]byte, n)
	}
	b := s.buf[:length*StampSector]
	if zero {
		w = 0
		clear(b)
	}
	now := time.Now().UnixNano()
	for k := range length {
		if s.writes[at+k] = w; w != 0 {
			s.stamp(b[k*StampSector:][:StampSector], (at+k)*StampSector, w, now)
		}
	}
	_, err := s.f.WriteAt(b, at*StampSector)
	return err
}

var stampTable = crc32.MakeTable(crc32.Castagnoli)

func (s *Stamped) stamp(b []byte, off int64, write uint64, now int64) {
	copy(b, stampMagic)
	binary.LittleEndian.PutUint32(b[8:], s.Disk)
	clear(b[12:16])
	binary.LittleEndian.PutUint64(b[16:], uint64(off))
	binary.LittleEndian.PutUint64(b[24:], write)
	binary.LittleEndian.PutUint64(b[32:], uint64(now))
	r := rand.NewPCG(uint64(off)<<8|uint64(s.Disk), write)
	for k := 40; k < StampSector; k += 8 {
		binary.LittleEndian.PutUint64(b[k:], r.Uint64())
	}
	binary.LittleEndian.PutUint32(b[12:], crc32.Checksum(b, stampTable))
}

// Sync makes what was written durable.
func (s *Stamped) Sync() error { return s.f.Sync() }

// File returns the disk's file, for clones of it.
func (s *Stamped) File() *os.File { return s.f }

// Cut returns what the disk holds now.
func (s *Stamped) Cut() Cut { return append(Cut(nil), s.writes...) }

// Size returns the disk's size in bytes.
func (s *Stamped) Size() int64 { return int64(len(s.writes)) * StampSector }

// Close closes the file.
func (s *Stamped) Close() error { return s.f.Close() }

// Judge holds a part of a copy of the disk, from off on, against a cut: every sector must be whole, in its place, and of the write that the cut says. It returns how many are not, and what is wrong with the first.
func (s *Stamped) Judge(b []byte, off int64, want Cut) (wrong int, first error) {
	for k := 0; k+StampSector <= len(b); k += StampSector {
		at := off + int64(k)
		if err := s.judge(b[k:][:StampSector], at, want[at/StampSector]); err != nil {
			if wrong++; first == nil {
				first = fmt.Errorf("sector at %d of disk %d: %w", at, s.Disk, err)
			}
		}
	}
	return wrong, first
}

func (s *Stamped) judge(b []byte, at int64, want uint64) error {
	if replication.IsZero(b) {
		if want != 0 {
			return fmt.Errorf("is zero, want write %d", want)
		}
		return nil
	}
	sum := binary.LittleEndian.Uint32(b[12:])
	binary.LittleEndian.PutUint32(b[12:], 0)
	whole := crc32.Checksum(b, stampTable) == sum && string(b[:8]) == stampMagic
	binary.LittleEndian.PutUint32(b[12:], sum)
	disk, off, write := binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint64(b[16:]), binary.LittleEndian.Uint64(b[24:])
	switch {
	case !whole:
		return fmt.Errorf("is torn or no sector of ours, want write %d", want)
	case disk != s.Disk || off != uint64(at):
		return fmt.Errorf("is that of disk %d at %d", disk, off)
	case write != want:
		return fmt.Errorf("is of write %d (%s), want %d", write, time.Unix(0, int64(binary.LittleEndian.Uint64(b[32:]))).UTC().Format(time.TimeOnly), want)
	}
	return nil
}
