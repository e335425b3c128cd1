package mastertarget

import (
	"testing"

	"failback/retention"
)

// TestMayBeWritten: disks that were their machine's are so until a session of ours has begun.
func TestMayBeWritten(t *testing.T) {
	for _, c := range []struct {
		at   *retention.Cutover
		want bool
	}{
		{nil, false},
		{&retention.Cutover{Step: retention.CutoverFinal}, false},
		{&retention.Cutover{Step: retention.CutoverClosing}, false},
		{&retention.Cutover{Step: retention.CutoverCommitted}, true},
		{&retention.Cutover{Step: retention.CutoverUndoing, Untaken: true}, true},
		{&retention.Cutover{Step: retention.CutoverUndoing}, false},
	} {
		if got := mayBeWritten(c.at); got != c.want {
			t.Errorf("%+v: got %v", c.at, got)
		}
	}
}
