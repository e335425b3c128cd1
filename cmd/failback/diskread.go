package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/spf13/cobra"

	"failback/blockio"
	"failback/cmd/internal/settings"
	"failback/replication"
)

func (t *tool) diskReadCommand() *cobra.Command {
	var offset, length byteCount
	c := &cobra.Command{
		Use:   "read FILE",
		Short: "Write the bytes of a disk to standard output",
		Long: `Writes the raw bytes of a disk, or of a range of it, to standard output. Holes are not read; where standard output is a new file, they are holes there too.

No lock is taken: of a disk that is being written while it is read, this is as it was at various moments.`,
		Example: "  failback disk read erp-db.vmdk > erp-db.raw\n  failback disk read erp-db.vmdk --offset 1M --length 4K | xxd | head",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if t.json {
				return settings.Usage(errors.New("standard output can't hold both the disk's bytes and the document of --json"))
			}
			n := int64(-1)
			if c.Flags().Changed("length") {
				n = int64(length)
			}
			return t.diskRead(c.Context(), args[0], int64(offset), n)
		},
	}
	c.Flags().Var(&offset, "offset", "the first byte to read")
	c.Flags().Var(&length, "length", "how many bytes to read (default: up to the end)")
	return c
}

// diskRead reads up to the end where n is negative.
func (t *tool) diskRead(ctx context.Context, path string, off, n int64) error {
	d, err := blockio.OpenReader(path)
	if err != nil {
		return diskProblem(path, err)
	}
	defer d.Close()
	if n < 0 {
		n = max(d.Size()-off, 0)
	}
	_, err = blockio.Stream(ctx, t.out, d, off, n)
	if errors.Is(err, syscall.EPIPE) { // whoever read it had enough
		return errQuiet
	}
	if ctx.Err() != nil {
		return interrupted("what was written to standard output is not all of the disk")
	}
	return diskProblem(path, err)
}

// interrupted is what a command on local disks says when it was told to stop.
func interrupted(state string) error {
	return &replication.Problem{Code: "cancelled", Message: fmt.Sprintf("interrupted: %s", state), Remedy: "start it again"}
}

// writeError tells an error of standard output.
func writeError(err error) error {
	if err == nil || errors.Is(err, syscall.EPIPE) {
		return nil
	}
	return fmt.Errorf("write the result: %w", err)
}
