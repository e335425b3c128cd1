package peer

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"failback/bench/report"
	"failback/replication"
)

// Backup is QEMU's incremental backup: one storage daemon has the source disk, notes what is written to it in a dirty bitmap, and pushes that over NBD with TLS to another one, which has the target.
type Backup struct {
	source, target *process
	monitor        *monitor
	disk           *nbdDisk
	copy           string
	jobs           int
}

const bitmap = "changes"

// NewBackup starts both daemons for a source and a target of the same content, in directory dir, and begins to note changes. They have to be made by Write.
func NewBackup(ctx context.Context, dir, certs, source, target string) (b *Backup, err error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	b = &Backup{copy: target}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.Close())
		}
	}()
	tls := "tls-creds-x509,id=tls,verify-peer=on,dir=" + certs + ",endpoint="
	disk := func(path string) []string {
		return []string{"--blockdev", "driver=file,node-name=file,filename=" + path, "--blockdev", "driver=raw,node-name=disk,file=file", "--export", "type=nbd,id=export,node-name=disk,name=disk,writable=on"}
	}
	args := append([]string{"--object", tls + "server", "--nbd-server", fmt.Sprintf("addr.type=inet,addr.host=127.0.0.1,addr.port=%d,tls-creds=tls", port)}, disk(target)...)
	if b.target, err = start(ctx, QEMUDaemon, args...); err != nil {
		return nil, err
	}
	if err := awaitListening(port, b.target); err != nil {
		return nil, err
	}
	qmp, nbd := filepath.Join(dir, "qmp"), filepath.Join(dir, "nbd")
	args = append([]string{"--object", tls + "client", "--nbd-server", "addr.type=unix,addr.path=" + nbd,
		"--chardev", "socket,id=qmp,server=on,wait=off,path=" + qmp, "--monitor", "chardev=qmp"}, disk(source)...)
	if b.source, err = start(ctx, QEMUDaemon, args...); err != nil {
		return nil, err
	}
	if b.monitor, err = dialMonitor(qmp, b.source); err != nil {
		return nil, err
	}
	if b.disk, err = dialNBD(nbd, "disk"); err != nil {
		return nil, err
	}
	type m = map[string]any
	if err := b.monitor.do("block-dirty-bitmap-add", m{"node": "disk", "name": bitmap}); err != nil {
		return nil, err
	}
	err = b.monitor.do("blockdev-add", m{"driver": "nbd", "node-name": "copy", "export": "disk", "tls-creds": "tls",
		"server": m{"type": "inet", "host": "localhost", "port": fmt.Sprint(port)}})
	return b, err
}

// Write writes what a file holds at some extents to the same places of the source, durably.
func (b *Backup) Write(from string, all []replication.Extent) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, x := range all {
		p := make([]byte, x.Len())
		if _, err := f.ReadAt(p, x.Off); err != nil {
			return err
		}
		if err := b.disk.write(p, x.Off); err != nil {
			return err
		}
	}
	return b.disk.flush()
}

// Run pushes what has changed since the last run. It ends with an fdatasync of the target.
func (b *Backup) Run(ctx context.Context) (s report.Sample, err error) {
	before, begin := b.cpu(), time.Now()
	b.jobs++
	job := fmt.Sprintf("backup-%d", b.jobs)
	err = b.monitor.do("blockdev-backup", map[string]any{"job-id": job, "device": "disk", "target": "copy", "sync": "bitmap", "bitmap": bitmap, "bitmap-mode": "on-success", "auto-dismiss": false})
	if err == nil {
		err = b.monitor.await(ctx, job)
	}
	if err == nil {
		err = fdatasync(b.copy)
	}
	s.Seconds, s.CPU = time.Since(begin).Seconds(), b.cpu()-before
	return s, err
}

func (b *Backup) cpu() float64 {
	return cpuOf(b.source.cmd.Process.Pid) + cpuOf(b.target.cmd.Process.Pid)
}

// Close ends both daemons.
func (b *Backup) Close() error {
	if b.disk != nil {
		b.disk.conn.Close()
	}
	if b.monitor != nil {
		b.monitor.conn.Close()
	}
	var errs []error
	for _, p := range []*process{b.source, b.target} {
		if p != nil {
			_, err := p.stop()
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// monitor is a connection to a storage daemon's QMP monitor: https://qemu.org/docs/master/interop/qmp-spec.html.
type monitor struct {
	conn net.Conn
	in   *json.Decoder
	seen map[string]string // by job: its last state
}

// message is what a daemon says: the answer to a command, or an event.
type message struct {
	Return json.RawMessage `json:"return"`
	Error  *struct{ Desc string }
	Event  string
	Data   struct{ ID, Status string }
}

func dialMonitor(path string, of *process) (*monitor, error) {
	c, err := dialSocket(path)
	if err != nil {
		of.stop()
		return nil, fmt.Errorf("%s: %w: %s", of.cmd.Args[0], err, of.said.String())
	}
	m := &monitor{conn: c, in: json.NewDecoder(bufio.NewReader(c)), seen: make(map[string]string)}
	var greeting json.RawMessage
	if err := m.in.Decode(&greeting); err != nil {
		return nil, err
	}
	return m, m.do("qmp_capabilities", nil)
}

// dialSocket dials a unix socket that is about to be there.
func dialSocket(path string) (c net.Conn, err error) {
	for begin := time.Now(); time.Since(begin) < answers; time.Sleep(5 * time.Millisecond) {
		if c, err = net.Dial("unix", path); err == nil {
			return c, nil
		}
	}
	return nil, err
}

// do runs a command. What is told of jobs meanwhile is kept.
func (m *monitor) do(command string, args any) error {
	ask := map[string]any{"execute": command}
	if args != nil {
		ask["arguments"] = args
	}
	if err := json.NewEncoder(m.conn).Encode(ask); err != nil {
		return err
	}
	for {
		said, err := m.next()
		switch {
		case err != nil:
			return err
		case said.Error != nil:
			return fmt.Errorf("%s: %s", command, said.Error.Desc)
		case said.Return != nil:
			return nil
		}
	}
}

func (m *monitor) next() (said message, err error) {
	if err = m.in.Decode(&said); err == nil && said.Event == "JOB_STATUS_CHANGE" {
		m.seen[said.Data.ID] = said.Data.Status
	}
	return said, err
}

// await returns when a job has ended well.
func (m *monitor) await(ctx context.Context, job string) error {
	stop := context.AfterFunc(ctx, func() { m.conn.Close() })
	defer stop()
	failed := false
	for {
		switch m.seen[job] {
		case "aborting":
			failed = true
		case "concluded":
			if failed {
				return fmt.Errorf("%s was aborted", job)
			}
			return m.do("job-dismiss", map[string]any{"id": job})
		}
		if _, err := m.next(); err != nil {
			return err
		}
	}
}
