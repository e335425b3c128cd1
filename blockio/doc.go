// Package blockio is the disk layer of the master target: raw files, Linux block devices and VMDKs, as fixed-size arrays of
// bytes. It knows nothing of replication.
//
// # Invariants
//
//   - What reads as zeros is zeros: a table entry that points past the end of its file, or into metadata, is an error (ErrCorrupt),
//     and so is a file that is shorter than its descriptor says. Nothing is guessed.
//   - A disk never grows and never shrinks. A range that is not inside is refused whole.
//   - A failed sync poisons a disk. Nothing clears that but closing it, and writing again what was not synced. What is read after it was opened again
//     is what the storage holds, not what memory still has of the failed writes.
//   - Only one writer: an open-file-description lock on every data file, O_EXCL on devices. Files that a descriptor names are
//     opened only beneath its directory.
//   - The content id changes, durably, before the first write of a session, and the caller has recorded it before that (I8).
//
// # Rules before a byte is written
//
// OpenTarget refuses, with the reason (also in Description.TargetRefusal): a disk with snapshots or other children in its directory,
// or that is one itself; one with a lock of a host beside it (.lck-<inode> of ESXi on NFS, <name>.lck of hosted products); one
// that was not closed cleanly, unless its content id is of our own interrupted session; raw device mappings, streamOptimized,
// seSparse and vmfsSparse disks; extents outside of the descriptor's directory, read-only or ZERO extents; sparse extents with unsound tables;
// a mounted or held device; a file behind a loop device; a disk that is locked by another master target. It cannot see a running machine on a datastore
// without lock files (NFS 4.1, VMFS): that is for the platform to say.
//
// Block devices have no content id, so a stranger's writes between two sessions go unnoticed there.
//
// # Formats
//
// All numbers are little-endian, a sector is 512 bytes.
//
// raw and device: the bytes of the disk.
//
// Flat VMDK (createType vmfs, monolithicFlat, twoGbMaxExtentFlat): a descriptor of text, and files that hold the bytes of the disk one
// after the other. Descriptor:
//
//	# Disk DescriptorFile
//	version=1                      3 with change tracking, which we drop
//	encoding="UTF-8"
//	CID=fd71677b                   content id, 8 digits
//	parentCID=ffffffff             no parent
//	isNativeSnapshot="no"          vmfs only
//	createType="vmfs"
//
//	# Extent description
//	RW 83886080 VMFS "x-flat.vmdk"     access, sectors, type, file; FLAT has an offset in sectors behind it
//
//	# The Disk Data Base
//	#DDB
//
//	ddb.adapterType = "lsilogic"
//	ddb.geometry.…                 cylinders, heads, sectors; see geometryOf
//	ddb.longContentID = "…"        32 digits, the last 8 are those of CID
//	ddb.thinProvisioned = "1"      thin vmfs only
//	ddb.uuid = "60 00 C2 9…"       16 bytes
//
// A reader takes several extents in any mixture of FLAT, VMFS, SPARSE and ZERO, also under the createTypes custom, vmfsThin,
// vmfsPreallocated and vmfsEagerZeroedThick. Disks with a parent and compressed ones are described by Probe and not read.
//
// Keys that are not ours to change are kept byte for byte. A descriptor is replaced by renaming a new file over it.
//
// Hosted sparse extent (createType monolithicSparse with the descriptor inside, twoGbMaxExtentSparse without it):
//
//	offset size
//	  0     4   magic "KDMV"
//	  4     4   version: 1
//	  8     4   flags: bit 0 line end check, bit 1 redundant directory, bit 2 entry 1 is a grain of zeros; upper 16: must be known
//	 12     8   capacity, sectors
//	 20     8   grain, sectors: a power of two
//	 28     8   descriptor, sector; 0 for none
//	 36     8   descriptor, sectors
//	 44     4   entries in a grain table: 512
//	 48     8   redundant grain directory, sector
//	 56     8   grain directory, sector
//	 64     8   overhead: sectors before the first grain
//	 72     1   unclean: 1 while it is open for writing
//	 73     4   line end check: LF, blank, CR, LF
//	 77     2   compression: 0
//
//	header | descriptor | redundant directory, its tables | directory, its tables | up to a whole grain | grains
//
// A directory has a 4-byte sector number for each table, a table one for each of 512 grains; 0 is "none", which reads as zeros.
// The order in which these reach the disk is described at sparseExtent. A descriptor inside of an extent is changed in place,
// sector by sector.
package blockio
