package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"failback/replication"
	"failback/retention"
)

func (t *tool) journalListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list DIR",
		Short: "Tell whose a journal is, its points and files, and where the disks stand",
		Long: `Tells whose the journal in DIR is, which disks belong to it and where they lay, the point that the disks show (head) or the move that was not finished, the points with
what is known of them, the open cycle, and the files with what they are worth. It reads the log and the indexes, not the content: failback journal check does.

  NEEDED   bytes of the file that a point needs and only it has
  SPARE    what the disks hold as well, as long as they stand at the head
  DEAD     what no point needs any more
  POINTS   the points that are the oldest to need it`,
		Example: "  failback journal list /mnt/retention/erp",
		Args:    cobra.ExactArgs(1),
		RunE:    func(c *cobra.Command, args []string) error { return t.journalList(c.Context(), args[0]) },
	}
}

// journalJSON is a journal as list --json tells it.
type journalJSON struct {
	Directory   string                 `json:"directory"`
	Group       replication.GroupID    `json:"group"`
	Journal     string                 `json:"journal"`
	Created     time.Time              `json:"created"`
	Generation  replication.Generation `json:"generation"`
	Records     uint64                 `json:"records"`
	Running     bool                   `json:"running"` // a master target has it open: this is as of the end mark of its log
	Retired     bool                   `json:"retired"`
	Whole       bool                   `json:"whole"` // the log could be read up to its end
	Head        replication.PointID    `json:"head"`  // means nothing while there are no points
	Unfinished  *moveJSON              `json:"unfinished"`
	Cutover     *retention.Cutover     `json:"cutover"` // null: none
	Disks       []journalDiskJSON      `json:"disks"`
	Points      []replication.Point    `json:"points"`
	Cycle       *cycleJSON             `json:"cycle"`
	Files       []journalFileJSON      `json:"files"`
	UseKnown    bool                   `json:"use_known"` // false: an index is damaged, so that needed, spare and dead are not known
	Total       int64                  `json:"total"`     // bytes of all files in the directory
	Findings    []findingJSON          `json:"findings"`
	Quarantined []retention.Part       `json:"quarantined"` // parts of files that are damaged, and never served
}

type moveJSON struct {
	From replication.PointID `json:"from"`
	To   replication.PointID `json:"to"`
}

type journalDiskJSON struct {
	ID         replication.DiskID  `json:"id"`
	Size       int64               `json:"size"`
	Target     string              `json:"target"`           // where it lay
	ContentIDs []string            `json:"content_ids"`      // that it may carry; empty: it has none
	Joined     replication.PointID `json:"joined,omitempty"` // its first point, of a disk that joined later
	Unborn     bool                `json:"unborn,omitempty"` // it has joined, and no point has it yet
	Left       bool                `json:"left,omitempty"`   // it has left the group
	Last       replication.PointID `json:"last,omitempty"`   // points up to this one have it, of a disk that has left
	Head       replication.PointID `json:"head,omitempty"`   // what its target showed then
}

type cycleJSON struct {
	Point replication.PointID `json:"point"`
	Base  replication.PointID `json:"base"`
	Mode  replication.Mode    `json:"mode"`
	Route replication.Route   `json:"route"`
	Time  time.Time           `json:"time"`
	Files []cycleFileJSON     `json:"files"`
}

type cycleFileJSON struct {
	File   string `json:"file"`
	Size   int64  `json:"size"`
	Sealed bool   `json:"sealed"`
}

type journalFileJSON struct {
	File   string               `json:"file"`
	Size   int64                `json:"size"`
	Needed int64                `json:"needed"`
	Spare  int64                `json:"spare"`
	Dead   int64                `json:"dead"`
	First  *replication.PointID `json:"first"` // null: no point needs it
	Last   *replication.PointID `json:"last"`  // null: nor is it known
}

func (t *tool) journalList(ctx context.Context, dir string) error {
	i, err := retention.Inspect(dir)
	if err != nil {
		return journalFailure(dir, err)
	}
	defer i.Close()
	j, err := describeJournal(ctx, dir, i)
	if err != nil {
		return journalFailure(dir, err)
	}
	err = t.print(j, func(w io.Writer) { printJournal(w, j) })
	if err == nil && !j.Whole {
		err = errQuiet
	}
	return err
}

