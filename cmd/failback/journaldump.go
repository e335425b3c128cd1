package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"failback/cmd/internal/settings"
	"failback/retention"
)

func (t *tool) journalDumpCommand() *cobra.Command {
	var records bool
	var file string
	c := &cobra.Command{
		Use:   "dump DIR",
		Short: "Print the records of a journal's log, and what is in its files, for people who debug",
		Long: `Prints the records of the log in DIR, one a line: offset, sequence, kind, payload; then the header and the footer of every file. What is bad is printed as BAD, and what lies behind it too.
With --file, everything in one file: its header, entries, padding, index and footer, each with offset and length. The format is described in retention/doc.go.`,
		Example: "  failback journal dump /mnt/retention/erp --records\n  failback journal dump /mnt/retention/erp --file seg/12-3-7-0-1.seg",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if records && file != "" {
				return settings.Usage(fmt.Errorf("--records and --file NAME are two things to print"))
			}
			return t.journalDump(args[0], records, file)
		},
	}
	c.Flags().BoolVar(&records, "records", false, "only the records of the log")
	c.Flags().StringVar(&file, "file", "", "everything in one file, `NAME`d as failback journal list does")
	return c
}

// dumper writes a journal's parts as they come: there may be more of them than memory.
type dumper struct {
	w    *bufio.Writer
	json bool
	some bool
}

func (t *tool) journalDump(dir string, records bool, file string) error {
	i, err := retention.Inspect(dir)
	if err != nil {
		return journalFailure(dir, err)
	}
	defer i.Close()
	d := &dumper{w: bufio.NewWriterSize(t.out, 64<<10), json: t.json}
	if file != "" && !slices.Contains(i.Names(), file) {
		return settings.Usage(fmt.Errorf("--file %q: the journal has no such file; it has %s", file, strings.Join(i.Names(), ", ")))
	}
	d.begin(`{"records":[`, file == "")
	if file == "" {
		err = i.EachRecord(d.record)
	}
	d.begin(`],"files":[`, file == "" && !records)
	for _, name := range i.Names() {
		if err == nil && file == "" && !records {
			err = d.file(i, name, true)
		}
	}
	d.begin(`{"files":[`, file != "")
	if file != "" {
		err = d.file(i, file, false)
	}
	d.begin("]}\n", true)
	if werr := d.w.Flush(); werr != nil {
		return writeError(werr)
	}
	return journalFailure(dir, err)
}

// begin writes what stands between the parts of the document.
func (d *dumper) begin(text string, when bool) {
	if d.json && when {
		io.WriteString(d.w, text) // the error is kept until Flush
		d.some = false
	}
}

// document writes one element of an array.
func (d *dumper) document(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if d.some {
		d.w.WriteByte(',')
	}
	d.some = true
	_, err = d.w.Write(b)
	return writeError(err)
}

func (d *dumper) record(r retention.LogRecord) error {
	if d.json {
		return d.document(r)
	}
	if r.Bad != "" {
		_, err := fmt.Fprintf(d.w, "%10d  BAD, %d bytes: %s\n", r.Off, r.Len, strings.TrimPrefix(r.Bad, "bad format: "))
		return writeError(err)
	}
	_, err := fmt.Fprintf(d.w, "%10d  %6d  %-15s  %s\n", r.Off, r.Seq, r.Kind, r.Payload)
	return writeError(err)
}

func (d *dumper) file(i *retention.Inspection, name string, headOnly bool) error {
	if !d.json {
		fmt.Fprintf(d.w, "%s\n", name)
	} else {
		if d.some {
			d.w.WriteByte(',')
		}
		quoted, _ := json.Marshal(name) // a string always can be
		fmt.Fprintf(d.w, `{"file":%s,"parts":[`, quoted)
		d.some = false
	}
	err := i.EachPart(name, headOnly, d.part)
	if d.json {
		io.WriteString(d.w, "]}")
		d.some = true
	}
	return err
}

func (d *dumper) part(p retention.FilePart) error {
	if d.json {
		return d.document(p)
	}
	line := fmt.Sprintf("%10d  %8d  %-11s", p.Off, p.Len, p.Kind)
	for _, f := range p.Fields {
		line += fmt.Sprintf(" %s=%s", f.Name, f.Value)
	}
	if p.Bad != "" {
		line += " BAD: " + strings.TrimPrefix(p.Bad, "bad format: ")
	}
	_, err := fmt.Fprintln(d.w, strings.TrimRight(line, " "))
	return writeError(err)
}
