package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"failback/cmd/internal/settings"
	"failback/replication"
	"failback/retention"
)

func (t *tool) journalCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "journal",
		Short: "Look at, check and read a group's journal on this machine, when all else is gone",
		Long: `Works on a group's journal by its directory on the retention volume (such as /mnt/retention/erp), without a master target. Nothing is ever written to the journal or to the
disks: the volume and the datastore may be mounted read-only.

  failback journal list DIR                                whose it is, its points and files, and where the disks stand
  failback journal check DIR                               reads every byte; exit code 1 with file and offset of all damage
  failback journal extract DIR 12 erp-db/os os.vmdk        the disk as it was at point 12, as a new VMDK or raw file
  failback journal dump DIR                                records and files, for people who debug

All but extract work beside a master target that has the journal open; they show it as of the end of its log then.`,
		Args: cobra.ArbitraryArgs,
		RunE: t.needsCommand,
	}
	c.PersistentPreRunE = func(c *cobra.Command, _ []string) error {
		t.local = true
		return t.settle(c)
	}
	c.AddCommand(t.journalListCommand(), t.journalCheckCommand(), t.journalExtractCommand(), t.journalDumpCommand())
	return c
}

// journalFailure tells an error of a journal in the operator's words.
func journalFailure(dir string, err error) error {
	if err == nil {
		return nil
	}
	var said *replication.Problem
	if errors.As(err, &said) {
		return err
	}
	p := &replication.Problem{Code: "journal", Message: "journal " + dir, Err: err, Remedy: "see that the retention volume is mounted, and that this user may read it (its files belong to who runs master-target)"}
	switch {
	case errors.Is(err, retention.ErrLocked):
		p.Code, p.Remedy = "journal-in-use", "a master target has it open: failback export reads points there; or stop the master target first"
	case errors.Is(err, retention.ErrNotJournal):
		p.Code, p.Remedy = "not-a-journal", "name the directory of one group, below the retention volume: it has a file called log"
	case errors.Is(err, retention.ErrNewer):
		p.Code, p.Remedy = "journal-newer", "use a failback that is as new as the one that wrote it"
	case errors.Is(err, retention.ErrCorrupt):
		p.Code, p.Remedy = "journal-corrupt", "failback journal check lists all damage, and the points that can still be read"
	case errors.Is(err, retention.ErrUnborn):
		p.Code, p.Remedy = "disk-unborn", "choose a point from its first one on; failback journal list tells when each disk joined"
	case errors.Is(err, retention.ErrLeft):
		p.Code, p.Remedy = "disk-left", "choose a point that has it; failback journal list tells after which one each disk left"
	case errors.Is(err, retention.ErrNoPoint):
		p.Code, p.Remedy = "no-such-point", "failback journal list shows the points that there are"
	case errors.Is(err, retention.ErrNotAtPoint):
		p.Code, p.Remedy = "not-at-point", "the first baseline was not complete: there is no point to read, and the target disks hold a mixture"
	case errors.Is(err, fs.ErrNotExist):
		p.Code = "journal-missing"
	}
	return p
}

// findingJSON is a place of a journal that is not as it should be.
type findingJSON struct {
	File   string     `json:"file"`
	Offset int64      `json:"offset"`
	Length int64      `json:"length"` // bytes that it may extend over; 0: not known
	What   string     `json:"what"`
	Damage bool       `json:"damage"` // false: a crash leaves such things, and nothing is lost
	Fatal  bool       `json:"fatal"`  // of the log: a master target would not open the journal; of another file: nothing of it can be read
	Needs  []needJSON `json:"needs"`
}

// needJSON says which points need a damaged part for a disk.
type needJSON struct {
	Disk   replication.DiskID    `json:"disk"`
	Points []replication.PointID `json:"points"`
	Bytes  int64                 `json:"bytes"` // of the disk; 0: not known
	Spare  int64                 `json:"spare"` // of these: what the disks hold as well
}