func describeJournal(ctx context.Context, dir string, i *retention.Inspection) (journalJSON, error) {
	id := i.Identity()
	j := journalJSON{
		Directory: dir, Group: id.Group, Journal: id.UUID, Created: id.Created, Generation: i.Generation(), Records: i.Records(), Running: i.Running(), Retired: i.Retired(), Whole: i.Whole(),
		Head: i.Head(), Disks: []journalDiskJSON{}, Points: append([]replication.Point{}, i.Points()...), Files: []journalFileJSON{}, Findings: findingsOf(i.AllDisks(), i.Findings()),
	}
	j.Cutover = i.Cutover()
	if m := i.Unfinished(); m != nil {
		j.Unfinished = &moveJSON{m.From, m.To}
	}
	ids, births := i.ContentIDs(), i.Births()
	for d, x := range id.Disks {
		one := journalDiskJSON{ID: x.ID, Size: x.Size, Target: id.Targets[d], ContentIDs: []string{}}
		if one.Unborn = births[d] == retention.NoPoint; !one.Unborn {
			one.Joined = births[d]
		}
		one.carries(ids[d])
		j.Disks = append(j.Disks, one)
	}
	for _, d := range i.Departed() {
		one := journalDiskJSON{ID: d.Disk.ID, Size: d.Disk.Size, Target: d.Target, ContentIDs: []string{}, Left: true, Last: d.Last, Head: d.Head}
		if one.Unborn = d.Born == retention.NoPoint; !one.Unborn {
			one.Joined = d.Born
		}
		one.carries(d.ContentIDs)
		j.Disks = append(j.Disks, one)
	}
	if c, files := i.OpenCycle(); c != nil {
		j.Cycle = &cycleJSON{c.Point, c.Base, c.Mode, c.Route, c.Cut.Time, []cycleFileJSON{}}
		for _, f := range files {
			j.Cycle.Files = append(j.Cycle.Files, cycleFileJSON{f.Name, f.Size, f.Sealed})
		}
	}
	damage, err := i.Damage(ctx)
	if err != nil && !errors.Is(err, retention.ErrCorrupt) {
		return j, err
	}
	j.Quarantined = append([]retention.Part{}, damage.Parts...)
	for k := range j.Points {
		for _, p := range damage.Points {
			if p.Point == j.Points[k].ID {
				j.Points[k].Damaged = p.Bytes()
			}
		}
	}
	use, err := i.Use(ctx)
	if j.UseKnown = err == nil; err != nil && !errors.Is(err, retention.ErrCorrupt) {
		return j, err
	}
	for _, f := range use.Files {
		one := journalFileJSON{File: f.Name, Size: f.Size, First: someone(f.First), Last: someone(f.Last)}
		if j.UseKnown {
			one.Needed, one.Spare, one.Dead = f.Size-f.Dead-f.Spare, f.Spare, f.Dead
		}
		j.Files = append(j.Files, one)
	}
	j.Total, err = sizeOf(dir)
	return j, err
}

func (d *journalDiskJSON) carries(ids []uint32) {
	for _, c := range ids {
		if c != 0 {
			d.ContentIDs = append(d.ContentIDs, fmt.Sprintf("%08x", c))
		}
	}
}

// sizeOf adds up the files below a directory. Files that go meanwhile don't count.
func sizeOf(dir string) (n int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		info, err := e.Info()
		if err == nil {
			n += info.Size()
		} else if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return err
	})
	return n, err
}

