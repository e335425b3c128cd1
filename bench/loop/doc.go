// Package loop makes file systems of their own on loop devices, which takes root.
package loop
