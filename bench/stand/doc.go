// Package stand runs the real daemons, as processes, in a directory of their own: for the demonstration, for benchmarks and for end-to-end tests.
//
//	bin, err := stand.Build(dir)              // go build, once
//	s, err := stand.New(dir, stand.Options{Binaries: bin})
//	defer s.Close()
//	s.StartMasterTarget()
//	s.StartProcessServer()
//	path, err := s.WritePlan(stand.Plan{…})
//	s.Do(ctx, nil, "reprotect", path, "--wait")
//
// What must hold: nothing outlives the stand (Close kills what still runs, and the kernel does so when this process dies first); ports are on loopback
// and taken anew by each stand, so that stands can run side by side; all files lie in the directory, which the caller removes.
//
// A stand speaks to the master target as an operator does, with the failback command; only Status, which is asked often, takes the same socket directly.
package stand