func findingsOf(disks []replication.Disk, found []retention.Finding) []findingJSON {
	out := []findingJSON{}
	for _, f := range found {
		j := findingJSON{File: f.File, Offset: f.Off, Length: f.Len, What: strings.TrimPrefix(f.What, "bad format: "), Damage: f.Damage, Fatal: f.Fatal, Needs: []needJSON{}}
		for _, n := range f.Needs {
			j.Needs = append(j.Needs, needJSON{disks[n.Disk].ID, n.Points, n.Bytes, n.Spare})
		}
		out = append(out, j)
	}
	return out
}

// printDamages writes findings for people: what is damage first.
func printDamages(w io.Writer, found []findingJSON) {
	for _, damage := range []bool{true, false} {
		for _, f := range found {
			if f.Damage != damage {
				continue
			}
			word := "note"
			if damage {
				word = "DAMAGE"
			}
			fmt.Fprintf(w, "%-6s  %s at offset %d", word, f.File, f.Offset)
			if f.Length > 0 {
				fmt.Fprintf(w, " (%d bytes)", f.Length)
			}
			fmt.Fprintf(w, ": %s\n", f.What)
			printNeeds(w, f)
		}
	}
}

func printNeeds(w io.Writer, f findingJSON) {
	if f.Damage && f.Fatal && len(f.Needs) == 0 {
		fmt.Fprintln(w, "        a master target would not open the journal")
	}
	for _, n := range f.Needs {
		fmt.Fprintf(w, "        %s of disk %s", pointRanges(n.Points), n.Disk)
		switch {
		case n.Bytes == 0:
			fmt.Fprint(w, " may need it")
		case n.Spare > 0:
			fmt.Fprintf(w, ": %s, of which the disk itself holds %s as well", size(n.Bytes), size(n.Spare))
		default:
			fmt.Fprintf(w, ": %s", size(n.Bytes))
		}
		fmt.Fprintln(w)
	}
}

// pointRanges writes points as "point 3" or "points 3-7, 9", neighbours by number together.
func pointRanges(points []replication.PointID) string {
	var parts []string
	for i := 0; i < len(points); {
		k := i
		for k+1 < len(points) && points[k+1] == points[k]+1 {
			k++
		}
		if k > i {
			parts = append(parts, fmt.Sprintf("%d-%d", points[i], points[k]))
		} else {
			parts = append(parts, fmt.Sprint(points[i]))
		}
		i = k + 1
	}
	if len(points) == 1 {
		return "point " + parts[0]
	}
	return "points " + strings.Join(parts, ", ")
}

// diskAt finds a disk by its name among those that a point has, disks that have left included; else among all, whose reader says why the point does not have it.
func diskAt(i *retention.Inspection, point replication.PointID, name string) (replication.Disk, error) {
	var there []replication.Disk
	births := i.Births()
	for n, d := range i.Identity().Disks {
		if births[n] <= point {
			there = append(there, d)
		}
	}
	for _, d := range i.Departed() {
		if d.At(point) {
			there = append(there, d.Disk)
		}
	}
	group := i.Identity().Group
	if d, err := diskOf(group, there, name); err == nil {
		return d, nil
	}
	return diskOf(group, i.AllDisks(), name)
}

// diskOf finds a disk of a group by its id, or by its name within the machine where only one has it.
func diskOf(group replication.GroupID, disks []replication.Disk, name string) (replication.Disk, error) {
	var found []replication.Disk
	var names []string
	for _, d := range disks {
		names = append(names, string(d.ID))
		if string(d.ID) == name {
			return d, nil
		}
		if _, short, ok := strings.Cut(string(d.ID), "/"); ok && short == name {
			found = append(found, d)
		}
	}
	slices.Sort(names)
	if len(found) != 1 {
		return replication.Disk{}, settings.Usage(fmt.Errorf("DISK: %q is not one disk of group %s, which has %s", name, group, strings.Join(slices.Compact(names), ", ")))
	}
	return found[0], nil
}
