package drill

import (
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Bounds of a drill (I12).
const (
	maxIO        = 1 << 20         // bytes of one read or write
	inflight     = 32 << 20        // bytes of requests taken in at a time
	background   = 16              // requests that the kernel makes ahead
	readaheadKiB = 2048            // that the kernel reads ahead
	countFor     = 2 * time.Second // how long Start counts data, before it goes on and counts meanwhile
	lingerFor    = 2 * time.Second // how long the kernel may take to let go of what was unmounted
	floor        = 64 << 20        // bytes that the scratch file leaves free
)

// Drill is a mounted one.
type Drill struct {
	o      Options
	fs     *files
	minor  uint32
	server *fuse.Server
	stores []*scratch
	stop   chan struct{}  // closed when it has ended
	counts sync.WaitGroup // goroutines that count
	done   chan struct{}  // closed when nothing uses the content any more

	ending sync.Mutex
}

// Available says why drills are not possible here, if so.
func Available() error {
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("FUSE is not to be had: %w", err)
	}
	return f.Close()
}

// Start mounts the disks. The contents are used until Done; the caller closes them then.
func Start(o Options) (*Drill, error) {
	if o.Failed == nil {
		o.Failed = func(string, int64, error) {}
	}
	if err := checkDir(o.Dir); err != nil {
		return nil, err
	}
	d := &Drill{o: o, stop: make(chan struct{}), done: make(chan struct{})}
	d.fs = &files{RawFileSystem: fuse.NewDefaultRawFileSystem(), writable: o.Writable, uid: uint32(os.Geteuid()), gid: uint32(os.Getegid()), time: o.Time}
	if o.Writable {
		d.fs.room = &room{limit: o.Limit, floor: floor, free: func() (int64, error) { return freeBytes(o.Scratch) }}
	}
	for _, f := range o.Files {
		n := &node{name: f.Name, size: f.Content.Size(), content: f.Content, failed: o.Failed, uid: d.fs.uid, gid: d.fs.gid, mode: 0o400, mtime: o.Time}
		n.data.Store(-1)
		if o.Writable {
			s, err := newScratch(o.Scratch)
			if err != nil {
				return nil, errors.Join(err, d.close())
			}
			d.stores = append(d.stores, s)
			n.over = newOverlay(f.Content, s, d.fs.room)
			n.content, n.mode = n.over, 0o600
		}
		d.fs.nodes = append(d.fs.nodes, n)
		d.counts.Go(func() { n.count(f.Content, d.stop) })
	}
	counted := make(chan struct{})
	go func() { d.counts.Wait(); close(counted) }()
	select {
	case <-counted:
	case <-time.After(countFor):
	}
	if err := d.mount(); err != nil {
		return nil, errors.Join(err, d.close())
	}
	go func() {
		d.server.Serve()
		_ = d.close()
		close(d.done)
	}()
	if err := d.noPolling(); err != nil {
		return nil, errors.Join(err, d.End(true))
	}
	return d, nil
}

// noPolling has the kernel learn that our files can't be polled. The Go runtime would ask when this process opens one, as it does when an operator names
// one as a target: in a call that stops the whole process until it is answered, which only this process could do. The library knows a file for that.
func (d *Drill) noPolling() error {
	fd, err := unix.Open(filepath.Join(d.o.Dir, ".go-fuse-epoll-hack"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("first look at %s: %w", d.o.Dir, err)
	}
	defer unix.Close(fd)
	if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0); err != nil && err != unix.EINTR {
		return fmt.Errorf("first look at %s: %w", d.o.Dir, err)
	}
	return nil
}

// checkDir says why nothing can be mounted at dir.
func checkDir(dir string) error {
	if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir {
		return fmt.Errorf("mount point %s is not an absolute path", dir)
	}
	all, err := mounts()
	if err != nil {
		return err
	}
	if m, is := top(all, dir); is {
		var st unix.Statfs_t
		if m.fsType == "fuse."+fsType && unix.Statfs(dir, &st) == unix.ENOTCONN {
			return fmt.Errorf("mount point %s: %w", dir, ErrDead)
		}
		return fmt.Errorf("mount point %s: %w (%s)", dir, ErrMounted, m.source)
	}
	st, err := os.Lstat(dir)
	switch {
	case err != nil:
		return fmt.Errorf("mount point: %w", err)
	case !st.IsDir():
		return fmt.Errorf("mount point: %w", &fs.PathError{Op: "open", Path: dir, Err: syscall.ENOTDIR})
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("mount point: %w", err)
	}
	if len(names) > 0 {
		return fmt.Errorf("mount point %s %w", dir, ErrNotEmpty)
	}
	return nil
}

