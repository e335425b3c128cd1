// Package policy decides which points of a journal are kept, and what gives way when space runs out. All of it is functions of values: no I/O, no clock, no goroutine.
//
// # The grid
//
// A Grid says how dense the history is, from the newest point back: all points of the last two hours, then one an hour (Failback). Drop names the points that it does not keep.
//
// Time is divided into slots, aligned to the hours of UTC, as long as the step's Every. A slot is thinned when it is full, and the whole of it has left the finer step; of each kind of point (crash- and
// application-consistent ones run on the same schedule, side by side) the best stays: sound before suspect before damaged; then the one whose drill passed, a verified one, an
// ordinary one, one whose drill failed; then the earliest. As the choice is made once, with all points of the slot there, and slots of coarser steps are made of whole slots of the
// finer, a point that was kept stays until its slot is joined with others, and dropping now and then gives the same as dropping once at the end.
//
// Age is counted in slots that have points, not by the clock: a point is as old as there is history newer than it. So old points are given up only for new ones (I11): after an
// outage of three days, the first new point takes the place of at most one old slot, and if no points are made, none are dropped. For the same reason a clock that jumps forwards ages the history
// by one slot, and one that jumps backwards by none (the history is divided there: points on both sides never share a slot). No point, whatever its time, can make more
// than about one slot of each step be thinned, or expire.
//
// Never dropped: what is pinned, the head, both ends of a move, what a drill or reader uses, the last point, and the newest sound one.
//
// # Space
//
// Next says what to do next about a journal's space: I11's order, one step at a time, asked again after each. Files that are half dead are rewritten at any time, as each byte
// rewritten is then paid for by one that was given back. Above the soft limit spares count as dead. Above the hard limit, first, files are rewritten of which an eighth would be given back,
// then history is given up: what lies beyond the grid's reach by the clock; then the grid is coarsened from its old end, step by step; at last the oldest point goes.
//
// Coarsening comes before shortening because it costs less: a history of 24 hours with a point every two hours answers "before the intruder came" and "yesterday evening",
// one of six hours with a point every five minutes answers neither; and what changed twice between two kept points is given back. Where that is not so, because different blocks change
// each time, a point in the middle gives nothing back: it is passed over when it gives less than a sixteenth of what the oldest would give.
//
// When nothing more may be given up, or it does not come fast enough, replication is held back, and the reason names what forbids more. Each threshold is left at a lower value
// than it was reached at (see slack), so that nothing flutters.
//
// MoveSpace reckons whether a move's save fits before the move starts. Forecast tells how long the history reaches and when the volume is full.
package policy
