package blockio

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Fingerprint tells what a disk looked like when a session ended; it is held against one that is taken when the next session begins. For raw files and block devices it stands in for
// the content id that they do not have. Beside that of a flat VMDK it finds what was written into the data file past the descriptor, which changes no content id.
//
// It is weaker than a content id: it is a hash of a sample of the blocks, and of where file systems and volume managers note that they were in use (superblocks,
// allocation groups, partition tables, volume metadata), with the times at which the files were last written. A machine that was started on the disk, or a file
// system that was mounted for writing, changes it; a tool that writes some blocks of a device in the middle, or puts a file's time back, may go unnoticed. A fingerprint that differs is
// proof, one that is the same is none.
//
// The form is 1/SIZE/HASH/TIME: a version, bytes, 32 hexadecimal digits, and nanoseconds since 1970 or "-" for a device. Of a disk in several files that is the newest time, with "+" and 16
// hexadecimal digits of the times of all behind it. It may be stored.
type Fingerprint string

// fingerprintVersion changes with what is sampled.
const fingerprintVersion = "1"

const (
	sampleBytes  = 4096
	fixedSamples = 64  // evenly spread, the last block among them
	drawnSamples = 192 // in places drawn by chance, the same for all disks of one size
	// maxAnchors bounds what is read where file systems say so, besides the samples: with those 4 MiB at most.
	maxAnchors = 768
)

// ErrChanged: a disk is not what it was when its fingerprint was taken.
var ErrChanged = errors.New("disk was changed by something else")

// Check compares f, taken at the end of a session, with now, taken at the beginning of the next one. It returns nil when they agree, and ErrChanged with what differs. A
// fingerprint of another version of this program can't be compared and is ErrUnsupported.
func (f Fingerprint) Check(now Fingerprint) error {
	was, is := strings.Split(string(f), "/"), strings.Split(string(now), "/")
	if len(was) != 4 || len(is) != 4 || was[0] != is[0] || was[0] != fingerprintVersion {
		return fmt.Errorf("%w: fingerprints %q and %q can't be compared", ErrUnsupported, clip(string(f)), clip(string(now)))
	}
	switch {
	case was[1] != is[1]:
		return fmt.Errorf("%w: it had %s bytes and has %s now", ErrChanged, was[1], is[1])
	case was[2] != is[2]:
		return fmt.Errorf("%w: blocks that were sampled hold something else than before (%s, was %s)", ErrChanged, is[2], was[2])
	case was[3] != is[3] && sayTime(was[3]) == sayTime(is[3]):
		return fmt.Errorf("%w: one of its files was last written at another time than before, although no block that was sampled differs", ErrChanged)
	case was[3] != is[3]:
		return fmt.Errorf("%w: it was written at %s, after we had closed it (%s), although no block that was sampled differs", ErrChanged, sayTime(is[3]), sayTime(was[3]))
	}
	return nil
}

func sayTime(nanoseconds string) string {
	newest, _, _ := strings.Cut(nanoseconds, "+")
	n, err := strconv.ParseInt(newest, 10, 64)
	if err != nil {
		return nanoseconds
	}
	return time.Unix(0, n).UTC().Format("2006-01-02 15:04:05.000 MST")
}

// Fingerprint syncs the disk first, so that what it samples is what the storage will hold. It reads at most 4 MiB. On disks that keep tables it returns "": those
// change with our own marks, and there is a content id.
func (m *image) Fingerprint(ctx context.Context) (Fingerprint, error) {
	if !m.flat() {
		return "", nil
	}
	if err := m.Sync(); err != nil {
		return "", err
	}
	hash, err := sampleHash(ctx, m)
	if err != nil {
		return "", fmt.Errorf("fingerprint of %s: %w", m.name, err)
	}
	written, err := m.lastWritten()
	if err != nil {
		return "", fmt.Errorf("fingerprint of %s: %w", m.name, err)
	}
	return Fingerprint(fmt.Sprintf("%s/%d/%s/%s", fingerprintVersion, m.size, hash, written)), nil
}

// flat reports whether the files of a disk hold its bytes as they are.
func (m *image) flat() bool {
	for _, p := range m.parts {
		if _, ok := p.extent.(*flatExtent); !ok {
			return false
		}
	}
	return true
}

