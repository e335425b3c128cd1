// Package replication holds the vocabulary of failback: the words of the design as Go types, one per thing.
//
// A machine has disks; a group is one or more machines that share points; a point is one instant of every disk of the
// group, numbered 1, 2, 3…; a cycle carries the changes from one point to the next; a baseline is the cycle that makes
// the first point by comparing. This package imports nothing of ours and does no I/O; everything else imports it.
//
// Both ends' engines are its sub-packages: replication/mastertarget is the authority that owns disks, journals and
// points; replication/processserver is the worker that cuts, compares and ships. replication/block is the unit that
// travels between them and rests, unchanged, in the journal.
package replication
