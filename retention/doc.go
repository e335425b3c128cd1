// Package retention is the journal of a group: a line of recovery points on the retention volume, moves of the disks along it, and readers of any point.
//
// # Versions
//
// A cycle makes a point and, under the same number, a segment: the extents that it changed, with their new content. The version of a byte at a point is the newest one up to
// that point that any file of the journal has an entry of. An entry has the content, or is gone: then the disks hold it, as they hold what no file has an entry of, the content that
// the first baseline wrote through to them. The disks show one point, the head.
//
// A reader looks in the journal for the version it needs; what is not there it reads from the disk, and when a move began meanwhile, which may have saved it in the journal and written over
// it, it looks again.
//
// A move saves what only the disks hold of the bytes whose versions differ (a save file, sealed and durable), records itself, writes each byte once from the journal,
// syncs the disks and records that it is done. A crash before the record has changed nothing; after it, the move is finished, or taken back by writing towards where it
// came from, as both versions of every byte are in the journal then. Progress is recorded with the disks synced, so that finishing does not begin at zero.
//
// To drop a point is a record. Of the versions between one listed point and the next, its class, only each byte's newest is needed then; the others are dead. Rewriting replaces files
// by a pack that has what is needed of them: of segments of one class, or of one save or pack. It may leave out spares, which the disks hold as well, while the disks stand
// at the head; their extents stay in the index, gone. Of the oldest point even those go, where no file has an older entry that would show.
//
// # Damage
//
// A block that does not hold what was written is quarantined: a record names the part of the file, what lay there, and its versions. From then on its bytes are lost, in that version: they stand above what says that the disks hold
// it, and below content of the same version, which another file may have. A reader of what is lost gets a Corruption; a point that needs it is damaged where it does (Damage), and whole elsewhere. A rewriting carries on
// what is lost (an index entry of a pack), since without it an older version would show; content that stands above what is lost is not given up as spare.
//
// Before a move is recorded, all that it would write, and what of it the disks hold and the journal too, is looked at by its checksums (but not what this process wrote, or read whole, within a day). The move is refused where its
// end needs what is lost, with the disks untouched; what is lost of where the disks stand, they hold themselves, and the move saves it. A move that comes upon damage later goes back, if it can.
//
// What storage can't read is damage when it fails twice; an error that passes is none. Scrub reads files in whole. A damaged header, index or footer is made again, the header from the file's name or from what each entry says of it, the
// rest from the blocks, or from the index where that is whole, and must come out as the log says, to the byte; so it is when the journal is opened. A file that is gone, or of which too much is damaged, is blind: it may have had any byte,
// in the versions that the log says it had. What stands above those is served nevertheless, and so is what the disks show, at the head's point and wherever no version lies between that and the point that is read; all else is lost, and no
// spare is given up. Where two segments of a point have the same bytes, as its cycle was sent in several attempts or rounds, the later one counts, and nothing is said of the earlier one's while the later may be blind. Where the disks hold a byte since a point before the
// blind file's versions, it is not in the file, as what a move writes over is saved before. The file is buried, by a pack in its place that says, in index entries alone, what of that the disks hold and what is lost, when nothing is lost by that (Mend), or before the disks move, as what the move saves would else be saved as of a wrong version. Mend saves from the disks what is lost and they show;
// Repair takes in from elsewhere what a point shows. Both make a pack, with the versions that were lost, named by one record: points that need these versions are whole again.
//
// # Point 0
//
// Where the identity says so, point 0 is kept: the disks as they were before the first baseline. Before that writes over an extent, what the disk holds there is saved, as version 0, durably, and
// once: an extent that is sent again is not saved again, and what was saved outlives a baseline that is given up and begun anew. What is equal is neither written nor saved; holes and zeros are saved
// as ranges. When the first point is listed, its record lists point 0 too, pinned, and names the saves and a pack that tells of the same extents at the first point's version, gone: what the disks
// hold is that now. From then on point 0 is a point like any other: nothing starts from it, but disks move to it and from it, it can be read, unpinned and dropped.
//
// # Disks that join
//
// A disk may join a group that has a point: one record makes it one of the group's, with the next number. The cycle that begins next writes it through, whole, with coverage as in a first baseline, while the others' changes
// are journaled; its point is the disk's birth, and is listed only with all of it durable. A cycle that was open goes on without it, as does one whose cut was made before. A crash before the record leaves the group without
// the disk; after it, the disk is unborn until that point is listed, and what is durable of it counts as with any open cycle.
//
// No file has an entry of the disk up to its birth. Its content there is thus what the disk holds, from the oldest listed point on, and the rules above hold as they stand: a move to a point before leaves the
// disk as it was at its birth, or takes it back to that, saving what it writes over. But that is the content of no such point: a reader is refused there (Unborn). Point 0 does not have it either.
// What is lost of that content is told of the points before too, since a move to them needs it (not of a disk that has left: it moves no more).
//
// # Disks that leave
//
// A disk may leave a group: one record says so, with no cycle open, no move unfinished, and the disks' session ended well. Its target stays at the head of then, for ever: no move touches it, no cycle has it. Points up to the last one
// before have it still, later ones don't: a reader is refused there (Left). Who reads it at a point opens its target, and makes sure that it is as it was left; the record keeps what that looked like.
//
// The target is free to be used. So nothing that the journal has of the disk counts as spare, whatever the target holds; it is dead once no point that has the disk needs it. Where a blind file leaves doubt, the target tells only as of its own
// head, and as long as that is listed. In files the disk keeps its number; to the outside those that are left are numbered on from 0, and those that left behind them. One of its name that joins later is another disk.
//
// # Disks that grow
//
// A disk may grow once its group has a point: one record says from which size to which, while no cycle is open, before the disk itself is larger. Whoever opens the journal makes it so large where it is not yet, before anything else; until then it
// has the earlier size. What it has grown by is as what no file has an entry of: the disk holds it, at every point, and what lay there when it grew (zeros, in a file) is its content up to the next cycle that writes there. Points up to the last
// one before show the disk as large as it was. A move to one of them leaves the disk as large as it is, and takes what lies behind back to what it was when it grew. Only a disk of whole pages grows, since extents may end at a disk's end (I13).
//
// # Cutover
//
// In the end the disks are given to their machine (Cutover). From then on what they hold is the machine's, and "what no file has, the disks hold" is not true any more: while they are committed, the journal serves no reader and
// takes no cycle, no move, no rewriting and no dropping of points (ErrCommitted). It is noted only with the disks at the point, and their session ended well. Once the master target has made sure that nobody wrote to them, it notes
// that they are being brought back, and all holds as before.
//
// # What it promises
//
// The package stands for I1 to I4, I9, I10 and I13 of the design, and for its share of I5, I7, I8, I11, I12 and I14: a point is listed when exactly what the source says it
// sent is durable; a listed point never changes; no only copy is written over; what comes back is checked, and damage is an error with file and offset (Corruption),
// never other bytes. After a failed sync nothing is known of what was written before: the journal is poisoned, and opened again. Memory is bounded by settings (tuning),
// except for what grows with the extents: an open cycle's coverage (replication.Pages, once for all of it, once for what the coverage file holds, and once for what is saved of point 0), of two to three bytes a page
// and a bit for each page of the disk at most, and the fences, of 16 bytes for 85 extents. A reader that looks into a region of a disk again and again has the indexes of all files looked up for the
// region once (regions): what is kept belongs to exactly the files, and to what is quarantined of them, that it was looked up in.
//
// # Whose it is
//
// A journal names the master target that writes it, its owner (I7), and keeps what that has to know of the group beside the points: the plan, where the disks lie, whether a rewind holds the head. To take
// a journal over is to raise the generation and to name another owner. Locks keep two apart on one machine; where they do not reach, the owner looks, before each record and before each batch of
// writes to the journal or the disks, whether the end mark of the log is still the one that it wrote last: if not, it stops for good and says who has the journal. What is under way between a look and
// its write can't be called back, one write for each file and disk: so the log is replaced when a journal changes hands, a journaled cycle that was open starts over, and the numbers of the next save
// and pack are skipped, that none of it meets what the new owner writes. What is under way to a disk may still land on it: only that the old machine is off keeps it from that.
//
// # Files
//
//	<group>/lock                    locked (OFD) while the journal is open
//	<group>/log                     the records
//	<group>/coverage                what else is durable of the open cycle
//	<group>/seg/P-G-S-L-A.seg       segment of point P from generation G, session S, lane L, attempt A
//	<group>/save/N.sav              the N-th save
//	<group>/save/original-N.sav     the N-th save of point 0; of at most about 1 GiB each, which is what is scanned after a crash
//	<group>/save/original.end       how much of these was acknowledged, until point 0 is listed
//	<group>/pack/N.pack             the N-th pack
//	<group>/reserve                 space set aside for what must still work when the volume is full
//
// A file that was replaced is removed once no reader and no move uses it.
//
// Names ending in .new, or holding .run, are unfinished and worth nothing after a crash. A file that no record names, and that is neither of the open cycle nor a save of a
// point 0 that is not listed yet, is removed when the journal is opened. Numbers are little-endian, checksums CRC-32C, offsets and lengths bytes. What is made durable ends at a sector of 4096 bytes: what is written later
// never shares a sector with it, as a power failure may tear one.
//
// # Log
//
//	0      magic "FBRETLOG", version u32 (1; 2: it may tell of a point 0; 3: disks have joined; 4: there is a cutover; 5: disks have grown; 6: disks have left), checksum u32 of the 12 bytes before
//	4096   end mark A
//	8192   end mark B
//	12288  records, each at the begin of a sector, zeros between
//
//	end mark: checksum u32 of the next 60 bytes, 4 zeros, end u64, number of records u64, chain hash [32] of the last, 8 zeros
//	record:   payload length u32, checksum u32 of all that follows, kind u16, version u16 (1), 4 zeros, sequence u64 from 0, chain hash [32], payload
//
// The chain hash is SHA-256 over the previous one (32 zeros at first), the payload's length, the header from kind to sequence, and the payload. The payload is JSON; records.go
// has the kinds, of which 1, the identity, comes first and once. One of kind 31 has disks join; a log that is replaced then has them in its identity, and their births in its second record. Of kind 23 are quarantined parts (Part), of kind 24 how far scrubbing is, of kind 33 a file that was found to be blind, of kind 34 how far a cutover is: a release that does not know that does not open the journal, since it would write to disks that a machine runs on. One of kind 35 has a disk grow; a log that is replaced then has its size in its identity, and the earlier ones in its second record. One of kind 36 has disks leave; a log that is replaced then has them in its identity still, and what is known of them in its second record. A log that became long is replaced by one whose second record, of kind 19, says all that the others said. A record is durable before the end mark that covers it is written, to the place of the older of the two;
// the append has then succeeded. A bad record behind the newest end mark was torn by a crash and is cut off; one before it is damage.
//
// # Segments, saves and packs
//
//	0        header: magic "FBRETCON", version u32 (1), kind u32 (1 segment, 2 save, 3 pack), journal [16], point u64 (save: the head it was taken at, 0 for one of point 0; pack: the last point), generation u64, session u64,
//	         attempt u64, lane u32, 4 zeros, group [64], zeros, checksum u32 at 252 of all before
//	256      entries, padded with zeros to a sector wherever the file was synced
//	index    chunks of 4096, at the sector after the entries
//	fences   of each chunk: disk u64, offset u64 of its first entry
//	-128     footer: magic "FBRETEND", version u32, checksum u32 of the 112 bytes that follow, end of the entries u64, offset of the index u64, index entries u64,
//	         chunks u64, checksum u32 of all chunks, checksum u32 of the fences, lowest disk u32, highest disk u32, lowest offset u64, highest end u64 (of these disks),
//	         bytes of the disks u64, point u64, journal [16], 8 zeros
//
//	entry: magic "FBBK", checksum u32 of the header from here on, disk u32, kind u8 (1 data, 2 zero), codec u8, 2 zeros, version u64, raw length u32, checksum u32 of the raw bytes,
//	       payload length u32, number of extents u32, offset of this entry in the file u64, checksum of the file's header u32, checksum of the payload u32,
//	       extents of offset u64 and end u64, payload
//	chunk: checksum u32 of the rest, entries u32 (1 to 85), index entries, zeros
//	index entry: disk u32, kind u8 (as in the entry; in packs also 128 gone, 129 lost), 3 zeros, offset u64, end u64, version u64, offset of the entry u64, begin in its raw bytes u32, 4 zeros
//
// An entry is a block as it came off the wire. An entry of a segment has the segment's version; one of a save or pack its own. What is gone or lost has no entry, and zeros in its place in the index. The index is sorted by disk and offset and free of overlap: of what was
// appended twice the later wins. Of several files of a point, the one later in the point's record wins; as attempts of one snapshot they hold the same.
// A file without a good footer was not sealed: its entries are read one after the other, each checked by decoding, up to the first that is torn.
//
// # What was acknowledged of point 0
//
//	0      place A
//	4096   place B
//
//	place: checksum u32 of the 60 bytes that follow, number N of a save u32, end u64, how often this was written u64, journal [16], saves before the N-th u32, zeros
//
// There are so many saves before the N-th (a number whose save came out empty has none). They are sealed, and of that one all blocks up to end are durable; what of them can't be read is damage, not torn: the journal is not opened. It is durable before anything is written over that the blocks hold,
// and written to both places in turn.
//
// # Coverage
//
//	0     magic "FBRETCOV", version u32 (1), checksum u32 of the 24 bytes that follow, journal [16], point u64, zeros
//	4096  batches, each at the begin of a sector: checksum u32 of the rest, extents u32, offset of this batch u64, extents of disk u64, offset u64, end u64
//
// It holds extents that are durable on the disks (a cycle written through), or were equal (compare). A bad batch and what follows it are cut off: they are sent again.
package retention
