// Package transport is what crosses the network, and nothing else: it maps the messages of package failbackpb (proto/) to the vocabulary of package
// replication and back, over gRPC. Wire types stop here.
//
// Two services, each on a listener of its own. Replication is between a process server, which dials, and its master target; files replication_*, and
// frame.go for the one message that carries content. Operator is between the failback command and a master target; files operator_*.
//
// Peers know each other by certificates (package pki, RequireRoles); on a unix socket, by who may open it. Every error crosses as a status with a
// failback.v1.Problem in it (StatusOf, ProblemOf), so that the one who reads it is told what to do.
package transport