func printJournal(w io.Writer, j journalJSON) {
	table(w, [][]string{
		{"journal", fmt.Sprintf("%s of group %s, made %s", j.Journal, j.Group, clock(j.Created))},
		{"takes", size(j.Total)},
		{"log", fmt.Sprintf("%s, generation %d", plural(int(j.Records), "record"), j.Generation)},
		{"in use", inUse(j)},
		{"disks", whereDisksStand(j)},
		{"open cycle", openCycleOf(j.Cycle)},
	})
	rows := [][]string{{"DISK", "SIZE", "LAY AT", "CONTENT ID"}}
	late := slices.ContainsFunc(j.Disks, func(d journalDiskJSON) bool { return d.Unborn || d.Left || d.Joined > 0 })
	if late {
		rows[0] = append(rows[0], "JOINED")
	}
	for _, d := range j.Disks {
		content := ""
		if len(d.ContentIDs) > 0 {
			content = d.ContentIDs[0]
		}
		joined := ""
		switch {
		case d.Unborn:
			joined = "no point has it yet"
		case d.Joined > 0:
			joined = fmt.Sprintf("at point %d", d.Joined)
		}
		if d.Left {
			joined = strings.TrimPrefix(fmt.Sprintf("%s; left after point %d, at point %d", joined, d.Last, d.Head), "; ")
		}
		row := []string{string(d.ID), size(d.Size), d.Target, content}
		if late {
			row = append(row, joined)
		}
		rows = append(rows, row)
	}
	fmt.Fprintln(w)
	table(w, rows)
	if len(j.Points) > 0 {
		rows = [][]string{{"POINT", "TIME", "KIND", "CHANGED", "STORED", "NOTES"}}
		for _, p := range j.Points {
			rows = append(rows, []string{strconv.FormatUint(uint64(p.ID), 10), clock(p.Time), string(p.Kind), size(p.Bytes), size(p.Stored), notesOf(p, j.Head)})
		}
		fmt.Fprintln(w)
		table(w, rows)
	}
	if len(j.Files) > 0 {
		fmt.Fprintln(w)
		printFiles(w, j)
	}
	if len(j.Quarantined) > 0 {
		rows = [][]string{{"QUARANTINED", "OFFSET", "LENGTH", "FOUND", "WHAT"}}
		for _, p := range j.Quarantined {
			rows = append(rows, []string{p.File, fmt.Sprint(p.Off), size(p.Len), clock(p.Found), p.What})
		}
		fmt.Fprintln(w)
		table(w, rows)
	}
	if len(j.Findings) > 0 {
		fmt.Fprintln(w)
		printDamages(w, j.Findings)
	}
}

// someone returns nil for no point.
func someone(p replication.PointID) *replication.PointID {
	if p == replication.NoPoint {
		return nil
	}
	return &p
}

func printFiles(w io.Writer, j journalJSON) {
	rows := [][]string{{"FILE", "SIZE", "NEEDED", "SPARE", "DEAD", "POINTS"}}
	for _, f := range j.Files {
		row := []string{f.File, size(f.Size), size(f.Needed), size(f.Spare), size(f.Dead), ""}
		if !j.UseKnown {
			row[2], row[3], row[4] = "?", "?", "?"
		}
		switch {
		case f.First == nil:
		case f.Last == nil || *f.Last == *f.First:
			row[5] = fmt.Sprint(*f.First)
		default:
			row[5] = fmt.Sprintf("%d-%d", *f.First, *f.Last)
		}
		rows = append(rows, row)
	}
	table(w, rows)
}

func inUse(j journalJSON) string {
	switch {
	case !j.Whole:
		return fmt.Sprintf("the log is DAMAGED: what follows is as of its record %d, and not to be relied on", j.Records)
	case j.Running:
		return fmt.Sprintf("a master target has it open: this is as of record %d, the end mark of its log", j.Records)
	case j.Retired:
		return "no: it was retired, as its group was unprotected"
	}
	return "no"
}

func whereDisksStand(j journalJSON) string {
	switch {
	case j.Cutover != nil && j.Cutover.Step == retention.CutoverCommitted:
		return fmt.Sprintf("at point %d when they were given to their machine (failback commit); what it wrote since is not known here", j.Head)
	case j.Unfinished != nil:
		return fmt.Sprintf("within a move from point %d to %d that is not finished; every point can be read nevertheless", j.Unfinished.From, j.Unfinished.To)
	case len(j.Points) == 0:
		return "at no point: the first baseline is not complete"
	}
	return fmt.Sprintf("at point %d", j.Head)
}

func openCycleOf(c *cycleJSON) string {
	if c == nil {
		return "none"
	}
	var sum int64
	unsealed := 0
	for _, f := range c.Files {
		sum += f.Size
		if !f.Sealed {
			unsealed++
		}
	}
	text := fmt.Sprintf("point %d is on its way, after point %d: %s in %s", c.Point, c.Base, size(sum), plural(len(c.Files), "file"))
	if unsealed > 0 {
		text += fmt.Sprintf(", %d not sealed", unsealed)
	}
	return text + "; it can't be read yet"
}
