package retention

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"failback/replication"
	"failback/replication/block"
	"failback/replication/crc32c"
)

// errNotTold: what is left of a file does not tell what it was.
var errNotTold = errors.New("what is left of it does not tell what it was")

// rebuild makes a file again, byte by byte what it was: its header from its name, its footer and what its blocks say of it; its index, as it is if the log says that it is whole, else from its blocks; fences and footer from the index.
// The log, which has the index's checksum, says whether it came out right. It takes the place of the old one in one step; blocks are copied as they are, damaged ones too. What has no blocks (Gone) can't be told by them. errNotTold:
// too much of it is damaged.
func (j *Journal) rebuild(ctx context.Context, st *state, f namedFile) (err error) {
	name := j.path(f.path())
	fail := func(err error) error {
		if errors.Is(err, errFormat) || errors.Is(err, ErrCorrupt) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, fs.ErrNotExist) || badStorage(err) {
			err = fmt.Errorf("%w: %w", errNotTold, err)
		}
		return fmt.Errorf("rebuild %s: %w", base(name), err)
	}
	chunks := int64(f.Extents+chunkEntries-1) / chunkEntries
	index := f.Size - footerSize - chunks*(chunkSize+fenceSize)
	if index <= fileHeaderSize || f.Extents == 0 {
		return fail(malformed("%d extents in %d bytes", f.Extents, f.Size))
	}
	from, err := j.vol.Open(name)
	if err != nil {
		return fail(err)
	}
	defer from.Close()
	hdr, err := j.headerOf(from, st, f, index)
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
	var foot footer
	whole := false
	if err = w.copyBlocks(ctx, from, index); err == nil {
		foot, whole, err = w.copyIndex(ctx, from, chunks, f.IndexCRC)
	}
	switch {
	case err != nil || whole:
	case f.Gone > 0:
		err = malformed("it tells of extents without content, which only its index knows, and that is damaged")
	default:
		if err = w.indexBlocks(ctx, from, &j.id); err == nil {
			foot, _, err = w.seal()
		}
	}
	err = errors.Join(err, w.close())
	if err == nil && (foot.size() != f.Size || foot.bytes != f.Bytes || foot.count != f.Extents || foot.indexCRC != f.IndexCRC) {
		err = malformed("its blocks make an index of %d extents and %d bytes with checksum %08x, the log says %d, %d, %08x", foot.count, foot.bytes, foot.indexCRC, f.Extents, f.Bytes, f.IndexCRC)
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

// maxHeadersTried bounds how many headers are tried for a file whose own is damaged (I12).
const maxHeadersTried = 1 << 20

// headerOf reads a file's header. One that is damaged is found again: of a segment its name tells it, of other files the footer and the generations that there were; its checksum, which each entry carries, says whether it is right.
func (j *Journal) headerOf(from file, st *state, f namedFile, index int64) (h fileHeader, err error) {
	b := make([]byte, fileHeaderSize)
	if err = readFull(from, b, 0); err != nil {
		return h, err
	}
	h, err = parseFileHeader(b)
	if err == nil && h.kind == f.kind && h.journal == j.journal && h.group == j.id.Group && (f.point == 0 || h.point == f.point) {
		return h, nil
	}
	if errors.Is(err, ErrNewer) {
		return h, err
	}
	h = fileHeader{kind: f.kind, journal: j.journal, group: j.id.Group}
	if f.kind == segmentFile {
		if n, serr := fmt.Sscanf(strings.TrimSuffix(f.Name, segSuffix), "%d-%d-%d-%d-%d", &h.point, &h.generation, &h.session, &h.lane, &h.attempt); serr != nil || n != 5 || h.point != f.point {
			return h, malformed("the file's header, and its name")
		}
		return h, nil // entries that do not fit it are no entries
	}
	salt, err := firstSalt(from, index)
	if err != nil {
		return h, fmt.Errorf("the file's header is damaged, and its first block: %w", err)
	}
	points := []replication.PointID{}
	b = make([]byte, footerSize)
	if err := readFull(from, b, f.Size-footerSize); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return h, err
	}
	if foot, err := parseFooter(b); err == nil {
		points = append(points, foot.point)
	} else {
		for p := replication.PointID(0); p <= st.used; p++ {
			points = append(points, p)
		}
	}
	tries := 0
	for _, h.point = range points {
		for h.generation = st.generation; ; h.generation-- {
			if h.salt() == salt {
				return h, nil
			}
			if tries++; h.generation == 0 || tries == maxHeadersTried {
				break
			}
		}
	}
	return h, malformed("the file's header, which none of %d fits", tries)
}

// firstSalt returns what the first entry that can be read says is the checksum of the file's header.
func firstSalt(from file, index int64) (uint32, error) {
	h := make([]byte, entryFixed+block.MaxRanges*extentSize)
	if err := readFull(from, h[:entryFixed], fileHeaderSize); err != nil {
		return 0, err
	}
	n, p, err := entrySize(h[:entryFixed])
	if err == nil && fileHeaderSize+int64(n+p) > index {
		err = malformed("entry is cut off")
	}
	if err != nil {
		return 0, err
	}
	if err := readFull(from, h[:n], fileHeaderSize); err != nil {
		return 0, err
	}
	if le.Uint32(h[4:]) != crc(h[8:n]) {
		return 0, malformed("checksum of an entry's header")
	}
	return le.Uint32(h[48:]), nil
}

// copyBlocks takes the entries of another file up to an offset as they are.
func (w *writer) copyBlocks(ctx context.Context, from file, upTo int64) error {
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
	return nil
}

// copyIndex takes the index of another file, which lies where this one's is to lie, and seals this one with it, if its checksum is the one that is wanted.
func (w *writer) copyIndex(ctx context.Context, from file, chunks int64, want uint32) (foot footer, whole bool, err error) {
	foot = footer{journal: w.hdr.journal, point: w.hdr.point, dataEnd: w.end, index: w.end, chunks: chunks}
	var tail []byte
	var es []entry
	buf := make([]byte, chunkSize)
	at := w.end
	for i := range chunks {
		if err := ctx.Err(); err != nil {
			return foot, false, err
		}
		if err := readFull(from, buf, at); err != nil {
			if errors.Is(err, io.ErrUnexpectedEOF) {
				return foot, false, nil
			}
			return foot, false, err
		}
		if es, err = parseChunk(es[:0], buf); err != nil {
			return foot, false, nil
		}
		if _, err := w.f.WriteAt(buf, at); err != nil {
			return foot, false, w.fail(err)
		}
		foot.indexCRC = crc32c.Update(foot.indexCRC, buf)
		if i == 0 {
			foot.first = fence{es[0].disk, es[0].ext.Off}
		}
		tail = appendFence(tail, fence{es[0].disk, es[0].ext.Off})
		foot.count += uint64(len(es))
		for _, e := range es {
			foot.bytes += e.ext.Len()
			foot.last = fence{e.disk, e.ext.End}
		}
		at += chunkSize
	}
	if foot.indexCRC != want {
		return foot, false, nil
	}
	foot.fenceCRC = crc(tail)
	if _, err := w.f.WriteAt(append(tail, foot.put()...), at); err != nil {
		return foot, false, w.fail(fmt.Errorf("write %s: %w", base(w.name), err))
	}
	if err := syncFile(w.f, w.name); err != nil {
		return foot, false, w.fail(err)
	}
	return foot, true, nil
}

// indexBlocks makes the index anew of the entries of another file, which were copied.
func (w *writer) indexBlocks(ctx context.Context, from file, id *Identity) error {
	upTo := w.end
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