// mount mounts without the help of fusermount, and returns when the kernel and we have shaken hands.
func (d *Drill) mount() error {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("FUSE is not to be had: %w", &fs.PathError{Op: "open", Path: "/dev/fuse", Err: err})
	}
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME)
	if !d.o.Writable {
		flags |= unix.MS_RDONLY
	}
	with := fmt.Sprintf("fd=%d,rootmode=40000,user_id=%d,group_id=%d,allow_other,default_permissions,max_read=%d", fd, d.fs.uid, d.fs.gid, maxIO)
	if err := unix.Mount(d.o.Source, d.o.Dir, "fuse."+fsType, flags, with); err != nil {
		unix.Close(fd)
		return &fs.PathError{Op: "mount", Path: d.o.Dir, Err: err}
	}
	said := log.New(lineWriter(d.o.Log), "", 0)
	d.server, err = fuse.NewServer(d.fs, fmt.Sprintf("/dev/fd/%d", fd), &fuse.MountOptions{
		Name: fsType, MaxWrite: maxIO, MaxBackground: background, MaxInflightRequestBytes: inflight, ExplicitDataCacheControl: true, Logger: said, DisableSplice: true,
	})
	if err != nil {
		return errors.Join(fmt.Errorf("serve %s: %w", d.o.Dir, err), detach(d.o.Dir))
	}
	all, err := mounts()
	if m, is := top(all, d.o.Dir); is && m.ours(d.o.Source) {
		d.minor = m.minor
		_ = os.WriteFile(fmt.Sprintf("/sys/class/bdi/0:%d/read_ahead_kb", m.minor), fmt.Append(nil, readaheadKiB), 0) // slower without
	}
	return err
}

// lineWriter hands over what a log.Logger writes.
type lineWriter func(string)

func (w lineWriter) Write(b []byte) (int, error) {
	if w != nil {
		w(string(b))
	}
	return len(b), nil
}

// close lets go of what the drill holds.
func (d *Drill) close() error {
	close(d.stop)
	d.counts.Wait()
	var err error
	for _, s := range d.stores {
		err = errors.Join(err, s.Close())
	}
	return err
}

// Done is closed when the drill has ended: by End, or by somebody who unmounted it. Nothing uses the contents any more.
func (d *Drill) Done() <-chan struct{} { return d.done }

// End unmounts. If a file is in use, it is a *Busy and nothing has changed; with force, who uses it gets errors from then on. It returns when the drill has ended.
func (d *Drill) End(force bool) error {
	d.ending.Lock()
	defer d.ending.Unlock()
	select {
	case <-d.done:
		return nil
	default:
	}
	all, err := mounts()
	if err != nil {
		return err
	}
	m, is := top(all, d.o.Dir)
	switch {
	case is && m.ours(d.o.Source):
		err = unix.Unmount(d.o.Dir, unix.UMOUNT_NOFOLLOW)
		if err == unix.EBUSY && force {
			err = detach(d.o.Dir)
		} else if err == unix.EBUSY {
			return &Busy{By: users(d.o.Dir)}
		} else if err != nil {
			err = &fs.PathError{Op: "unmount", Path: d.o.Dir, Err: err}
		}
	case !force: // unmounted by somebody, lazily, or moved, or something lies above it
		return &Busy{By: users(d.o.Dir)}
	default:
		err = errors.Join(abort(d.minor), Clean(d.o.Source))
	}
	if err != nil {
		return err
	}
	select {
	case <-d.done:
		return nil
	case <-time.After(lingerFor): // another mount of it is left somewhere, in another namespace
	}
	if err := abort(d.minor); err != nil {
		return fmt.Errorf("%s is unmounted here, but in use elsewhere: %w", d.o.Dir, err)
	}
	<-d.done
	return nil
}

// Usage returns what the drill has come to so far.
func (d *Drill) Usage() (u Usage) {
	if d.fs.room != nil {
		u.Scratch = d.fs.room.taken()
	}
	for _, n := range d.fs.nodes {
		if e := n.errs.Load(); e > 0 {
			u.Errors += e
			n.mu.Lock()
			u.Last = n.last
			n.mu.Unlock()
		}
	}
	return u
}
