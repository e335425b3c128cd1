// Package link says what the two ends ask of each other, whatever carries it: package transport over gRPC, or a test directly.
//
// A master target gives a Worker (a process server) orders. All of them may be repeated: after a cut connection the same order is given again and goes
// on from what is durable. A process server that ships asks its Authority (the master target) what is durable, compares, opens lanes, and finishes.
package link
