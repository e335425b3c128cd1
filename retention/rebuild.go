package retention

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"failback/replication"
	"failback/replication/block"
)

// rebuild makes a file again, byte by byte what it was, from its blocks: its header, index, fences and footer, of which something is damaged. The log, which has the index's checksum, says whether it came out right. It takes the place
// of the old one in one step; blocks are copied as they are, damaged ones too. What has no blocks (Gone) can't be told by them.
func (j *Journal) rebuild(ctx context.Context, f namedFile) (err error) {
	name := j.path(f.path())
	fail := func(err error) error { return fmt.Errorf("rebuild %s: %w", base(name), err) }
	if f.Gone > 0 {
		return fail(errors.New("it tells of extents without content, which only its index knows"))
	}
	chunks := int64(f.Extents+chunkEntries-1) / chunkEntries
	index := f.Size - footerSize - chunks*(chunkSize+fenceSize)
	if index <= fileHeaderSize {
		return fail(fmt.Errorf("%d extents in %d bytes", f.Extents, f.Size))
	}
	from, err := j.vol.Open(name)
	if err != nil {
		return fail(err)
	}
	defer from.Close()
	hdr, err := j.headerOf(from, f)
	if err != nil {
		return fail(err)
	}
	made := name + newSuffix
	if err := removeIfThere(j.vol, made); err != nil {
		return fail(err)
	}
	w, err := createWriter(j.vol, made, hdr, &j.t)
	if err != nil {
		return fail(err)
	}
	w.synced = true // its name is made durable when it has the right one
	err = w.copyBlocks(ctx, from, index, &j.id)
	var foot footer
	if err == nil {
		foot, _, err = w.seal()
	}
	err = errors.Join(err, w.close())
	if err == nil && (foot.size() != f.Size || foot.bytes != f.Bytes || foot.count != f.Extents || foot.indexCRC != f.IndexCRC) {
		err = fmt.Errorf("its blocks make an index of %d extents and %d bytes with checksum %08x, the log says %d, %d, %08x", foot.count, foot.bytes, foot.indexCRC, f.Extents, f.Bytes, f.IndexCRC)
	}
	if err == nil {
		err = j.vol.Rename(made, name)
	}
	if err == nil {
		err = syncDir(j.vol, j.path(fileDirs[f.kind]))
	}
	if err != nil {
		return j.note(errors.Join(fail(noSpace(err)), removeIfThere(j.vol, made)))
	}
	j.files.forget(name)
	return nil
}

// headerOf reads a file's header; that of a segment, where it is damaged, its name tells.
func (j *Journal) headerOf(from file, f namedFile) (h fileHeader, err error) {
	b := make([]byte, fileHeaderSize)
	if err = readFull(from, b, 0); err != nil {
		return h, err
	}
	if h, err = parseFileHeader(b); err == nil || f.kind != segmentFile {
		return h, err
	}
	h = fileHeader{kind: segmentFile, journal: j.journal, group: j.id.Group}
	if n, serr := fmt.Sscanf(strings.TrimSuffix(f.Name, segSuffix), "%d-%d-%d-%d-%d", &h.point, &h.generation, &h.session, &h.lane, &h.attempt); serr != nil || n != 5 || h.point != f.point {
		return h, err
	}
	return h, nil // its checksum, which each entry carries, says whether it is right
}

// copyBlocks takes the entries of another file up to an offset as they are.
func (w *writer) copyBlocks(ctx context.Context, from file, upTo int64, id *Identity) error {
	if err := w.flush(); err != nil { // the header
		return err
	}
	buf := make([]byte, 1<<20)
	for at := int64(fileHeaderSize); at < upTo; at += int64(len(buf)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		buf = buf[:min(int64(len(buf)), upTo-at)]
		if err := readFull(from, buf, at); err != nil {
			return err
		}
		if _, err := w.f.WriteAt(buf, at); err != nil {
			return w.fail(err)
		}
	}
	w.end, w.flushed = upTo, upTo
	h := make([]byte, entryFixed+block.MaxRanges*extentSize)
	for at := int64(fileHeaderSize); at < upTo; {
		if err := ctx.Err(); err != nil {
			return err
		}
		fixed := h[:min(entryFixed, upTo-at)]
		if err := readFull(from, fixed, at); err != nil {
			return err
		}
		if replication.IsZero(fixed[:min(len(fixed), 4)]) && at != alignUp(at) { // padding
			at = alignUp(at)
			continue
		}
		n, p, err := entrySize(fixed)
		if err == nil && at+int64(n+p) > upTo {
			err = malformed("entry is cut off")
		}
		var b block.Block
		var version replication.PointID
		if err == nil {
			if err = readFull(from, h[:n], at); err == nil {
				b, version, err = parseEntry(h[:n], where{at, w.salt}, id.size)
			}
		}
		if err != nil {
			return fmt.Errorf("at %d: %w", at, err)
		}
		w.span(version)
		if err := w.indexed(&b, version, at); err != nil {
			return err
		}
		at += int64(n + p)
	}
	return nil
}
