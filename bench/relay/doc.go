// Package relay stands between two programs on a TCP connection and counts what passes: bytes of TCP payload, TLS included. Each byte is
// copied twice more on its way: a run whose time counts goes without a relay where the bytes are many.
package relay
