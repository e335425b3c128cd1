// Package pki makes and uses the certificates by which master target, process servers and the operator's tool know each other.
//
// Init makes a certificate authority and one certificate for each role. A role stands in the certificate as a URI, failback:role:process-server. A
// peer is judged by its CA and its role, and never by its host name: addresses move with VPNs. Both sides verify, over TLS 1.3 only, and say what is
// wrong in words: another CA (with both fingerprints), another role, expired, or not valid yet (a clock that is off).
//
// The server's handshake takes any certificate of its CA, whatever the role: the RPC layer refuses a wrong role, where it can answer with a status that
// names both (package transport, RequireRole).
//
// Files, flat in one directory (0700): ca.crt, ca.key, and ROLE.crt, ROLE.key for each role, all PEM; keys PKCS #8, 0600. A machine needs ca.crt and the pair
// of its own role; ca.key is needed nowhere and is best kept offline. Keys that group or others may read are refused.
package pki
