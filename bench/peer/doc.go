// Package peer runs the programs that people would use instead, doing the same job, and says what they took.
//
// What must hold: a peer is given what makes it good at the job (several connections, holes kept), its time ends when what it made is durable, and it moves bytes
// through TLS with both sides' certificates checked, as ours does. What it was run with is told in the report.
package peer
