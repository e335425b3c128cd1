//go:build !linux

package blockio

import "os"

// preads reads by the file.
type preads struct{}

func (preads) open(*os.File) {}

func (preads) close() {}

func (preads) readAt(f *os.File, p []byte, off int64) (int, error) { return f.ReadAt(p, off) }

func (preads) turn() {}
