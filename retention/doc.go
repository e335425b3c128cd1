// Package retention is the journal of a group: versions of bytes, the points that they add up to, moves of the disks along the points, and readers of any point.
package retention
