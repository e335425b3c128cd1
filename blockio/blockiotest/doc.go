// Package blockiotest has the conformance suite that every writable kind of disk has to pass, and a file that fails as it is told to (FaultyFile).
package blockiotest
