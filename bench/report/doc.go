// Package report is what a run of the bench harness leaves behind: samples, what follows from them, and how both are shown, as text and as JSON.
//
// What must hold: nothing is left out because it looks bad. A peer that is not installed, one that failed, and a sample that was taken on a busy machine are all
// shown as what they are.
package report
