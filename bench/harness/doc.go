// Package harness is the frame of the bench harness: flags, the work directory, the built programs, runs in turn, and the report. Suites of scenarios are given to Main, which runs those that are named.
//
// What must hold: every way of a job begins alike (Lab.Ready), the ways of one round are run one after the other, and every round begins with another one; what failed or is missing is in the
// report; nothing but the report and the work directory's cached images is left behind.
package harness
