// Package failbackpb is the contract on the wire, generated from replication.proto, operator.proto and enrollment.proto, whose comments are its description.
// Only package transport uses it: wire types stop there.
//
//go:generate protoc --go_out=.. --go_opt=module=failback --go-grpc_out=.. --go-grpc_opt=module=failback -I . replication.proto operator.proto enrollment.proto
package failbackpb
