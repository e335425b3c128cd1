package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"failback/blockio"
	"failback/cmd/internal/settings"
	"failback/replication"
	"failback/retention"
)

// partialSuffix is what the directory is called in which a disk is made that is not whole yet.
const partialSuffix = ".partial"

// extraction is what journal extract was asked for.
type extraction struct {
	dir    string
	point  replication.PointID
	disk   string
	file   string
	format string
	disks  []string // ID=PATH
	accept bool
}

func (t *tool) journalExtractCommand() *cobra.Command {
	var x extraction
	c := &cobra.Command{
		Use:   "extract DIR POINT DISK FILE",
		Short: "Write a disk as it was at a point to a new file, from the journal and the target disk alone",
		Long: `Writes the content of a disk at a point to FILE, from the journal in DIR and the target disk as it stands. No master target is needed, and must not have the journal open; none
can open it until the extraction is done. Neither the journal nor the target disk is written to. This works after a move that was not finished, too.

DISK is the disk's id, or its name within the machine where only one has it; one that has left the group, too, at a point that has it. The target disk is looked for where it lay, as failback journal list shows; --disk says
where it is now. It must be the very disk, not an older copy: what the journal does not hold is read from it. A disk that another has written to since is refused; where that can't be told, there is a warning.

FILE is a VMDK for ESXi if its name ends in .vmdk, else raw (sparse); --format makes others, as failback disk create does. FILE must not exist. It is made within FILE` + partialSuffix + `, a directory,
and gets its name when it is whole and durable.`,
		Example: `  failback journal extract /mnt/retention/erp 12 erp-db/os os-at-12.vmdk
  failback journal extract /mnt/retention/erp 12 os os-at-12.raw --disk erp-db/os=/mnt/datastore/erp-db/erp-db.vmdk`,
		Args: cobra.ExactArgs(4),
		RunE: func(c *cobra.Command, args []string) (err error) {
			x.dir, x.disk, x.file = args[0], args[2], args[3]
			if x.point, err = pointOf(args[1], 0); err != nil {
				return err
			}
			return t.journalExtract(c.Context(), x)
		},
	}
	c.Flags().StringArrayVar(&x.disks, "disk", nil, "`ID=PATH`: where a target disk is now (default: where it lay)")
	c.Flags().StringVar(&x.format, "format", "", "one of the `FORMAT`s of failback disk create (default: vmfs-thin for .vmdk, else raw)")
	c.Flags().BoolVar(&x.accept, "accept-changed-disk", false, "go on although another has written to the target disk: what the journal does not hold may be of any time")
	return c
}

// committed says whether the disks of a journal were given to their machine, and were not taken back since.
func committed(i *retention.Inspection) bool {
	at := i.Cutover()
	return at != nil && (at.Step == retention.CutoverCommitted || at.Step == retention.CutoverUndoing && at.Untaken)
}

