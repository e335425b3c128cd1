package main

import (
	"errors"
	"io/fs"
	"syscall"

	"github.com/spf13/cobra"

	"failback/blockio"
	"failback/replication"
)

func (t *tool) diskCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "disk",
		Short: "Look at, read, write, make, check and repair disks on this machine",
		Long: `Works on VMDKs, raw files and block devices of this machine, without a master target. A VMDK is named by its descriptor (x.vmdk, not x-flat.vmdk).
What is a VMDK is decided by the name; any other file is raw, whatever is in it.

  failback disk info x.vmdk                                    what it is, and whether it may be written
  failback disk map x.vmdk                                     where it has data
  failback disk read x.vmdk > x.raw                            its content
  failback disk create --format vmfs-thin --size 40G x.vmdk    a new one
  failback disk write x.vmdk --offset 0 < x.raw                give it content
  failback disk check x.vmdk                                   is it sound?
  failback disk repair x.vmdk                                  mend its tables, where a copy of them is sound

Sizes and offsets are bytes, or have a unit: K, M, G, T or P, which are powers of 1024.`,
		Args: cobra.ArbitraryArgs,
		RunE: t.needsCommand,
	}
	c.PersistentPreRunE = func(c *cobra.Command, _ []string) error {
		t.local = true
		return t.settle(c)
	}
	c.AddCommand(t.diskInfoCommand(), t.diskMapCommand(), t.diskReadCommand(), t.diskWriteCommand(), t.diskCreateCommand(), t.diskCheckCommand(), t.diskRepairCommand())
	return c
}

// diskProblem tells an error of a disk in the operator's words.
func diskProblem(path string, err error) error {
	if err == nil {
		return nil
	}
	p := &replication.Problem{Code: "disk", Message: "disk " + path, Err: err, Remedy: "see that what it lies on is there, and that this user may read it"}
	switch {
	case errors.Is(err, blockio.ErrPoisoned):
		p.Code, p.Remedy = "disk-sync", "see to the storage below it, then write again: what was written since the last sync may be lost"
	case errors.Is(err, blockio.ErrInUse):
		p.Code, p.Remedy = "disk-in-use", "power the machine off, unmount the disk, or stop what holds it; then try again"
	case errors.Is(err, blockio.ErrNotTarget):
		p.Code, p.Remedy = "disk-refused", "put it in order as the message says, or use another disk"
	case errors.Is(err, blockio.ErrUnsupported):
		p.Code, p.Remedy = "disk-unsupported", "convert it with the product that made it, to a flat VMDK"
	case errors.Is(err, blockio.ErrCorrupt):
		p.Code, p.Remedy = "disk-corrupt", "failback disk check lists what is wrong; restore it from a copy"
	case errors.Is(err, blockio.ErrOutOfRange):
		p.Code, p.Remedy = "disk-range", "failback disk info tells the size; a disk never grows"
	case errors.Is(err, fs.ErrNotExist):
		p.Code, p.Remedy = "disk-missing", "name a file that exists, in a directory that exists; failback disk create makes a new one"
	case errors.Is(err, fs.ErrExist):
		p.Code, p.Remedy = "file-exists", "name a file that does not exist: nothing is ever overwritten"
	case errors.Is(err, syscall.ENOSPC):
		p.Code, p.Remedy = "disk-full", "make space below it, then write again"
	}
	return p
}
