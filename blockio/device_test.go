package blockio

import "testing"

func TestDriveName(t *testing.T) {
	for path, want := range map[string]string{
		`\\.\PhysicalDrive0`: `\\.\PhysicalDrive0`, `\\.\PHYSICALDRIVE012`: `\\.\PhysicalDrive12`, `\\.\PhysicalDrive`: "", `\\.\PhysicalDrive1x`: "",
		`\\.\PhysicalDrive-1`: "", `\\.\C:`: "", "/dev/sda": "", `\\?\PhysicalDrive1`: "", `\\.\PhysicalDrive1\..\x`: "",
	} {
		if got := driveName(path); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}
