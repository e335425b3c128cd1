package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"failback/replication"
	"failback/transport"
)

func (t *tool) volumesCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "volumes",
		Short: "List the master target's volumes, and which can hold journals",
		Long: `Lists every volume that is mounted on the master target's machine, with the verdict on it as a retention volume and the
reason. It is looked at when asked: a new volume shows at once. Small files are written and removed again where nothing
else speaks against a volume, to see that rename and sync work there.

  VERDICT   good: journals may lie there; warned: they may, but read why not; refused: they may not
            in use: the journals lie there now (in use, warned; in use, REFUSED)

The retention volume is named by --retention of master-target (default /mnt/retention). It has a file system of its own, for
nothing but journals: no target, state directory or program on it, nothing mounted below it, not FAT, not a network's.`,
		Example: "  failback volumes",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return t.volumes(c.Context()) },
	}
}

func (t *tool) volumes(ctx context.Context) error {
	return t.with(func(c *transport.OperatorClient) error {
		volumes, err := c.Volumes(ctx)
		if err != nil {
			return err
		}
		result := struct {
			Volumes []replication.Volume `json:"volumes"`
		}{volumes}
		return t.print(result, func(w io.Writer) { printVolumes(w, volumes) })
	})
}

func printVolumes(w io.Writer, volumes []replication.Volume) {
	rows := [][]string{{"VOLUME", "TYPE", "DEVICE", "SIZE", "FREE", "VERDICT"}}
	for _, v := range volumes {
		row := []string{v.Path, v.Type, v.Device, "", "", verdictOf(v)}
		if v.Size > 0 {
			row[3], row[4] = size(v.Size), size(v.Free)
		}
		rows = append(rows, row)
	}
	table(w, rows)
	for _, v := range volumes {
		for _, f := range v.Findings {
			fmt.Fprintf(w, "\n%-8s %s  [%s]\n", f.Severity, f.Message, f.Code)
			if f.Remedy != "" {
				fmt.Fprintf(w, "         What to do: %s\n", f.Remedy)
			}
		}
	}
}

// verdictOf says in a word or two whether journals may lie on a volume.
func verdictOf(v replication.Volume) string {
	warned := v.Usable && len(v.Findings) > 0
	switch {
	case v.Retention && !v.Usable:
		return "in use, REFUSED"
	case v.Retention && warned:
		return "in use, warned"
	case v.Retention:
		return "in use"
	case !v.Usable:
		return "refused"
	case warned:
		return "warned"
	}
	return "good"
}
