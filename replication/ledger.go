package replication

import (
	"fmt"
	"time"
)

// Ledger counts the bytes of one disk in one piece of work (a cycle, a verification). All counters rise. At the end of a cycle they add up, see Check.
type Ledger struct {
	Disk    DiskNo `json:"no"`
	Total   int64  `json:"total"`   // to look at
	Done    int64  `json:"done"`    // looked at, or known without looking
	Read    int64  `json:"read"`    // read from the source
	Zero    int64  `json:"zero"`    // known or found to be zero
	Equal   int64  `json:"equal"`   // not sent because the hashes were equal
	Kept    int64  `json:"kept"`    // not sent because it was durable when the work began
	Raw     int64  `json:"raw"`     // sent, before compression
	Again   int64  `json:"again"`   // of Raw: sent once more, after a lane was lost
	Payload int64  `json:"payload"` // sent, after compression
	Wire    int64  `json:"wire"`    // what the lanes' sockets took for it, headers and TLS included; 0: not known
	Codecs  Codecs `json:"codecs"`  // Raw and Payload, by codec

	Repeated int64 `json:"repeated"` // not sent because the target holds it elsewhere: sent by reference

	Spent Spent `json:"spent"`
}

// Spent is what the process server's workers spent their time on for a disk, added up over all of them. It tells what the work is bound by.
type Spent struct {
	Read     time.Duration `json:"read_nanos"`     // waiting for the source
	Hash     time.Duration `json:"hash_nanos"`     //
	Compress time.Duration `json:"compress_nanos"` //
	Send     time.Duration `json:"send_nanos"`     // waiting for lanes to take what is packed
	Target   time.Duration `json:"target_nanos"`   // waiting for the hashes of the target's side; of the one that asks
}

// Codecs is what was sent by each codec. What a compressor could not make smaller is none's.
type Codecs struct {
	None Sent `json:"none"`
	LZ4  Sent `json:"lz4"`
	S2   Sent `json:"s2"`
	Zstd Sent `json:"zstd"`
}

// Sent are bytes before and after compression.
type Sent struct {
	Raw     int64 `json:"raw"`
	Payload int64 `json:"payload"`
}

// Check says whether the ledger of a cycle that has come to its end adds up: each byte was looked at, and is zero, equal, kept, repeated or sent; what was sent was so by some
// codec; and the wire carried all of it.
func (l Ledger) Check() error {
	c := l.Codecs
	switch {
	case l.Done != l.Total:
		return fmt.Errorf("ledger of disk %d: %d bytes done of %d", l.Disk, l.Done, l.Total)
	case l.Done != l.Zero+l.Equal+l.Kept+l.Repeated+l.Raw-l.Again:
		return fmt.Errorf("ledger of disk %d: %d bytes done are not %d zero, %d equal, %d kept, %d repeated and %d sent less %d sent again", l.Disk, l.Done, l.Zero, l.Equal, l.Kept, l.Repeated, l.Raw, l.Again)
	case l.Raw != c.None.Raw+c.LZ4.Raw+c.S2.Raw+c.Zstd.Raw, l.Payload != c.None.Payload+c.LZ4.Payload+c.S2.Payload+c.Zstd.Payload:
		return fmt.Errorf("ledger of disk %d: %d bytes sent as %d are not what the codecs were given and made: %+v", l.Disk, l.Raw, l.Payload, c)
	case l.Wire > 0 && l.Wire < l.Payload:
		return fmt.Errorf("ledger of disk %d: %d bytes on the wire for %d of payload", l.Disk, l.Wire, l.Payload)
	}
	return nil
}

// LinkStatus is what a shipment makes of the link, as its process server sees it.
type LinkStatus struct {
	Lanes int          `json:"lanes"` // in use
	Most  int          `json:"most"`  // that may be
	Mix   []LevelShare `json:"mix"`   // how content is compressed now
	Rate  float64      `json:"rate"`  // bytes a second on the wire, lately
	Takes float64      `json:"takes"` // payload bytes a second that the link was seen to take; 0: it does not bind
	Binds string       `json:"binds"` // what the rate is bound by: link, limit, or what comes before it: source or cores
	Limit int64        `json:"limit"` // bytes a second on the wire that this group may have now; 0: no limit
}

// LevelShare says that a level of compression has a share of the content, 0 to 1.
type LevelShare struct {
	Level string  `json:"level"`
	Share float64 `json:"share"`
}

// Progress is what a process server tells of a shipment under way.
type Progress struct {
	Disks []Ledger
	Link  LinkStatus
	Queue []int // by disk: its place in the queue of those that are copied or compared whole; 0: it does not wait. May be shorter, or empty
}
