// Command failback is the operator's tool: it asks a master target to check a plan, to protect a group, to take points, to move the disks along
// them, and tells how things stand. All work is done by the master target; ending the tool never ends the work.
//
// The commands below disk and journal are different: they work on disks and journals of this machine by themselves, through packages blockio and retention, and end when the tool does.
//
// Results go to standard output, as text for people or, with --json, as exactly one JSON document with stable field names. Progress and errors go to
// standard error; with --json there is no progress, and an error is {"error":{"code","message","remedy"}}. Exit codes: 0 done, 1 refused or failed,
// 2 wrong usage.
package main
