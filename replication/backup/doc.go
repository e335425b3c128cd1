// Package backup is what is kept of a master target's state directory, so that it can be made anew: which groups there are, by which plans, under which generations; what was measured of them; which process server's name belongs to which key; the
// limits of the link; and the jobs. It holds no keys, certificates, tokens or events. Points and disks are the journals': they outrank it.
//
// A backup is a text of one line, and a JSON document (File) that takes the rest:
//
//	failback-backup VERSION BYTES SHA256
//	{"made": …}
//
// VERSION is a decimal number, from 1 on; BYTES the length of the document, SHA256 the hash of it in hex. Keys that are not known are passed over.
package backup
