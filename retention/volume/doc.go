// Package volume holds the rules for a retention volume: the file system that the journals of a master target lie on. It looks at what is mounted and tells of
// each volume whether journals may lie there, and why not.
//
// # Rules
//
// The judgement (Judge) is a function of facts: the table of mounts, sizes, the paths that a master target uses. What it finds has a code, a severity, the evidence and a
// remedy. Rules marked (shared) are about what else a volume is for, or how long it lasts: where sharing is allowed explicitly, for trials, they warn. The others are about whether a
// journal works at all, and always refuse.
//
//	volume-root          (shared) it is the file system of the operating system: a journal that grows would fill it, and a retention volume that was not mounted looks like it
//	volume-target        (shared) a target disk lies on it
//	volume-state         (shared) a state directory of a master target or process server lies on it
//	volume-program       (shared) one of our programs lies on it
//	volume-mount-under   (shared) another volume is mounted below its mount point
//	volume-shared        (shared) the same file system is mounted elsewhere too: a subvolume, a bind mount
//	volume-memory        (shared) tmpfs, ramfs, a RAM disk: gone when the power is
//	volume-overlay       (shared) overlay, aufs: lasts as long as a container
//	volume-host-share    (shared) 9p, virtiofs and the like: a hypervisor's folder, whose host decides what a sync means
//	volume-network       NFS, SMB, Ceph, AFS…, see below
//	volume-fuse          a file system of a program: whether a sync reaches a disk is up to the program
//	volume-fat           FAT, FAT32, exFAT: no journal of their own, no atomic rename, files of at most 4 GiB
//	volume-read-only     mounted read-only
//	volume-locked        another master target has it
//	volume-no-capacity   it has no bytes
//	volume-hidden        another volume is mounted over it: it can't be reached
//	volume-silent        it does not answer
//	volume-probe         rename or sync failed when tried
//	volume-barrier       warning: mounted without write barriers
//	volume-untried       warning: a type of file system that these rules do not know
//	volume-not-empty     warning: there are files on it that are no journals
//
// Network file systems are refused, not warned of: whether fsync has reached a disk depends on the server's export (async), which the client can't see; a lock
// is lost with its lease, and the one who held it writes on (I7 of the design); a soft mount drops writes on a time-out, a hard one stops every group for as long as the network
// does. A disk over iSCSI or a virtual disk on an NFS datastore has a local file system on it and is welcome.
//
// # Looking
//
// Nothing is kept between two looks: a volume shows at the first look after it was mounted. On Linux the table is /proc/self/mountinfo; the mount of a path is found as
// the kernel finds it, through bind mounts and mounts over mounts (Table.At). Two mounts are of one file system when their device numbers in that table are equal, as
// those of the subvolumes of one btrfs are. Of networks and FUSE, which are refused anyway, nothing is asked: they may be dead. Another volume
// that does not answer within a few seconds is told of as silent; the goroutine that waits for it is the only one until it returns.
//
// Rename and sync are really tried (Probe), with two small files .failback-probe-*, which are removed again; what a killed probe has left is removed by the next one.
// Of other volumes than the retention volume only those are probed that no other rule refuses.
//
// # Lock
//
// A master target locks its retention directory, and the volume's top directory unless sharing is allowed, by flock of the directory: it leaves no file behind,
// and the kernel gives it back when the process dies. Each journal has a lock of its own besides.
//
// Windows: it builds; nothing was run there.
package volume
