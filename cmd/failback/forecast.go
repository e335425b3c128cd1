package main

import (
	"context"
	"fmt"
	"io"

	"failback/replication"
	"failback/transport"
)

// forecast tells what a commit would take.
func (t *tool) forecast(ctx context.Context, name string, r replication.CommitRequest) error {
	group, err := groupOf(name)
	if err != nil {
		return err
	}
	return t.with(func(c *transport.OperatorClient) error {
		f, err := c.Forecast(ctx, group, r)
		if err != nil {
			return err
		}
		result := struct {
			Group replication.GroupID `json:"group"`
			replication.Forecast
		}{group, f}
		return t.print(result, func(w io.Writer) { printForecast(w, group, f) })
	})
}

func printForecast(w io.Writer, group replication.GroupID, f replication.Forecast) {
	fmt.Fprintf(w, "group %s, if it were committed now: its machine would be down for about %s", group, age(f.Down))
	if f.Ahead > 0 {
		fmt.Fprintf(w, ", after %s of preparing while it runs", age(f.Ahead))
	}
	fmt.Fprintf(w, "\nits disks would stand at point %d, of %s; %s to go over the link while it is down\n\n", f.Point, clock(f.Cut), size(f.Bytes))
	rows := [][]string{{"STEP", "MACHINE", "TAKES", "BYTES", "FROM"}}
	for _, p := range f.Parts {
		machine, bytes := "runs", ""
		if p.Down {
			machine = "down"
		}
		if p.Bytes > 0 {
			bytes = size(p.Bytes)
		}
		rows = append(rows, []string{p.What, machine, age(p.Takes), bytes, p.How})
	}
	table(w, rows)
	for _, d := range f.Doubts {
		fmt.Fprintf(w, "note: %s\n", d)
	}
}
