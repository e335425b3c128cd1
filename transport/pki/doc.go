// Package pki makes and uses the certificates by which master target, process servers and the operator's tool know each other.
//
// Init makes a certificate authority, one certificate for each role, and an enroller. What a certificate says of its holder stands in its URIs:
//
//	failback:role:ROLE     what it is: master-target, process-server or operator
//	failback:name:NAME     of a process server: the only name by which it may register; without, any
//	failback:issues:ROLE   of the enroller: the only role for which it may issue certificates: process-server
//
// A peer is judged by its CA and its role, and never by its host name: addresses move with VPNs. Both sides verify, over TLS 1.3 only, and say what is
// wrong in words: another CA (with both fingerprints), another role, revoked, expired, or not valid yet (a clock that is off).
//
// The server's handshake takes any certificate of its CA, whatever the role: the RPC layer refuses a wrong role, where it can answer with a status that
// names both (package transport, RequireRoles).
//
// Files, flat in one directory (0700): ca.crt, ca.key; ROLE.crt, ROLE.key for each role; enroller.crt, enroller.key; ca.crl where something was revoked. All are PEM; keys
// PKCS #8, 0600. A machine needs ca.crt and the pair of its own role, ca.crl if there is one, and the master target the enroller's pair if process servers are to enrol; ca.key is
// needed by no server and is best kept offline. Keys that group or others may read are refused. ca.crt may hold several authorities while one takes another's place.
//
// An Identity reads its files again every few seconds: what is whole is used from the next connection on, what is not changes nothing. A list of revoked certificates ends
// the connections of those it names (Guard), and is never replaced by an older one while the program runs.
package pki