func (t *tool) journalExtract(ctx context.Context, x extraction) error {
	format, err := x.newFormat()
	if err != nil {
		return err
	}
	i, err := retention.InspectAtRest(x.dir)
	if err != nil {
		return journalFailure(x.dir, err)
	}
	defer i.Close()
	disk, err := diskAt(i, x.point, x.disk)
	if err != nil {
		return err
	}
	path, err := x.target(i, disk)
	if err != nil {
		return err
	}
	warn := []string{}
	if !i.Locked() {
		warn = append(warn, "the journal can't be locked here: make sure that no master target has it open")
	}
	target, err := blockio.OpenReader(path)
	if err != nil {
		return diskProblem(path, err)
	}
	defer target.Close()
	more, err := sameDisk(ctx, i, disk, path, target)
	if err != nil && !x.accept {
		return err
	}
	if err != nil {
		warn = append(warn, fmt.Sprintf("accepted: %v; what the journal does not hold may be of any time", err))
	}
	warn = append(warn, more...)
	given := err == nil && (committed(i) || departed(i, disk.No) != nil) // to its machine, which may start at any moment, or to whoever wants it
	if committed(i) {
		if unsure := more[min(len(more), len(target.Description().Notices)):]; given && len(unsure) > 0 && !x.accept {
			return &replication.Problem{Code: replication.CodeCommitted, Message: fmt.Sprintf("the disks were given to their machine, and it can't be told whether it has written to %s: %s", path, strings.Join(unsure, "; ")),
				Remedy: "if it was never started, --accept-changed-disk reads it nevertheless"}
		}
		warn = append(warn, "the disks were given to their machine (failback commit): it must not be started meanwhile")
		i.TakeForOurs()
	}
	for _, w := range warn {
		if !t.json {
			fmt.Fprintf(t.err, "WARNING: %s\n", w)
		}
	}
	r, err := i.Reader(x.point, disk.No, target)
	if err != nil {
		return journalFailure(x.dir, err)
	}
	defer r.Close()
	files, err := t.makeDisk(ctx, x.file, format, pointDisk{r}, string(disk.ID), func() error {
		if changed, err := i.Changed(); err != nil || changed {
			return errors.Join(retention.ErrLocked, err)
		}
		if given {
			now, err := blockio.OpenReader(path)
			if err != nil {
				return diskProblem(path, err)
			}
			later, err := sameDisk(ctx, i, disk, path, now)
			if err == nil && len(later) != len(more) {
				err = &replication.Problem{Code: "target-changed", Message: fmt.Sprintf("%s was not left alone while it was read: %s", path, strings.Join(later, "; ")), Remedy: "see that the machine is off, and try again"}
			}
			return errors.Join(err, now.Close())
		}
		return nil
	})
	if ctx.Err() != nil {
		return interrupted("nothing was left of " + x.file)
	}
	if err != nil {
		return journalFailure(x.dir, err)
	}
	result := struct {
		Directory string              `json:"directory"`
		Group     replication.GroupID `json:"group"`
		Point     replication.PointID `json:"point"`
		Disk      replication.DiskID  `json:"disk"`
		Target    string              `json:"target"` // that was read
		File      string              `json:"file"`
		Format    string              `json:"format"`
		Size      int64               `json:"size"`
		Files     []string            `json:"files"`
		Warnings  []string            `json:"warnings"`
	}{x.dir, i.Identity().Group, x.point, disk.ID, path, x.file, newFormats[format].name, r.Size(), files, warn}
	return t.print(result, func(w io.Writer) {
		fmt.Fprintf(w, "%s: disk %s of group %s at point %d, %s, as a %s disk in %s\n", x.file, disk.ID, result.Group, x.point, size(r.Size()), result.Format, strings.Join(files, ", "))
	})
}

// newFormat returns the place of the format to make among newFormats.
func (x extraction) newFormat() (int, error) {
	name := x.format
	if name == "" && blockio.DefaultFormat(x.file) == blockio.FormatVMFS {
		name = "vmfs-thin"
	} else if name == "" {
		name = "raw"
	}
	for i, f := range newFormats {
		if strings.EqualFold(f.name, name) {
			return i, nil
		}
	}
	return 0, settings.Usage(fmt.Errorf("--format %q is none of %s", name, strings.Join(formatNames(), ", ")))
}

// target returns where a disk is now.
func (x extraction) target(i *retention.Inspection, disk replication.Disk) (path string, err error) {
	if d := departed(i, disk.No); d != nil {
		path = d.Target
	} else {
		path = i.Identity().Targets[disk.No]
	}
	for _, s := range x.disks {
		name, at, ok := strings.Cut(s, "=")
		if !ok || at == "" {
			return "", settings.Usage(fmt.Errorf("--disk %q is not ID=PATH", s))
		}
		d, err := diskAt(i, x.point, name)
		if err != nil {
			return "", err
		}
		if d.No == disk.No {
			path = at
		}
	}
	return path, nil
}

