package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"failback/blockio"
	"failback/replication"
	"failback/replication/block"
	"failback/retention"
)

// stand is a journal and its disk, which is a raw file full of what does not compress.
type stand struct {
	l        *lab
	path     string // of the disk
	dir      string // of the journal
	disk     blockio.Target
	j        *retention.Journal
	attempts uint64
	at       int // where the next bytes come from
}

const group = "bench"

// fill makes the disk of all stands, unless it is there.
func (l *lab) fill(size int64) (string, error) {
	path := filepath.Join(l.Dir, "disk.raw")
	if st, err := os.Stat(path); err == nil && st.Size() == size {
		return path, nil
	}
	os.Remove(path)
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	for off := int64(0); off < size && err == nil; off += int64(len(l.noise)) {
		_, err = f.WriteAt(l.noise[:min(int64(len(l.noise)), size-off)], off)
	}
	return path, errors.Join(err, f.Sync(), f.Close())
}

// stand makes a journal whose first point the disk shows.
func (l *lab) stand(name string, size int64, caching blockio.Caching) (s *stand, err error) {
	s = &stand{l: l, dir: filepath.Join(l.Dir, name)}
	if err := os.RemoveAll(s.dir); err != nil {
		return nil, err
	}
	if s.path, err = l.fill(size); err != nil {
		return nil, err
	}
	if s.disk, err = blockio.OpenTarget(s.path, blockio.TargetOptions{Caching: caching}); err != nil {
		return nil, err
	}
	id := retention.Identity{Group: group, Disks: []replication.Disk{{ID: "machine/disk", Size: size}}, Targets: []string{s.path}}
	if s.j, err = retention.Create(s.dir, id); err != nil {
		return nil, errors.Join(err, s.disk.Close())
	}
	all := replication.NewSet(replication.Extent{End: size})
	_, err = s.j.Adopt(0)
	if err == nil {
		err = s.j.Begin(replication.Cycle{Point: 1, Route: replication.Through, Mode: replication.Compare, Cut: replication.Cut{Sizes: []int64{size}}})
	}
	if err == nil {
		err = s.j.RecordCoverage(map[replication.DiskNo][]replication.Extent{0: all.Extents()})
	}
	if err == nil {
		_, err = s.j.List([]replication.Total{{Bytes: size, Digest: all.Digest()}}, replication.Crash, nil)
	}
	if err != nil {
		err = errors.Join(err, s.close())
	}
	return s, err
}

func (s *stand) close() error {
	return errors.Join(s.j.Close(), s.disk.Close(), os.RemoveAll(s.dir))
}

// cycle makes a point of extents that rise, in so many lanes. raw content comes from the noise; half of it is zeros where it is to compress.
func (s *stand) cycle(extents []replication.Extent, lanes int, level block.Level) (replication.PointID, error) {
	last, _ := s.j.Last()
	p := s.j.NextPoint()
	err := s.j.Begin(replication.Cycle{Point: p, Base: last.ID, BaseChain: last.Chain, Route: replication.Journaled, Mode: replication.Changes, Cut: replication.Cut{Sizes: []int64{s.disk.Size()}}})
	if err != nil {
		return 0, err
	}
	failed := make([]error, lanes)
	var wg sync.WaitGroup
	for n := range lanes {
		s.attempts++
		a, err := s.j.Lane(replication.Lane{Session: replication.Session{Group: group, Generation: s.j.Generation(), ID: 1}, Point: p, Lane: uint32(n), Attempt: s.attempts})
		if err != nil {
			return 0, err
		}
		part := extents[n*len(extents)/lanes : (n+1)*len(extents)/lanes]
		at := (s.at + n*7<<20) % (len(s.l.noise) / 2)
		wg.Go(func() {
			if failed[n] = s.lane(a, part, at, level); failed[n] == nil {
				failed[n] = a.Close()
			}
		})
	}
	wg.Wait()
	s.at += 4096 + 1<<20
	if err := errors.Join(failed...); err != nil {
		return 0, err
	}
	set := s.j.Coverage(0)
	listed, err := s.j.List([]replication.Total{{Bytes: set.Bytes(), Digest: set.Digest()}}, replication.Crash, nil)
	return listed.ID, err
}

// lane sends extents in blocks of 64 KiB.
func (s *stand) lane(a *retention.Arrival, extents []replication.Extent, at int, level block.Level) error {
	var enc block.Encoder
	raw, exts := make([]byte, 0, block.MaxRaw), make([]replication.Extent, 0, 16)
	flush := func() error {
		if len(raw) == 0 {
			return nil
		}
		b := block.Block{Kind: block.Data, Extents: exts, Raw: len(raw), CRC: block.Checksum(raw), Codec: block.None, Payload: raw}
		if level != block.Raw {
			b.Payload, b.Codec = enc.Encode(nil, raw, level)
		}
		raw, exts = raw[:0], exts[:0]
		return a.Append(&b)
	}
	for _, e := range extents {
		n := int(e.Len())
		if len(raw)+n > block.MaxRaw {
			if err := flush(); err != nil {
				return err
			}
		}
		if at += n; at+n > len(s.l.noise) {
			at = 0
		}
		k := len(raw)
		raw = append(raw, s.l.noise[at:at+n]...)
		if level != block.Raw {
			clear(raw[k+n/2:])
		}
		exts = append(exts, e)
	}
	return flush()
}

// every returns extents of so many bytes, one in each stride.
func every(run, stride, total int64) (es []replication.Extent) {
	for off := int64(0); int64(len(es))*run < total; off += stride {
		es = append(es, replication.Extent{Off: off, End: off + run})
	}
	return es
}

// bytes is what the journal's files take, but for its log.
func (s *stand) bytes() (n int64, err error) {
	err = filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Base(path) == "log" {
			return err
		}
		st, err := d.Info()
		if err == nil {
			n += st.Size()
		}
		return err
	})
	return n, err
}

// files returns the paths of the journal's files of a kind: seg or save.
func (s *stand) files(kind string) ([]string, error) {
	return filepath.Glob(filepath.Join(s.dir, kind, "*"))
}

// cold puts everything on storage, and the files out of the page cache.
func cold(paths ...string) error {
	syscall.Sync()
	for _, p := range paths {
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		err = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("%s: %w", strings.TrimSpace(p), err)
		}
	}
	return nil
}
