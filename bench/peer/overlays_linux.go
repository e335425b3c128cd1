package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"failback/bench/loop"
	"failback/replication"
)

// Overlays keeps points of a disk as QEMU does: each is a qcow2 file of what has changed since the one before, the first a raw file. A storage daemon has the chain, and gives the disk over NBD on a unix socket.
type Overlays struct {
	ctx     context.Context
	volume  *loop.Volume
	daemon  *process
	monitor *monitor
	disk    *nbdDisk
	top     int         // the layer that is written to; point n is layer n, once there is a newer one
	base    map[int]int // where layers were merged: in which the content of a point lies now
	jobs    int
}

type qmp = map[string]any

// NewOverlays makes a disk of the content of base, and point 0 of it.
func NewOverlays(ctx context.Context, v *loop.Volume, base string) (o *Overlays, err error) {
	o = &Overlays{ctx: ctx, volume: v, base: map[int]int{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, o.Close())
		}
	}()
	if err := run(ctx, "cp", "--sparse=never", base, o.file(0)); err != nil {
		return nil, err
	}
	socket := filepath.Join(o.volume.Dir, "qmp")
	if o.daemon, err = start(ctx, QEMUDaemon, "--chardev", "socket,id=qmp,server=on,wait=off,path="+socket, "--monitor", "chardev=qmp", "--nbd-server", "addr.type=unix,addr.path="+o.nbd(),
		"--blockdev", "driver=raw,node-name=layer0,file.driver=file,file.filename="+o.file(0)); err != nil {
		return nil, err
	}
	if o.monitor, err = dialMonitor(socket, o.daemon); err != nil {
		return nil, err
	}
	return o, o.begin()
}

func (o *Overlays) nbd() string       { return filepath.Join(o.volume.Dir, "nbd") }
func (o *Overlays) file(n int) string { return filepath.Join(o.volume.Dir, fmt.Sprintf("layer%d", n)) }
func layer(n int) string              { return fmt.Sprintf("layer%d", n) }

// begin has a new layer on top of point 0 written to.
func (o *Overlays) begin() error {
	o.top = 1
	err := run(o.ctx, "qemu-img", "create", "-q", "-f", "qcow2", "-b", o.file(0), "-F", "raw", o.file(1))
	if err == nil {
		err = o.monitor.do("blockdev-add", qmp{"driver": "qcow2", "node-name": layer(1), "backing": layer(0), "file": qmp{"driver": "file", "filename": o.file(1)}})
	}
	if err == nil {
		err = o.monitor.do("block-export-add", qmp{"type": "nbd", "id": "disk", "node-name": layer(1), "name": "disk", "writable": true})
	}
	if err == nil {
		o.disk, err = dialNBD(o.nbd(), "disk")
	}
	return errors.Join(err, o.volume.Sync())
}

// Finds implements Points.
func (o *Overlays) Finds() bool { return false }

// Change implements Points.
func (o *Overlays) Change(at []replication.Extent, content func(replication.Extent) []byte) error {
	for _, x := range at {
		if err := o.disk.write(content(x), x.Off); err != nil {
			return err
		}
	}
	return nil
}

// Keep implements Points.
func (o *Overlays) Keep() error {
	if err := o.disk.flush(); err != nil {
		return err
	}
	err := o.monitor.do("blockdev-snapshot-sync", qmp{"node-name": layer(o.top), "snapshot-file": o.file(o.top + 1), "snapshot-node-name": layer(o.top + 1), "format": "qcow2"})
	if err != nil {
		return err
	}
	o.top++
	return o.volume.Sync()
}

// Old implements Points.
func (o *Overlays) Old(n int) (ReaderAtCloser, error) {
	err := o.monitor.do("block-export-add", qmp{"type": "nbd", "id": "old", "node-name": layer(o.of(n)), "name": "old"})
	if err != nil {
		return nil, err
	}
	d, err := dialNBD(o.nbd(), "old")
	if err != nil {
		return nil, err
	}
	return oldLayer{d, o}, nil
}

// of returns the layer in which a point's content lies.
func (o *Overlays) of(n int) int {
	if merged, ok := o.base[n]; ok {
		return merged
	}
	return n
}

type oldLayer struct {
	*nbdDisk
	of *Overlays
}

func (l oldLayer) Close() error {
	return errors.Join(l.conn.Close(), l.of.unexport("old"))
}

// unexport ends an export, and returns when it has ended.
func (o *Overlays) unexport(id string) error {
	if err := o.monitor.do("block-export-del", qmp{"id": id, "mode": "hard"}); err != nil {
		return err
	}
	for begin := time.Now(); o.monitor.do("block-export-del", qmp{"id": id, "mode": "hard"}) == nil; time.Sleep(time.Millisecond) {
		if time.Since(begin) > answers {
			return fmt.Errorf("the export %s does not end", id)
		}
	}
	return nil
}

// Disk implements Points.
func (o *Overlays) Disk() io.ReaderAt { return o.disk }

// Thin implements Points: the layers of points that are not kept are merged into those of the next ones that are.
func (o *Overlays) Thin(kept func(n int) bool) error {
	first := 1 // of those that are merged
	for n := 1; n < o.top; n++ {
		if !kept(n) {
			continue
		}
		if n > first {
			o.jobs++
			job := fmt.Sprintf("commit-%d", o.jobs)
			err := o.monitor.do("block-commit", qmp{"job-id": job, "device": layer(o.top), "top-node": layer(n), "base-node": layer(first), "auto-dismiss": false})
			if err == nil {
				err = o.monitor.await(o.ctx, job)
			}
			if err != nil {
				return fmt.Errorf("merge layers %d to %d: %w", first, n, err)
			}
			for gone := first + 1; gone <= n; gone++ {
				os.Remove(o.file(gone))
			}
			o.base[n] = first
		}
		first = n + 1
	}
	return o.volume.Sync()
}

// Back implements Points: what is newer goes.
func (o *Overlays) Back() error {
	if err := errors.Join(o.disk.conn.Close(), o.unexport("disk")); err != nil {
		return err
	}
	if err := o.monitor.do("blockdev-del", qmp{"node-name": layer(1)}); err != nil { // those on top of it went with the export
		return err
	}
	for n := range o.top {
		os.Remove(o.file(n + 1))
	}
	clear(o.base)
	return o.begin()
}

// Close implements Points: it ends the daemon.
func (o *Overlays) Close() error {
	if o.disk != nil {
		o.disk.conn.Close()
	}
	if o.monitor != nil {
		o.monitor.conn.Close()
	}
	if o.daemon == nil {
		return nil
	}
	_, err := o.daemon.stop()
	return err
}
