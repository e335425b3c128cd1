package retention

import (
	"time"

	"failback/replication"
)

// kind says what a record of the log tells. The numbers are part of the format.
type kind uint16

const (
	kindIdentity       kind = 1  // Identity; always the first record
	kindGeneration     kind = 2  // generationRecord
	kindContentIDs     kind = 3  // contentIDsRecord
	kindCycleOpened    kind = 4  // replication.Cycle
	kindCycleDropped   kind = 5  // cycleDroppedRecord
	kindPointListed    kind = 6  // pointRecord
	kindMoveStarted    kind = 7  // moveRecord
	kindMoveProgress   kind = 8  // progressRecord
	kindMoveTurned     kind = 9  // turnRecord
	kindMoveCommitted  kind = 10 // commitRecord
	kindPointVerified  kind = 11 // verifyRecord
	kindPointPinned    kind = 12 // pinRecord
	kindPointsSuspect  kind = 13 // suspectRecord
	kindJournalRetired kind = 14 // nothing: the journal is being removed
	kindFingerprints   kind = 15 // fingerprintsRecord
	kindPointDrilled   kind = 16 // drillRecord
	kindPointsDropped  kind = 17 // dropRecord
	kindFilesReplaced  kind = 18 // replaceRecord
	kindCheckpoint     kind = 19 // checkpointRecord; only the second record
	kindQuarantined    kind = 23 // quarantineRecord
	kindScrubbed       kind = 24 // ScrubState
	kindSettings       kind = 30 // Settings
	kindDisksJoined    kind = 31 // joinRecord
	kindFileBlind      kind = 33 // blindRecord
	kindCutover        kind = 34 // cutoverRecord
	kindDiskGrown      kind = 35 // growRecord
	kindDisksLeft      kind = 36 // leaveRecord
	lastKind                = kindDisksLeft
)

// Identity says whose journal it is: its first record, with the disks that joined since; as Journal.Identity tells it, without those that left.
type Identity struct {
	Group   replication.GroupID `json:"group"`
	Disks   []replication.Disk  `json:"disks"`   // by disk number
	Targets []string            `json:"targets"` // by disk number: where the disks lie, for a person to read
	Created time.Time           `json:"created"`
	UUID    string              `json:"uuid"` // names this journal: 32 hexadecimal digits; Create makes one when it is empty
	// KeepOriginal has what the first baseline writes over saved before, and listed as point 0.
	KeepOriginal bool `json:"keep_original,omitempty"`
}

func (id *Identity) size(d replication.DiskNo) int64 {
	if int64(d) >= int64(len(id.Disks)) {
		return -1
	}
	return id.Disks[d].Size
}

type generationRecord struct {
	Generation replication.Generation `json:"generation"`
	Owner      *Owner                 `json:"owner,omitempty"`    // whose it is; absent: nobody's, or an earlier release did not say
	Released   bool                   `json:"released,omitempty"` // its owner gave it up
}

type contentIDsRecord struct {
	IDs []uint32 `json:"ids"` // by disk number
}

type fingerprintsRecord struct {
	Disks []string `json:"disks"` // by disk number, "" where there is none; empty: a session is open, or ended badly
}

type cycleDroppedRecord struct {
	Point  replication.PointID `json:"point"`
	Reason string              `json:"reason"`
}

// fileRecord names a sealed file in such a way that another file in its place is found out.
type fileRecord struct {
	Name     string `json:"name"` // within seg, save or pack
	Size     int64  `json:"size"`
	Bytes    int64  `json:"bytes"` // of the disks
	Extents  uint64 `json:"extents"`
	IndexCRC uint32 `json:"index_crc"`

	// Of saves and packs, whose blocks have versions of their own:
	Low  replication.PointID `json:"low,omitempty"`  // the lowest version
	High replication.PointID `json:"high,omitempty"` // the highest version; 0, in old saves: not known
	Zero bool                `json:"zero,omitempty"` // the highest version is 0, and known
	Gone int64               `json:"gone,omitempty"` // bytes of the disks, of Bytes, that it has no content of, lost ones included
	Lost int64               `json:"lost,omitempty"` // of Gone: bytes whose content was quarantined before it was packed
}

// versions returns what a record tells of a file that the file itself does not.
func (f *fileRecord) versions() fileRecord {
	return fileRecord{Low: f.Low, High: f.High, Zero: f.Zero, Gone: f.Gone, Lost: f.Lost}
}

