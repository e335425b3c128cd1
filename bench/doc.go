// Command bench measures failback with its real daemons, beside the programs that people would use instead, in one run on one machine. README.md tells how to
// measure, and what misleads.
package main