// lastWritten is when the files were last written, durably noted; "-" for a device.
func (m *image) lastWritten() (string, error) {
	inside, err := m.enter()
	if err != nil {
		return "", err
	}
	defer m.life.leave(inside)
	var newest int64
	var all []byte
	for _, st := range m.files {
		st, ok := st.(interface{ osFile() *osFile })
		if !ok || st.osFile().device {
			return "-", nil
		}
		f := st.osFile().f
		if m.write {
			if err := f.Sync(); err != nil { // a sync of the data alone may leave the time behind
				return "", m.failed(syncFailed(f.Name(), err))
			}
		}
		info, err := f.Stat()
		if err != nil {
			return "", err
		}
		at := info.ModTime().UnixNano()
		newest = max(newest, at)
		all = binary.LittleEndian.AppendUint64(all, uint64(at))
	}
	if len(m.files) <= 1 {
		return strconv.FormatInt(newest, 10), nil
	}
	sum := sha256.Sum256(all)
	return fmt.Sprintf("%d+%x", newest, sum[:8]), nil
}

// sampleHash is half a SHA-256 over places and content of the sampled blocks, in the order of the disk.
func sampleHash(ctx context.Context, d Disk) (string, error) {
	s := &sampler{ctx: ctx, d: d, blocks: map[int64][]byte{}, volumes: map[int64]bool{}}
	s.add(samplePlaces(d.Size()))
	s.anchors()
	if s.err != nil {
		return "", s.err
	}
	h := sha256.New()
	for _, off := range sortedPlaces(s.blocks) {
		var at [8]byte
		binary.LittleEndian.PutUint64(at[:], uint64(off))
		h.Write(at[:])
		h.Write(s.blocks[off])
	}
	return hex.EncodeToString(h.Sum(nil)[:16]), nil
}

func sortedPlaces(blocks map[int64][]byte) []int64 {
	places := make([]int64, 0, len(blocks))
	for off := range blocks {
		places = append(places, off)
	}
	slices.Sort(places)
	return places
}

// samplePlaces are the blocks that are looked at whatever they hold.
func samplePlaces(size int64) []int64 {
	blocks := ceilDiv(size, sampleBytes)
	var places []int64
	for i := range int64(fixedSamples) {
		places = append(places, i*(blocks-1)/(fixedSamples-1)*sampleBytes)
	}
	draw := rand.New(rand.NewPCG(uint64(size), 0x6661696c6261636b))
	for range drawnSamples {
		places = append(places, draw.Int64N(max(blocks, 1))*sampleBytes)
	}
	return places
}

// sampler reads blocks of a disk, each once.
type sampler struct {
	ctx      context.Context
	d        Disk
	volumes  map[int64]bool   // where something was looked for
	blocks   map[int64][]byte // by offset; the last may be short
	followed int              // anchors that were read
	err      error
}

// sampleLanes is how many blocks are read at a time.
const sampleLanes = 8

// add reads the blocks at places, except those that were read.
func (s *sampler) add(places []int64) {
	places = slices.Compact(slices.SortedFunc(slices.Values(places), cmp.Compare[int64]))
	places = slices.DeleteFunc(places, func(off int64) bool { return s.blocks[off] != nil || off < 0 || off >= s.d.Size() })
	var mu sync.Mutex
	var lanes sync.WaitGroup
	next := make(chan int64)
	for range sampleLanes {
		lanes.Go(func() {
			for off := range next {
				b := make([]byte, min(sampleBytes, s.d.Size()-off))
				_, err := readWhole(s.d, b, off)
				if err == nil {
					err = s.ctx.Err()
				}
				mu.Lock()
				s.blocks[off] = b
				s.err = cmp.Or(s.err, err)
				mu.Unlock()
			}
		})
	}
	for _, off := range places {
		next <- off
	}
	close(next)
	lanes.Wait()
}

// at returns n bytes from off on, read as anchors; nil where there are none, or there were too many.
func (s *sampler) at(off int64, n int) []byte {
	first, last := off/sampleBytes*sampleBytes, (off+int64(n)-1)/sampleBytes*sampleBytes
	if off < 0 || n <= 0 || off > s.d.Size()-int64(n) || s.err != nil {
		return nil
	}
	var b []byte
	for at := first; at <= last; at += sampleBytes {
		if s.blocks[at] == nil {
			if s.followed++; s.followed > maxAnchors {
				return nil
			}
			s.add([]int64{at})
		}
		b = append(b, s.blocks[at]...)
	}
	if s.err != nil {
		return nil
	}
	return b[off-first:][:n]
}