// departed returns what is known of a disk that has left; nil: it has not.
func departed(i *retention.Inspection, disk replication.DiskNo) *retention.Departed {
	for _, d := range i.Departed() {
		if d.Disk.No == disk {
			return &d
		}
	}
	return nil
}

// sameDisk makes sure, as far as can be, that a disk is the one of the journal as our last session left it. It returns what can't be told.
func sameDisk(ctx context.Context, i *retention.Inspection, disk replication.Disk, path string, r blockio.Reader) (warn []string, err error) {
	d := r.Description()
	changed := func(format string, args ...any) error {
		return &replication.Problem{Code: "target-changed", Message: fmt.Sprintf("%s is not disk %s as failback left it: %s", path, disk.ID, fmt.Sprintf(format, args...)),
			Remedy: "find the right one (--disk), or undo what was done to it (a snapshot of the storage?); --accept-changed-disk reads it nevertheless"}
	}
	if r.Size() != disk.Size && r.Size() != i.SizeBefore(disk.No) {
		return nil, &replication.Problem{Code: "target-size", Message: fmt.Sprintf("%s has %d bytes, disk %s has %d", path, r.Size(), disk.ID, disk.Size), Remedy: "name the right disk with --disk"}
	}
	warn = append(warn, d.Notices...)
	if p, err := blockio.Probe(path); err == nil && strings.Contains(p.TargetRefusal, blockio.ErrInUse.Error()) {
		return warn, changed("%s", p.TargetRefusal)
	}
	if len(d.Parents) > 0 {
		return warn, changed("it is a snapshot on %s, so that a machine ran on it", d.Parents[0].Path)
	}
	var known []uint32
	var was blockio.Fingerprint
	if left := departed(i, disk.No); left != nil {
		known, was = left.ContentIDs, blockio.Fingerprint(left.Fingerprint)
	} else {
		known = i.ContentIDs()[disk.No]
		if prints := i.Fingerprints(); int(disk.No) < len(prints) {
			was = blockio.Fingerprint(prints[disk.No])
		}
	}
	switch {
	case d.ContentID == 0:
	case len(known) == 0:
		warn = append(warn, fmt.Sprintf("the journal knows no content id of %s: it can't be told whether another has written to it", path))
	case !slices.Contains(known, d.ContentID):
		return warn, changed("its content id is %08x, ours was %08x", d.ContentID, known[0])
	}
	sampled, ok := r.(interface {
		Fingerprint(context.Context) (blockio.Fingerprint, error)
	})
	if was == "" || !ok {
		if d.ContentID == 0 {
			warn = append(warn, fmt.Sprintf("%s has no content id, and the last session did not end well: it can't be told whether another has written to it since", path))
		}
		return warn, nil
	}
	now, err := sampled.Fingerprint(ctx)
	if err == nil {
		err = was.Check(now)
	}
	switch {
	case errors.Is(err, blockio.ErrChanged) && was.Check(atTime(now, was)) == nil:
		return append(warn, fmt.Sprintf("%s may be a copy: %v", path, err)), nil
	case errors.Is(err, blockio.ErrChanged):
		return warn, changed("%v", err)
	case errors.Is(err, blockio.ErrUnsupported):
		return append(warn, fmt.Sprintf("it can't be told whether another has written to %s: %v", path, err)), nil
	}
	return warn, diskProblem(path, err)
}

// atTime returns a fingerprint with the time of another.
func atTime(f, of blockio.Fingerprint) blockio.Fingerprint {
	content, time := string(f), string(of)
	return blockio.Fingerprint(content[:strings.LastIndex(content, "/")+1] + time[strings.LastIndex(time, "/")+1:])
}

// pointDisk is a disk at a point, to be copied from.
type pointDisk struct{ *retention.Reader }

func (pointDisk) WriteAt([]byte, int64) (int, error) { return 0, blockio.ErrReadOnly }
func (pointDisk) Zero(int64, int64) error            { return blockio.ErrReadOnly }
func (pointDisk) Sync() error                        { return nil }

