package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"failback/blockio"
	"failback/cmd/internal/settings"
)

// newFormats are the formats that disk create makes, by their names there.
var newFormats = []struct {
	name string
	make func(path string, size int64) error
}{
	{"vmfs", blockio.CreateThick},
	{"vmfs-thin", createAs(blockio.FormatVMFS)},
	{"monolithicFlat", createAs(blockio.FormatMonolithicFlat)},
	{"twoGbMaxExtentFlat", createAs(blockio.FormatTwoGbMaxExtentFlat)},
	{"monolithicSparse", createAs(blockio.FormatMonolithicSparse)},
	{"twoGbMaxExtentSparse", createAs(blockio.FormatTwoGbSparse)},
	{"raw", createAs(blockio.FormatRaw)},
}

func createAs(f blockio.Format) func(string, int64) error {
	return func(path string, size int64) error { return blockio.Create(path, f, size) }
}

func (t *tool) diskCreateCommand() *cobra.Command {
	var format string
	var length byteCount
	c := &cobra.Command{
		Use:   "create --format FORMAT --size SIZE FILE",
		Short: "Make a new disk that reads as zeros",
		Long: `Makes a new disk of a size, a multiple of 512 bytes, that reads as zeros. Nothing is ever overwritten. The formats:

  vmfs                   for ESXi: a descriptor and FILE-flat.vmdk with all its space allocated. The file system zeroes it when it is first written (ESXi calls
                         that zeroedthick); where it can't, as on NFS before 4.2, zeros are written now (eagerzeroedthick)
  vmfs-thin              the same, growing as it is written: what ESXi itself makes on NFS, and the master target for a new target
  monolithicFlat         for VMware Workstation and the like: a descriptor and FILE-flat.vmdk
  twoGbMaxExtentFlat     the same in pieces of at most 2047 MiB
  monolithicSparse       one file that grows; ESXi can't run a machine from it
  twoGbMaxExtentSparse   the same in pieces
  raw                    the bytes of the disk, and nothing else; FILE must not end in .vmdk`,
		Example: "  failback disk create --format vmfs-thin --size 40G /vmfs/nfs1/erp-db/erp-db.vmdk",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return t.diskCreate(args[0], format, int64(length))
		},
	}
	c.Flags().StringVar(&format, "format", "", "one of the `FORMAT`s above")
	c.Flags().Var(&length, "size", "the size of the disk, such as 10G")
	_ = c.MarkFlagRequired("format")
	_ = c.MarkFlagRequired("size")
	return c
}

func (t *tool) diskCreate(path, format string, length int64) error {
	i := slices.IndexFunc(newFormats, func(f struct {
		name string
		make func(string, int64) error
	}) bool {
		return strings.EqualFold(f.name, format)
	})
	if i < 0 {
		return settings.Usage(fmt.Errorf("--format %q is none of %s", format, strings.Join(formatNames(), ", ")))
	}
	if length <= 0 || length%blockio.SectorSize != 0 {
		return settings.Usage(fmt.Errorf("--size %d: a disk is a positive multiple of %d bytes", length, blockio.SectorSize))
	}
	if err := newFormats[i].make(path, length); err != nil {
		return diskProblem(path, err)
	}
	d, err := describe(path)
	if err != nil {
		return err
	}
	return t.print(d, func(w io.Writer) {
		fmt.Fprintf(w, "%s: a new %s disk of %s, in %s\n", path, newFormats[i].name, size(length), plural(len(d.Extents), "data file"))
	})
}

func formatNames() []string {
	var names []string
	for _, f := range newFormats {
		names = append(names, f.name)
	}
	return names
}
