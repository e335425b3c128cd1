// Package workload makes the disks that the bench harness measures with, and the changes to them.
//
// What must hold: the same seed makes the same changes; an image is made once for each work directory and never written to afterwards (a scenario that changes a
// disk changes a copy); every change is durable before it is measured how long it takes to find it, so that nobody pays for another's writes.
package workload
