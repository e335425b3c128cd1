// Package drill shows disks as raw files: a FUSE file system with one file for each disk of a point, for loop devices, qemu and mount.
//
//	loop, qemu, mount
//	   │ read, write, discard, lseek
//	   ▼
//	 kernel ──── /dev/fuse ───► files ───► overlay ───► content of the point (journal and disks)
//	 (page cache)                            │ pages written in this drill
//	                                         ▼
//	                                      scratch file, without a name
//
// The content of a point never changes (I3), so that the kernel may keep what it has read. A writable drill keeps what is written to it in an overlay: by page
// of 4 KiB the point's own content, or zeros (a discard), or what was written, which lies in a scratch file at the offset that it has on the disk. The scratch file has
// no name from its first moment, so that nothing of it outlives this process; how much it may take is bounded, and it leaves room on its file system (I12).
// Whatever goes wrong with it, the point and the disks know nothing of it.
//
// A drill ends by unmounting. Where a file is still in use, the end can be forced: the connection to the kernel is cut first, so that who still reads gets an error, and
// never waits. A process that was killed leaves a dead mount behind; it is found again by its source, which names that drill and no other (Clean).
//
// Content that can't be read, or is damaged, is an I/O error to the reader and told to the owner, never other bytes.
//
// This is for Linux. Elsewhere Start says so.
package drill
