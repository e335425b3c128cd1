package drill

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Content is a disk at a point.
type Content interface {
	io.ReaderAt
	// Size is the disk's size in bytes.
	Size() int64
	// NextData returns the first range at or after off that may hold bytes other than zero; start == end == Size() when there is none.
	NextData(off int64) (start, end int64, err error)
}

// File is a disk as a file.
type File struct {
	Name    string
	Content Content
}

// Options says what to show, and where.
type Options struct {
	Dir    string // mount point: an absolute path without symbolic links, of an empty directory
	Source string // names this drill, and no other, in the table of mounts
	Files  []File
	Time   time.Time // of the point: what the files say they were last changed at

	Writable bool
	Scratch  string // directory of the scratch file
	Limit    int64  // bytes of it

	// Failed is told of a read or write that failed, by several goroutines at once.
	Failed func(file string, off int64, err error)
	// Log takes lines of the FUSE library; nil: nobody does.
	Log func(line string)
}

// Usage is what a drill has come to.
type Usage struct {
	Scratch int64  // bytes written and kept
	Errors  int64  // reads and writes that failed, but for want of room in the scratch file
	Last    string // the last of these
}

// What a caller can act on.
var (
	// ErrInUse: somebody has a file open, or stands in the directory. A *Busy in the chain says who.
	ErrInUse = errors.New("in use")
	// ErrNotEmpty: the mount point is a directory that holds something.
	ErrNotEmpty = errors.New("is not empty")
	// ErrMounted: something is mounted there already.
	ErrMounted = errors.New("something is mounted there already")
	// ErrDead: a file system is mounted there whose process has gone.
	ErrDead = errors.New("a file system is mounted there whose process has gone")
)

// Busy says who uses a drill's files.
type Busy struct{ By []string }

func (b *Busy) Error() string {
	if len(b.By) == 0 {
		return ErrInUse.Error()
	}
	return fmt.Sprintf("%v by %s", ErrInUse, strings.Join(b.By, ", "))
}

// Unwrap returns ErrInUse.
func (b *Busy) Unwrap() error { return ErrInUse }
