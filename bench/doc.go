// Command bench measures failback with its real daemons, beside the programs that people would use instead, in one run on one machine. README.md tells how to
// measure, and what misleads.
//
// Scenarios of the daemons are here; those of links, disks and the journal are suites of packages link, disks and journal. Package harness runs them all, package report tells what came of it.
package main
