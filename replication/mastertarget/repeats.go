package mastertarget

import (
	"fmt"
	"io"

	"failback/replication"
	"failback/replication/block"
)

// resolve makes of a repeat the data block that it stands for, and its content, both in the lane's memory. What is found where it says is believed by its hash only (I9): the
// process server goes by what it knows, and what the disks show there may be another thing by now, or not be there yet. Then it is not ok: it is needed by value, as
// is what can't be read, since a cycle must not stop where its content can be had otherwise.
func (a *arrival) resolve(b *block.Block) (data *block.Block, raw []byte, ok bool, err error) {
	o := b.Origin
	if int(o.Disk) >= len(a.disks) || o.Off > a.disks[o.Disk].Size-int64(b.Raw) {
		return nil, nil, false, fmt.Errorf("lane %v: disk %s: a repeat of %d bytes at %d of disk %d, which are not there", a.lane, a.disks[b.Disk].ID, b.Raw, o.Off, o.Disk)
	}
	raw = a.raw[:b.Raw]
	if !a.find(raw, o) {
		a.byValue += int64(b.Raw)
		return nil, nil, false, nil
	}
	data = &block.Block{Disk: b.Disk, Kind: block.Data, Extents: b.Extents, Raw: b.Raw, CRC: block.Checksum(raw)}
	if a.journal != nil {
		a.encoded, data.Codec = a.enc.Encode(a.encoded[:0], raw, block.LevelS2)
		data.Payload = a.encoded
	}
	return data, raw, true, nil
}

// find reads what a repeat stands for, and says whether it is that.
func (a *arrival) find(raw []byte, o block.Origin) bool {
	base := a.base
	if a.through != nil && a.through.takes(o.Disk) {
		base = 0
	}
	content, err := a.group.base(base, o.Disk)
	if err == nil {
		defer content.Close()
		_, err = content.ReadAt(raw, o.Off)
	}
	if err != nil && err != io.EOF {
		if !a.warned { // whoever needs it from there will be told: a check, a move, a reader
			a.warned = true
			a.group.log.Warn("what repeats can't be read, and is asked for by value", "disk", a.disks[o.Disk].ID, "off", o.Off, "len", len(raw), "err", err)
		}
		return false
	}
	var pages [block.MaxRaw / replication.Page]replication.Hash
	return replication.HashRegion(replication.HashPages(pages[:0], raw)) == o.Hash
}
