package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"failback/blockio"
)

func (t *tool) diskInfoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "info FILE",
		Short: "Tell what a disk is, and whether it may be written",
		Long: `Tells a disk's format, size, identity and files, what should be known about it, and whether it may be written (be the target of replication) and
if not, why. It only reads, and holds no lock.

The content id changes whenever a disk is written after it was opened: two disks with the same one have the same content. Raw files and devices have none.

Of a snapshot it lists the disks that it was made on, the nearest first, and whether each still has the content id that was noted then. If one has not, the snapshot can't be read.`,
		Example: "  failback disk info /vmfs/nfs1/erp-db/erp-db.vmdk\n  failback disk info /dev/sdb --json",
		Args:    cobra.ExactArgs(1),
		RunE:    func(_ *cobra.Command, args []string) error { return t.diskInfo(args[0]) },
	}
}

// diskJSON is a disk as --json tells it.
type diskJSON struct {
	File      string         `json:"file"`
	Format    blockio.Format `json:"format"`
	Size      int64          `json:"size"`
	Thin      bool           `json:"thin"`
	UUID      string         `json:"uuid"`       // as ddb.uuid is written; "" where there is none
	ContentID string         `json:"content_id"` // 8 digits; "" where there is none
	Device    uint64         `json:"device"`
	Inode     uint64         `json:"inode"`
	Extents   []string       `json:"extents"`
	Parents   []parentJSON   `json:"parents"` // below a snapshot, the nearest first
	Notices   []string       `json:"notices"`
	Target    bool           `json:"target"` // it may be written
	Refusal   string         `json:"refusal"`
}

// parentJSON is a disk below a snapshot.
type parentJSON struct {
	File           string         `json:"file"`
	Format         blockio.Format `json:"format"`           // "" where it can't be told
	ContentID      string         `json:"content_id"`       // as it is now; "" where it can't be told
	ContentIDNoted string         `json:"content_id_noted"` // when the disk above it was made
	Sound          bool           `json:"sound"`            // it is what the disk above it was made on
	Wrong          string         `json:"wrong"`            // why not
}

func describe(path string) (diskJSON, error) {
	d, err := blockio.Probe(path)
	if err != nil {
		return diskJSON{}, diskProblem(path, err)
	}
	j := diskJSON{File: path, Format: d.Format, Size: d.Size, Thin: d.Thin, UUID: d.UUID, Device: d.Device, Inode: d.Inode,
		Extents: append([]string{}, d.Extents...), Parents: []parentJSON{}, Notices: append([]string{}, d.Notices...), Target: d.TargetRefusal == "", Refusal: d.TargetRefusal}
	j.ContentID = contentID(d.ContentID)
	for _, p := range d.Parents {
		j.Parents = append(j.Parents, parentJSON{p.Path, p.Format, contentID(p.ContentID), contentID(p.Noted), p.Wrong == "", p.Wrong})
	}
	return j, nil
}

// contentID is "" for none.
func contentID(id uint32) string {
	if id == 0 {
		return ""
	}
	return fmt.Sprintf("%08x", id)
}

// say is a line for people.
func (p parentJSON) say() string {
	if p.Sound {
		return fmt.Sprintf("%s (%s), content id %s, as it was then", p.File, p.Format, p.ContentID)
	}
	return fmt.Sprintf("%s: not what this was made on: %s", p.File, p.Wrong)
}

func (t *tool) diskInfo(path string) error {
	d, err := describe(path)
	if err != nil {
		return err
	}
	return t.print(d, func(w io.Writer) {
		provisioning := "thick"
		if d.Thin {
			provisioning = "thin"
		}
		rows := [][]string{
			{"file", d.File},
			{"format", fmt.Sprintf("%s, %s", d.Format, provisioning)},
			{"size", fmt.Sprintf("%s (%d bytes)", size(d.Size), d.Size)},
			{"uuid", d.UUID},
			{"content id", d.ContentID},
		}
		for i, e := range d.Extents {
			if i == maxExtentsShown {
				rows = append(rows, []string{"", fmt.Sprintf("and %d more; --json lists all", len(d.Extents)-i)})
				break
			}
			rows = append(rows, []string{"data in", e})
		}
		for _, p := range d.Parents {
			rows = append(rows, []string{"made on", p.say()})
		}
		for _, n := range d.Notices {
			rows = append(rows, []string{"note", n})
		}
		if d.Target {
			rows = append(rows, []string{"target", "yes: it may be written"})
		} else {
			rows = append(rows, []string{"target", "no: " + d.Refusal})
		}
		table(w, rows)
	})
}

// maxExtentsShown keeps what people read to a screen.
const maxExtentsShown = 20
