// Command demo brings two machines home, from disk images to VMDKs, with the real daemons on this machine, and proves each thing that it says: that every
// point can be gone back to and forward again, and that killing a daemon in the middle of its work loses nothing.
//
// It makes three disks with ext4 file systems and files of this machine on them, or takes copies of the disk images that are given, and changes them
// between points. Before it goes on to the next point it keeps a copy of each source; qemu-img, which knows nothing of failback, compares the VMDKs with
// these copies. The first thing that differs ends it with exit code 1, and says what differed.
//
// All that it writes is in one directory, which it removes at its end.
package main
