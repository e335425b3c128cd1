// Package source gives stable views of disks at points, and what changed between points, for disks that are regular files
// or block devices of the machine that the process server runs on.
//
// Images are the disks of one group, with a state directory of their own. Cut makes a point: one view per disk, by
//
//   - reflink: a clone of the file (FICLONE), in the state directory's views/ or, where that is another file system, beside
//     the source in .failback-<group>/;
//   - command: the operator's snapshot command makes it, the release command lets go of it;
//   - none: the live file or device itself. The operator keeps it still while it is read; the cut is not Stable.
//
// Clones of several disks are taken together, not at one instant: only the operator's command can promise that. A cut's Time is its
// start, and its record says how long it took: the skew between its disks is at most that.
//
// What must always hold:
//
//   - A cut is durable before Cut returns: its views are synced, and recorded. What a killed process left half made is recorded before it is
//     made, so that the next Open lets go of it.
//   - A view is never believed by its name alone: size, inode and modification time must be those of the cut, else it is ErrGone.
//   - A cut may have disks that its base has not, with the next numbers: of those nothing is known, and they don't make it untracked; whoever ships it has them compared.
//   - Changes are known or they are not (I10): a changes command that fails, or says one thing that makes no sense, and a table of the base that
//     is not sealed, make the cut untracked, and Untracked says why. Rounding and merging only ever add to a set of changes.
//   - A table's record is believed only when its checksum fits; a record that is not there means that all its pages are taken as changed.
//   - What was begun to be frozen is thawed: that it may be is durable before the first freeze command begins, and the note goes when all thaw commands have succeeded.
//   - Views are let go of only by Release and Forget (I6), or when their cut has to be made again.
//
// # Commands
//
// Commands are run by /bin/sh -c, in a process group of their own, with FAILBACK_GROUP, FAILBACK_DISK (machine/id), FAILBACK_SOURCE (the
// disk's path), FAILBACK_POINT, FAILBACK_FROM, FAILBACK_TO, FAILBACK_VIEW and FAILBACK_FROM_VIEW set as far as they apply:
//
//	snapshot POINT       makes a stable view of FAILBACK_SOURCE; the last line of its output is the view's path. Each point has a view of
//	                     its own. It is run again for the same point after it was cut off: it replaces then what it had made.
//	release POINT VIEW   lets go of a view. It may be run again for a view that is gone, and succeeds then.
//	changes FROM TO      prints "offset length" for each range that changed between the two points, in bytes, decimal or 0x…. It must answer the
//	                     same whenever it is asked: a bitmap that is cleared by reading it is not an answer.
//
// A command that a killed process left running is waited for, and then the cut fails: a second one for the same view is not started beside it.
//
// Commands that keep a machine still (replication.Quiesce) get the point and the machine's name as $1 and $2, and FAILBACK_GROUP, FAILBACK_MACHINE and FAILBACK_POINT:
//
//	freeze               has the machine's applications, and its file systems, write all that they hold, and nothing more until they are thawed
//	thaw                 lets them write again. It is run for every machine once the freezing of any was begun, however that ended: it succeeds where nothing is
//	                     frozen, and may be run again. A thaw that fails may say that the freeze had not held: the point is crash-consistent then.
//
// All machines are frozen at once, then all disks of the group are cut, then all machines are thawed, as soon as the snapshots stand: before they are synced, hashed or shipped. No machine is frozen for longer than the shortest timeout of the
// group and what its thaw takes, and some 10 s where a freeze command can't be killed: then they are thawed whatever the snapshots do, and the cut is crash-consistent, and says why. So it is where a freeze fails or is late, where a command can't be run, and where a disk has no
// snapshots: then nothing is frozen. Thaw follows an order that ends, an error and SIGTERM at once, and kill -9 when the process server starts again; one that fails is tried again every few seconds, and no machine is frozen again before.
// Where a killed process left a freeze command running, thaw is run beside it, and once more when it has ended.
//
// A changes command made of a pipe has to fail when its first part does (set -o pipefail, where the shell knows it): an answer that lacks its end is
// noticed only when it ends within a line.
//
// # The state directory
//
//	lock                    held by an OFD lock while the group is open
//	frozen.json             which machines may be frozen, and how they are thawed; absent: none is
//	state.json              the cuts that are held, and the views still to be let go of; written by rename
//	views/<snapshot>-<disk> clones
//	<point>-<disk>.tab      the table of a disk at a point
//	<point>-<disk>.chg      what the changes command told
//	<point>-<disk>.run      locked by the commands of that view, and by all that they started
//	quiesce-<machine>.run   likewise, by those that freeze and thaw it
//
// # Tables
//
// A table holds the 16-byte hash of each page of one disk at one point, by regions. Numbers are little-endian, checksums CRC-32C. The file is sparse.
//
//	0     header   magic "FBTABLE\n", version u32 = 1, page u32, region u32, 0 u32, size i64, point u64,
//	               snapshot [16] (start of SHA-256 of the snapshot's name), nonce [16] (random), checksum u32 of all before it
//	4096  seal     magic "FBSEALED", nonce [16], regions i64, checksum u32 of all before it; zeros while the table is being filled
//	8192  states   per region: checksum u32, kind u32: 0 not present, 1 hashes, 2 all pages zero
//	…     records  from the next multiple of 4096, 4096 bytes per region: its hashes; a hole where the kind is not 1
//
// A region's checksum is over the nonce, the region's number as i64, the kind as u32 and, for kind 1, the hashes of the pages that the region has.
// The nonce makes blocks that an earlier file left on the medium fail their checksum.
//
// # Changes
//
//	magic "FBCHANGE", version u32 = 1, 0 u32, point u64, base u64, size i64, snapshot [16], count u64,
//	count × (offset i64, end i64), rising, not touching; checksum u32 of all before it
package source
