package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"failback/blockio"
)

func (t *tool) diskWriteCommand() *cobra.Command {
	var offset byteCount
	c := &cobra.Command{
		Use:   "write FILE --offset N",
		Short: "Write standard input to a disk",
		Long: `Writes the bytes of standard input to a disk, from an offset on. The rest of the disk stays as it is. A disk never grows: what does not fit is refused, before anything
is written if standard input is a file. Zeros take no space where the disk is thin. All is durable when the command has ended well.

A disk is refused when it is in use or locked, has snapshots, was not closed cleanly, or is of a kind that is never written: failback disk info tells. It gets a new content id
before the first byte is written, so that a snapshot or a replica made of what it was is known to be stale; change tracking is dropped.`,
		Example: "  failback disk write erp-db.vmdk --offset 0 < erp-db.raw\n  head -c 512 /dev/zero | failback disk write erp-db.vmdk --offset 1M",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return t.diskWrite(c.Context(), args[0], int64(offset))
		},
	}
	c.Flags().Var(&offset, "offset", "the byte to begin with")
	_ = c.MarkFlagRequired("offset")
	return c
}

func (t *tool) diskWrite(ctx context.Context, path string, off int64) error {
	d, err := blockio.OpenTarget(path, blockio.TargetOptions{})
	if err != nil {
		return diskProblem(path, err)
	}
	n, err := t.fill(ctx, d, off)
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	if ctx.Err() != nil {
		return interrupted(fmt.Sprintf("disk %s is partly written", path))
	}
	if err != nil {
		return diskProblem(path, err)
	}
	result := struct {
		File      string `json:"file"`
		Offset    int64  `json:"offset"`
		Written   int64  `json:"written"`
		ContentID string `json:"content_id"`
	}{File: path, Offset: off, Written: n}
	if id := d.Description().ContentID; id != 0 {
		result.ContentID = fmt.Sprintf("%08x", id)
	}
	return t.print(result, func(w io.Writer) { fmt.Fprintf(w, "%s: %s written from offset %d on\n", path, size(n), off) })
}

// fill writes standard input to d, from off on.
func (t *tool) fill(ctx context.Context, d blockio.Target, off int64) (int64, error) {
	if off > d.Size() {
		return 0, fmt.Errorf("%w: offset %d, on a disk of %d bytes", blockio.ErrOutOfRange, off, d.Size())
	}
	from, at := t.inputFile()
	if from != nil && from.Size()-at > d.Size()-off {
		return 0, fmt.Errorf("%w: %d bytes from offset %d on, on a disk of %d; nothing was written", blockio.ErrOutOfRange, from.Size()-at, off, d.Size())
	}
	if err := d.SetContentID(blockio.NewContentID()); err != nil {
		return 0, err
	}
	if from != nil {
		return from.Size() - at, blockio.Copy(ctx, d, off, from, at, from.Size()-at)
	}
	n, err := blockio.CopyFrom(ctx, d, off, t.in)
	if errors.Is(err, blockio.ErrOutOfRange) {
		err = fmt.Errorf("%w; the first %d bytes were written", err, n)
	}
	return n, err
}

// inputFile returns standard input as a disk, and where it stands, if it is a regular file: its holes need not be read then.
func (t *tool) inputFile() (blockio.Disk, int64) {
	f, ok := t.in.(*os.File)
	if !ok {
		return nil, 0
	}
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, 0
	}
	d, err := blockio.OpenFile(f)
	if err != nil || at > d.Size() {
		return nil, 0
	}
	return d, at
}
