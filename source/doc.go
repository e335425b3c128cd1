// Package source gives stable views of disks at points, and what changed between points, for disks that are regular files
// or block devices.
package source