// originalRecord is point 0: the disks as they were before the first baseline.
type originalRecord struct {
	Time  time.Time    `json:"time"`
	Saves []fileRecord `json:"saves,omitempty"` // content of version 0 that was written over
	Over  *fileRecord  `json:"over,omitempty"`  // a pack: the same extents, gone, of the baseline's version
}

// diskRecord is what a cycle covered of one disk.
type diskRecord struct {
	Disk   replication.DiskNo `json:"disk"`
	Bytes  int64              `json:"bytes"`
	Digest []byte             `json:"digest"` // Set.Digest
}

type pointRecord struct {
	Point  replication.PointID `json:"point"`
	Time   time.Time           `json:"time"`
	Kind   replication.Kind    `json:"kind"`
	Route  replication.Route   `json:"route"`
	Bytes  int64               `json:"bytes"`
	Stored int64               `json:"stored"`
	Verify *replication.Verify `json:"verified,omitempty"`
	Snap   string              `json:"snapshot,omitempty"`   // Cut.Snapshot
	Skew   time.Duration       `json:"skew_nanos,omitempty"` // Cut.Skew
	NotApp string              `json:"not_app,omitempty"`    // Cut.NotApp
	Disks  []diskRecord        `json:"disks"`
	Files  []fileRecord        `json:"files"` // by rising generation, session, attempt and lane: a later one wins

	Original *originalRecord `json:"original,omitempty"` // of the first baseline, where point 0 is kept
}

type moveRecord struct {
	From replication.PointID `json:"from"`
	To   replication.PointID `json:"to"`
	Save *fileRecord         `json:"save,omitempty"`
}

type progressRecord struct {
	Disk replication.DiskNo `json:"disk"`
	Done int64              `json:"done"` // every byte of the disk before is durable at the move's To
}

type turnRecord struct {
	From replication.PointID `json:"from"`
	To   replication.PointID `json:"to"`
}

type commitRecord struct {
	Head replication.PointID `json:"head"`
}

type verifyRecord struct {
	Point  replication.PointID `json:"point"`
	Verify replication.Verify  `json:"verify"`
}

type pinRecord struct {
	Point  replication.PointID `json:"point"`
	Pinned bool                `json:"pinned"`
	Until  time.Time           `json:"until,omitzero"` // zero: no end
	Note   string              `json:"note,omitempty"` // the operator's words
}

type dropRecord struct {
	Points []replication.PointID `json:"points"`
	Reason string                `json:"reason"`
}

type replaceRecord struct {
	Gone  []string     `json:"gone"`  // paths within the group's directory, with slashes
	Files []fileRecord `json:"files"` // packs
}

type drillRecord struct {
	Point replication.PointID `json:"point"`
	Drill replication.Drilled `json:"drill"`
}

type suspectRecord struct {
	Points []replication.PointID `json:"points"`
	Reason string                `json:"reason"`
}

type quarantineRecord struct {
	Parts []Part `json:"parts"`
}

// blindRecord says of a file that what was in it can't be told any more, neither by its index nor by its blocks.
type blindRecord struct {
	File string `json:"file"` // within the group's directory, with slashes
	What string `json:"what"` // is wrong
}

// Part is a part of a file that does not hold what was written: quarantined, it is never read again, and what the index tells of it is lost unless another file, or a disk, has it.
type Part struct {
	File  string    `json:"file"` // within the group's directory, with slashes
	Off   int64     `json:"off"`  // bytes from the file's begin
	Len   int64     `json:"len"`  //
	What  string    `json:"what"` // is wrong
	Found time.Time `json:"found"`
	Held  []Held    `json:"held"` // what lay there, by the index; at most maxHeld
	More  int       `json:"more,omitempty"`
}

// Held is an extent of a disk that lay in a part.
type Held struct {
	Disk    replication.DiskNo  `json:"disk"`
	Off     int64               `json:"off"`
	End     int64               `json:"end"`
	Version replication.PointID `json:"version"`
}

// ScrubState tells how far scrubbing is.
type ScrubState struct {
	Begun time.Time `json:"begun,omitzero"`  // of the pass under way; zero: none is
	After string    `json:"after,omitempty"` // the last file that the pass under way has read, in the order in which they were named
	Whole time.Time `json:"whole,omitzero"`  // when the last whole pass ended
}
