// Package throttle says how many bytes a second may go over the link: by a calendar, and in shares by priority. It has no clock and no goroutine but Valve's waiting.
//
// A Schedule is the calendar of a master target, for all of its groups together. It is rules, of which the first that applies counts; where none does there is no limit:
//
//	20Mbps mon-fri 08:00-18:00; 200Mbps; in Europe/Berlin
//
// A rule is a rate (or "none": no limit), then days and hours where it is not for all. Hours that pass midnight belong to the day on which they begin. The
// last part names the time zone; without it, it is UTC. Where clocks are changed, hours are those that clocks there show.
//
// Rates are of bytes on the wire, TLS included: 512Kbps and 1,023 Mbps, the bounds of the product that is replaced, are thousands and millions of bits; a number
// without a unit is bits; MB/s and MiB/s are bytes.
//
// The master target is the authority: it divides what the calendar allows between process servers (Divide) and hands the parts out; a process server's Valve keeps to its part, and
// divides it between its groups by their priorities. A share that is not used is the others', and nobody's is so small that nothing gets on (Least).
package throttle
