// Package blockiotest has the conformance suite that every writable kind of disk has to pass.
package blockiotest
