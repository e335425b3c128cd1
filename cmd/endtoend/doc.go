// Package endtoend tests the programs as they are shipped: built, run as processes, killed and stopped, operated by the failback command. There is nothing
// here but tests.
//
// Every test has a stand of its own (package stand). What the disks should show is known from the sources, of which hashes are kept at each point; qemu-img reads the
// VMDKs. Programs are built with the race detector where the tests are; a race that one of them finds fails the test.
package endtoend
