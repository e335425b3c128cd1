// Package blockio is the disk layer of the master target: raw files, Linux block devices and VMDKs, as fixed-size arrays of
// bytes. It knows nothing of replication.
//
// # Invariants
//
//   - What reads as zeros is zeros: a table entry that points past the end of its file, or into metadata, is an error (ErrCorrupt),
//     and so is a file that is shorter than its descriptor says. Nothing is guessed.
//   - Of two grain directories, a table that is sound stands in for its copy that is not, with a notice; two that are sound and differ are an error.
//     Nothing is read below a snapshot that is not what it was when the snapshot was made.
//   - What a file asks for is checked before it is allocated. What a reader keeps of an image, its parents included, has a bound (readerCache).
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
// Raw files and block devices have no content id. A Fingerprint stands in for it there, which is weaker: it says what it can miss. Flat VMDKs have both, since a tool that writes into
// their data files leaves the content id as it is.
//
// FindTwins finds what must not be written side by side: two disks of a set that lie in one place or have one UUID.
//
// # The page cache
//
// Whether a file goes through it is decided once for each open (Caching): block devices do not, files do. Within one open no file is used both ways. A raw file or device that is read by others meanwhile
// is read right by them. Tables and descriptors always go through it.
//
// # What is under way, and kept
//
// A disk has at most 32 direct requests under way; aligned buffers of all disks together are 16 MiB; Stream and Copy have at most 8 pieces of 1 MiB each.
//
// # Windows
//
// VMDKs and raw files work as elsewhere, without knowledge of holes. Physical drives (\\.\PhysicalDriveN) are there when built with -tags physicaldrive; that was never run, and is not
// verified.
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
// A reader takes several extents in any mixture of FLAT, VMFS, SPARSE, VMFSSPARSE, SESPARSE and ZERO, also under the createTypes custom, vmfsThin,
// vmfsPreallocated and vmfsEagerZeroedThick. RDONLY is as good as RW; in a NOACCESS extent every read fails, and only there. File names are bytes, whatever the
// encoding. The extent of a descriptor that is inside of one is that file, whatever name it has there.
//
// A snapshot names what it was made on, and the content id that had:
//
//	parentCID=fd71677b
//	parentFileNameHint="x.vmdk"    beside it; of an absolute path, which is that of another host, the last part
//
// The parent must have that content id and the same size, and may be a snapshot itself (maxChain). All extents of a snapshot are made of grains; a grain that is
// not there is the parent's.
//
// Keys that are not ours to change are kept byte for byte. A descriptor is replaced by renaming a new file over it.
//
// Hosted sparse extent (createType monolithicSparse with the descriptor inside, twoGbMaxExtentSparse without it):
//
//	offset size
//	  0     4   magic "KDMV"
//	  4     4   version: 1; 2 and 3 are read
//	  8     4   flags: bit 0 line end check, bit 1 redundant directory, bit 2 entry 1 is a grain of zeros; the upper 16 must be known: bit 16
//	            compressed, bit 17 markers
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
//	 77     2   compression: 0; 1 with bit 16
//
//	header | descriptor | redundant directory, its tables | directory, its tables | up to a whole grain | grains
//
// A directory has a 4-byte sector number for each table, a table one for each of 512 grains; 0 is "none": the parent's content, zeros without
// a parent. Either copy of a table is enough to read it.
// The order in which these reach the disk is described at sparseExtent. A descriptor inside of an extent is changed in place,
// sector by sector.
//
// streamOptimized: a sparse extent that is written once, from front to back, and read only. The redundant directory is not looked at. Where a table has a
// sector, this is there:
//
//	 0     8   first sector of the disk that is in the grain; missing without bit 17
//	 8     4   compressed bytes
//	12         these: zlib (RFC 1950), a whole grain, or in the last one what is left of the disk; up to the next sector
//
// The directory is where the header says, in front; or the header has 64 ones there, and the file ends in three sectors: marker, footer, marker. The footer is
// the header with the right place in it. A file with a footer that has a directory in front as well is read by the footer. Markers have a sector each:
//
//	 0     8   sectors that follow
//	 8     4   0, which a grain never has
//	12     4   0 end of stream, 1 table, 2 directory, 3 footer, 4 nothing of use; only 3 and 0 at the end of the file are looked at
//
// COWD (createType vmfsSparse, extents of type VMFSSPARSE): a header of 2048 bytes. One directory, tables of 4096 entries of 4 bytes.
//
//	  0     4   magic "COWD"
//	  4     4   version: 1
//	  8     4   flags: 3
//	 12     4   capacity, sectors
//	 16     4   grain, sectors: a power of two, mostly 1
//	 20     4   directory, sector
//	 24     4   entries in the directory
//	1648    4   unclean: not 0 while it is open for writing
//
// seSparse (extents of type SESPARSE): a constant header, all fields 8 bytes. Grains have 8 sectors, tables 4096 entries of 8 bytes.
//
//	  0   magic 0xcafebabe
//	  8   version 0x0000000200000001
//	 16   capacity, sectors
//	 24   grain: 8
//	 32   grain table, sectors: 64
//	 40   0, up to 80
//	 80   volatile header: first sector, sectors. Magic 0xcafecafe; at 24, not 0 when a journal has to be replayed, and then nothing is read
//	128   directory: first sector, sectors. Entries are 0, or 0x10000000 above the number of a table
//	144   tables: first sector, sectors
//	192   grains: first sector, sectors
//
// The upper four bits of a table entry say what it is: 0 absent (all of it is 0 then), 1 unmapped and 2 zeroed, which both read as zeros, 3 a grain: its number is
// the lower 48 bits, times 4096, plus the 12 bits between.
package blockio