// copyStep is how much is copied between two reports of progress.
const copyStep = 64 << 20

// makeDisk makes a new disk with the content of another, durably, if it is right in the end, or nothing. It returns its files, of which the named one appears last.
func (t *tool) makeDisk(ctx context.Context, path string, format int, from blockio.Disk, name string, right func() error) (files []string, err error) {
	if _, err := os.Lstat(path); err == nil {
		return nil, exists(path)
	}
	dir := path + partialSuffix
	if err := os.Mkdir(dir, 0o700); errors.Is(err, fs.ErrExist) {
		return nil, &replication.Problem{Code: "file-exists", Message: fmt.Sprintf("%s is there: an extraction to %s is under way, or one was cut off", dir, path), Remedy: "if none is under way, remove that directory"}
	} else if err != nil {
		return nil, writeProblem(err)
	}
	defer func() {
		if rerr := os.RemoveAll(dir); err == nil && rerr != nil {
			err = writeProblem(rerr)
		}
	}()
	made := filepath.Join(dir, filepath.Base(path))
	if err := newFormats[format].make(made, from.Size()); err != nil {
		return nil, diskProblem(path, err)
	}
	if err := t.copyDisk(ctx, made, from, name); err != nil {
		return nil, err
	}
	if err := right(); err != nil {
		return nil, err
	}
	return publish(made, path)
}

func (t *tool) copyDisk(ctx context.Context, path string, from blockio.Disk, name string) (err error) {
	to, err := blockio.OpenTarget(path, blockio.TargetOptions{})
	if err != nil {
		return diskProblem(path, err)
	}
	defer func() {
		if cerr := to.Close(); err == nil {
			err = diskProblem(path, cerr)
		}
	}()
	if err := to.SetContentID(blockio.NewContentID()); err != nil {
		return diskProblem(path, err)
	}
	shown := t.progress()
	defer shown.close()
	for off := int64(0); off < from.Size(); off += copyStep {
		n := min(copyStep, from.Size()-off)
		if err := blockio.Copy(ctx, to, off, from, off, n); err != nil {
			if errors.Is(err, retention.ErrCorrupt) {
				return err
			}
			return writeProblem(err)
		}
		shown.show([]gauge{{name: name, done: off + n, total: from.Size()}})
	}
	return diskProblem(path, to.Sync())
}

// publish gives the files of a disk that was made in a directory of its own their names beside it, the disk's own last: it makes a disk of the others. Nothing is written over.
func publish(made, path string) (files []string, err error) {
	entries, err := os.ReadDir(filepath.Dir(made))
	if err != nil {
		return nil, writeProblem(err)
	}
	defer func() {
		if err != nil {
			for _, f := range files {
				os.Remove(f)
			}
			files = nil
		}
	}()
	var names []string
	for _, e := range entries {
		if e.Name() != filepath.Base(made) {
			names = append(names, e.Name())
		}
	}
	for _, n := range append(names, filepath.Base(made)) {
		to := filepath.Join(filepath.Dir(path), n)
		if err := renameNew(filepath.Join(filepath.Dir(made), n), to); err != nil {
			return files, err
		}
		files = append(files, to)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return files, writeProblem(err)
	}
	serr := dir.Sync()
	dir.Close()
	if serr != nil && !errors.Is(serr, errors.ErrUnsupported) && !errors.Is(serr, syscall.EINVAL) {
		return files, writeProblem(serr)
	}
	return files, nil
}

// renameNew renames a file to a name that must not exist.
func renameNew(from, to string) error {
	err := os.Link(from, to)
	if err == nil {
		return writeError(os.Remove(from))
	}
	if _, serr := os.Lstat(to); errors.Is(err, fs.ErrExist) || serr == nil {
		return exists(to)
	}
	if err := os.Rename(from, to); err != nil { // a file system without links
		return writeProblem(err)
	}
	return nil
}
