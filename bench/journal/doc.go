// Package journal measures package retention beside dd, fio and the disk itself, each pair in turn, in one run.
//
//	go run ./bench [--quick] [--dir DIR] [--repeats N] [--json FILE] [--profile DIR] journal|journal/arrival|journal/advance|journal/rewind|journal/thinning|journal/proof|journal/points|journal/read
//
// arrival: a cycle in four lanes, from the first byte until its point is listed, beside dd conv=fsync of as many bytes, from memory both, to the same volume. What arrives does not compress.
//
// advance: a first advance, which reads the disk, writes a save, reads the segment and writes the disk, beside fio doing just these four one after another, with an fsync after each that writes:
// 2 GiB in extents of 64 KiB, and 512 MiB in extents of 4 KiB, of which every second or fourth is changed. Nothing of it is in the page cache before.
//
// rewind: back over 24 points, of which each changed eight parts of ten within a fifth of the disk, beside a rewind over one point that changed all of it. The journal's files must not grow.
//
// thinning: of 25 such points, of which each changed a sixteenth of the disk, one in 12 is kept, and the files of which half is needed no more are rewritten, until they are gone and what took their place is durable; beside dd conv=fsync of as many bytes as these
// files had. Nothing of them is in the page cache before.
//
// proof: what a move looks at before it is recorded, all that it writes and what the disks hold and the journal too, where the journal was just opened and nothing of it is taken for good; beside dd reading the
// same files. Nothing of it is in the page cache before.
//
// points: the life of a disk: as many points as in thinning are kept, the oldest and the disk itself are read, the points are thinned, and the disk goes back to the first; beside btrfs, which has a snapshot for each point, of
// changes that are known and of those that rsync --inplace finds, and beside QEMU, which has a qcow2 overlay for each. All have a file system of their own on a loop device, which takes root.
//
// read: 4 KiB at random at an old point, of whose disk a quarter lies scattered in 288 segments, beside the same reads of the disk itself: from storage (the disk is read directly, the journal is not in
// the page cache at the start), and from the page cache; one reader, and four at a time. The rate and the 99th percentile are of whole reads; what the heap takes more than before is told.
//
// A ratio above 1 means that ours is quicker. It is the median of the ratios of the pairs; the spread is that of the lowest and the highest one. The directory is the storage that is measured: a
// journal and its disks lie on the same here, which costs the journal more than it would on a volume of its own.
package journal
