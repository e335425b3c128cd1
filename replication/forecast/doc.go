// Package forecast reckons what a planned failback would take, from what a group's last cycles took. It is arithmetic alone: mastertarget measures, and takes the steps.
//
// A cycle takes some time whatever it carries (to cut, to find what changed, to sync and to list), and some for each byte. Where the source has to be read in whole to find what changed, the time to do so is of the first kind.
// What changes is taken to go on as it did: churn bytes a second. So a point that is made just before the machine stops carries what changed since the one before, and the last one only what changed while that one was on its way:
//
//	         ┌── ahead ──────────────────────────────┐   ┌── down ────────────────────────────────────────────────┐
//	...cycle │ what changed since │ what changed since│   │ the last point │ compare │ disks to the point │ close   │
//	         └────────────────────────────────────────┘ stop ────────────────────────────────────────────────────────┘
//
// How many points are made ahead is decided by Another, for the forecast as for the failback itself.
package forecast
