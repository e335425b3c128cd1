package blockio

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
)

// drivePrefix begins the name of a physical drive of Windows, in any case of letters.
const drivePrefix = `\\.\PhysicalDrive`

// driveName returns the one name of a physical drive of Windows, "" where path is none. Whether this program can use them is decided when it is built (drive_windows.go).
func driveName(path string) string {
	if len(path) <= len(drivePrefix) || !strings.EqualFold(path[:len(drivePrefix)], drivePrefix) {
		return ""
	}
	n, err := strconv.ParseUint(path[len(drivePrefix):], 10, 16)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%s%d", drivePrefix, n)
}

// lookAtDrive describes a physical drive of Windows; nil where path is none. They are no files there: nothing but opening them tells of them.
func lookAtDrive(path string) (*layout, error) {
	name := driveName(path)
	if runtime.GOOS != "windows" || name == "" {
		return nil, nil
	}
	l := &layout{path: name, description: Description{Path: path}}
	return l, l.examineDevice(nil)
}
