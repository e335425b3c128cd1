package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"failback/blockio"
)

func (t *tool) diskMapCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "map FILE",
		Short: "List where a disk has data, and where it reads as zeros",
		Long: `Lists the ranges of a disk, as far as they are known without reading it: from the tables of a sparse VMDK, and from the holes of the files. A range of zeros surely
reads as zeros; one of data may.`,
		Example: "  failback disk map erp-db.vmdk\n  failback disk map erp-db.vmdk --json | jq '[.ranges[] | select(.data) | .length] | add'",
		Args:    cobra.ExactArgs(1),
		RunE:    func(c *cobra.Command, args []string) error { return t.diskMap(c.Context(), args[0]) },
	}
}

// rangeJSON is a range of a disk.
type rangeJSON struct {
	Offset int64 `json:"offset"`
	Length int64 `json:"length"`
	Data   bool  `json:"data"` // false: reads as zeros
}

// diskMap writes ranges as they are found: there may be more of them than memory.
func (t *tool) diskMap(ctx context.Context, path string) error {
	d, err := blockio.OpenReader(path)
	if err != nil {
		return diskProblem(path, err)
	}
	defer d.Close()
	w := bufio.NewWriterSize(t.out, 64<<10)
	begin := mapText
	if t.json {
		begin = mapJSON
	}
	show, finish := begin(w, path, d.Size())
	if err := eachRange(ctx, d, show); err != nil {
		w.Flush()
		return diskProblem(path, err)
	}
	finish()
	return writeError(w.Flush())
}

// eachRange calls show for every range, of the one kind and the other in turn.
func eachRange(ctx context.Context, d blockio.Disk, show func(rangeJSON)) error {
	var last rangeJSON
	add := func(off, n int64, data bool) {
		if n > 0 && last.Length > 0 && last.Data == data {
			last.Length += n
		} else if n > 0 {
			if last.Length > 0 {
				show(last)
			}
			last = rangeJSON{off, n, data}
		}
	}
	for off := int64(0); off < d.Size(); {
		if err := ctx.Err(); err != nil {
			return err
		}
		start, end, err := d.NextData(off)
		if err != nil {
			return err
		}
		add(off, start-off, false)
		add(start, end-start, true)
		off = end
	}
	if last.Length > 0 {
		show(last)
	}
	return nil
}

func mapText(w io.Writer, _ string, total int64) (show func(rangeJSON), finish func()) {
	fmt.Fprintf(w, "%18s  %18s  %s\n", "OFFSET", "LENGTH", "CONTENT")
	var data int64
	return func(r rangeJSON) {
			content := "zeros"
			if r.Data {
				content, data = "data", data+r.Length
			}
			fmt.Fprintf(w, "%18d  %18d  %s\n", r.Offset, r.Length, content)
		}, func() {
			fmt.Fprintf(w, "%s of %s may hold data\n", size(data), size(total))
		}
}

func mapJSON(w io.Writer, path string, total int64) (show func(rangeJSON), finish func()) {
	name, _ := json.Marshal(path) // a string always can be
	fmt.Fprintf(w, `{"file":%s,"size":%d,"ranges":[`, name, total)
	separator := ""
	return func(r rangeJSON) {
			fmt.Fprintf(w, `%s{"offset":%d,"length":%d,"data":%t}`, separator, r.Offset, r.Length, r.Data)
			separator = ","
		}, func() {
			fmt.Fprintln(w, "]}")
		}
}
