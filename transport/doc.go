// Package transport is what crosses the network, and nothing else: it maps the messages of package failbackpb (proto/) to the vocabulary of package
// replication and back, over gRPC. Wire types stop here.
//
// Two services, each on a listener of its own. Replication is between a process server, which dials, and its master target; files replication_*, and
// frame.go for the one message that carries content. Operator is between the failback command and a master target; files operator_*.
//
// Content stays in a core's cache on its way: a frame has 256 KiB of it, is gathered 32 KiB at a time for TLS and the socket (gather.go), and is read from it hardly further ahead than it is taken at the other
// end (backlog.go), as long as that is quick; where it is not, as far as the window goes.
//
// Peers know each other by certificates (package pki, RequireRoles); on a unix socket, by who may open it. Every error crosses as a status with a
// failback.v1.Problem in it (StatusOf, ProblemOf), so that the one who reads it is told what to do.
package transport
