package replication

// Volume is a mounted file system of the master target's machine, and whether journals may lie on it.
type Volume struct {
	Path      string    `json:"path"`      // where it is mounted
	Type      string    `json:"type"`      // of the file system
	Device    string    `json:"device"`    // what holds it
	Size      int64     `json:"size"`      // bytes; 0 where that can't be told
	Free      int64     `json:"free"`      // bytes that may still be written
	Retention bool      `json:"retention"` // the master target's journals lie on it
	Usable    bool      `json:"usable"`    // no finding is an error
	Findings  []Finding `json:"findings"`
}
