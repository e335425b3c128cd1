package disks

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"failback/bench/report"
	"failback/bench/workload"
)

// peak is the most memory that a command of ours has used, in bytes.
var peak int64

// command runs a program with a file or nothing as its input, and its output to out.
func (l *lab) command(in, out *os.File, name string, args ...string) error {
	c := exec.CommandContext(l, name, args...)
	c.Stderr = os.Stderr
	if in != nil {
		c.Stdin = in
	}
	if out != nil {
		c.Stdout = out
	}
	err := c.Run()
	if u, ok := c.ProcessState.SysUsage().(*syscall.Rusage); ok && name == l.tool {
		peak = max(peak, u.Maxrss<<10)
	}
	if err != nil {
		return fmt.Errorf("%s %v: %w", name, args, err)
	}
	return nil
}

// settle makes the work directory's file system quiet.
func settle() { syscall.Sync() }

// rate times a job of so many bytes.
func rate(n int64, job func() error) (float64, error) {
	settle()
	begin := time.Now()
	err := job()
	return float64(n) / time.Since(begin).Seconds(), err
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// convert makes a sparse VMDK of an image.
func (l *lab) convert() error {
	image, err := workload.Image(l, l.Dir, l.size)
	if err != nil {
		return err
	}
	if err := workload.Warm(image); err != nil {
		return err
	}
	ours, its := filepath.Join(l.Dir, "ours.vmdk"), filepath.Join(l.Dir, "its.vmdk")
	defer os.Remove(ours)
	defer os.Remove(its)
	for _, durable := range []bool{true, false} {
		name := "raw to monolithicSparse, beside qemu-img convert"
		if durable {
			name += ", until durable"
		} else {
			name += " (unsynced; ours is)"
		}
		sizes := func() string {
			a, errA := os.Stat(ours)
			b, errB := os.Stat(its)
			if err := errors.Join(errA, errB); err != nil {
				return err.Error()
			}
			return fmt.Sprintf("ours has %s, its %s; peak memory of failback %s", report.Size(a.Size()), report.Size(b.Size()), report.Size(peak))
		}
		err := l.pairs(name, "qemu-img", func() (float64, error) {
			os.Remove(ours)
			in, err := os.Open(image)
			if err != nil {
				return 0, err
			}
			defer in.Close()
			return rate(l.size, func() error {
				if err := l.command(nil, nil, l.tool, "disk", "create", "--format", "monolithicSparse", "--size", fmt.Sprint(l.size), ours); err != nil {
					return err
				}
				return l.command(in, nil, l.tool, "disk", "write", ours, "--offset", "0")
			})
		}, func() (float64, error) {
			os.Remove(its)
			return rate(l.size, func() error {
				if err := l.command(nil, nil, "qemu-img", "convert", "-f", "raw", "-O", "vmdk", image, its); err != nil || !durable {
					return err
				}
				return syncFile(its)
			})
		}, sizes)
		if err != nil {
			return err
		}
	}
	for _, made := range []string{ours, its} {
		if err := l.command(nil, nil, "qemu-img", "compare", "-q", "-f", "raw", "-F", "vmdk", image, made); err != nil {
			return err
		}
	}
	return nil
}

// read reads flat VMDKs, one that is full and one with holes.
func (l *lab) read() error {
	image, err := workload.Image(l, l.Dir, l.size)
	if err != nil {
		return err
	}
	vmdk, flat := filepath.Join(l.Dir, "read.vmdk"), filepath.Join(l.Dir, "read-flat.vmdk")
	out := filepath.Join(l.Dir, "read.raw")
	for _, kind := range []string{"full", "with the holes of an ext4 image"} {
		for _, path := range []string{vmdk, flat, out} {
			os.Remove(path)
			defer os.Remove(path)
		}
		if err := l.command(nil, nil, l.tool, "disk", "create", "--format", "vmfs-thin", "--size", fmt.Sprint(l.size), vmdk); err != nil {
			return err
		}
		if kind == "full" {
			err = fill(vmdk)
		} else {
			in, oerr := os.Open(image)
			if oerr != nil {
				return oerr
			}
			err = l.command(in, nil, l.tool, "disk", "write", vmdk, "--offset", "0")
			in.Close()
		}
		if err := errors.Join(err, workload.Warm(flat)); err != nil {
			return err
		}
		err = l.pairs("flat VMDK ("+kind+") to a pipe, beside cat", "cat",
			func() (float64, error) {
				return rate(l.size, func() error { return l.toPipe(l.tool, "disk", "read", vmdk) })
			},
			func() (float64, error) { return rate(l.size, func() error { return l.toPipe("cat", flat) }) })
		if err != nil {
			return err
		}
		err = l.pairs("flat VMDK ("+kind+") to a file, beside qemu-img dd", "qemu-img dd",
			func() (float64, error) {
				os.Remove(out)
				f, err := os.Create(out)
				if err != nil {
					return 0, err
				}
				defer f.Close()
				return rate(l.size, func() error { return l.command(nil, f, l.tool, "disk", "read", vmdk) })
			},
			func() (float64, error) {
				os.Remove(out)
				return rate(l.size, func() error {
					return l.command(nil, nil, "qemu-img", "dd", "-f", "vmdk", "-O", "raw", "bs=1M", "if="+vmdk, "of="+out)
				})
			}, func() string { return "peak memory of failback " + report.Size(peak) })
		if err != nil {
			return err
		}
	}
	return nil
}

// toPipe runs a program and reads what it writes to a pipe, to the end.
func (l *lab) toPipe(name string, args ...string) error {
	in, out, err := os.Pipe()
	if err != nil {
		return err
	}
	defer in.Close()
	failed := make(chan error, 1)
	go func() {
		err := l.command(nil, out, name, args...)
		out.Close()
		failed <- err
	}()
	b := make([]byte, 1<<20)
	var n int64
	for {
		k, err := in.Read(b)
		n += int64(k)
		if err == io.EOF {
			break
		}
		if err != nil {
			return errors.Join(err, <-failed)
		}
	}
	if err := <-failed; err != nil {
		return err
	}
	if n != l.size {
		return fmt.Errorf("%s wrote %d bytes, not %d", name, n, l.size)
	}
	return nil
}
