package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"failback/cmd/internal/settings"
	"failback/replication"
	"failback/replication/backup"
	"failback/replication/jobs"
	"failback/replication/mastertarget"
	"failback/transport"
)

func (t *tool) backupCommand() *cobra.Command {
	var state string
	c := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write what the master target knows of its groups into one file",
		Long: `Writes the state of the master target into FILE, which must not exist: groups with their plans and generations, what was measured of them, names of process servers and the keys that
they belong to, limits of the link, and jobs. failback restore makes a state directory of it.

Points and disks are not in it: they are in the journals, on the retention volume. Nor are keys, certificates and tokens; keep those of --pki apart. Commands of plans are in it, with
whatever they say. The master target is asked while it runs; with --state, the state directory of one that does not run is read.`,
		Example: "  failback backup failback-2026-11-27.backup\n  failback backup state.backup --state /var/lib/failback",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return t.backup(c.Context(), args[0], state)
		},
	}
	c.Flags().StringVar(&state, "state", "", "state `DIR` of a master target that does not run, on this machine")
	return c
}

func (t *tool) restoreCommand() *cobra.Command {
	var state string
	var list, off bool
	c := &cobra.Command{
		Use:   "restore FILE --state DIR",
		Short: "Make a master target's state directory of a backup",
		Long: `Makes the state directory DIR, which must have no catalogue yet, of a backup, on the machine where the master target is to run. No master target runs with it meanwhile, and no other restore: both are
refused.

What the backup says of a group is believed only as far as the group's journal does not know better. When the master target is started with DIR and the retention volume, it takes each group
over from its journal, as failback adopt does: with the plan and the points that the journal has, under a generation above any that was used. So what was done after the backup was made is not
lost. A commit that was under way is taken back, and no command of it runs. A group that another master target has taken over, or that was unprotected, after the backup was made stays
out, and status says so. Groups that were protected after it are not in it: failback adopt takes them over.

The master target that was backed up must not run any more. On the same machine, locks tell. Where it was on another machine, make sure that it is off, or cut off from the volume and the
datastore, and say so by --old-host-is-off.`,
		Example: "  failback restore failback-2026-11-27.backup --list\n  failback restore failback-2026-11-27.backup --state /var/lib/failback",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if list == (state != "") {
				return settings.Usage(errors.New("--state or --list: give one of them"))
			}
			return t.restore(args[0], state, off)
		},
	}
	c.Flags().StringVar(&state, "state", "", "state `DIR` to make")
	c.Flags().BoolVar(&list, "list", false, "only tell what is in the backup")
	c.Flags().BoolVar(&off, "old-host-is-off", false, "the machine of the master target that was backed up is off, or can't reach the volume and the disks: you have made sure")
	return c
}

// backupJSON is what is told of a backup.
type backupJSON struct {
	File    string                `json:"file"`
	Made    time.Time             `json:"made"`
	Host    string                `json:"host"`
	Program string                `json:"program,omitempty"`
	Groups  []replication.GroupID `json:"groups"`
	Jobs    int                   `json:"jobs"`
	State   string                `json:"state,omitempty"` // made of it
}

func toldBackup(path string, f backup.File) backupJSON {
	b := backupJSON{File: path, Made: f.Made, Host: f.Host, Program: f.Program, Groups: []replication.GroupID{}, Jobs: len(f.Jobs)}
	for _, id := range slices.Sorted(maps.Keys(f.Records["groups"])) {
		b.Groups = append(b.Groups, replication.GroupID(id))
	}
	return b
}

func (b backupJSON) print(w io.Writer) {
	fmt.Fprintf(w, "%s: of %s, master target on %s, with %s and %s\n", b.File, b.Made.UTC().Format(time.DateTime+" UTC"), b.Host, plural(len(b.Groups), "group"), plural(b.Jobs, "job"))
	for _, id := range b.Groups {
		fmt.Fprintf(w, "  %s\n", id)
	}
}

func (t *tool) backup(ctx context.Context, path, state string) (err error) {
	var text []byte
	if state == "" {
		err = t.with(func(c *transport.OperatorClient) (err error) { text, err = c.Backup(ctx); return err })
	} else {
		text, err = readState(state)
	}
	if err != nil {
		return err
	}
	f, err := backup.Decode(text) // nothing is kept that can't be restored
	if err != nil {
		return fmt.Errorf("the backup can't be used: %w", err)
	}
	if err := writeNew(path, text); err != nil {
		return &replication.Problem{Code: "file", Message: "the backup can't be written", Err: err, Remedy: "name a file that does not exist, where it can be written"}
	}
	return t.print(toldBackup(path, f), toldBackup(path, f).print)
}

// readState is a backup of a master target that does not run.
func readState(state string) ([]byte, error) {
	f, err := mastertarget.ReadBackup(state)
	if err != nil {
		return nil, err
	}
	f.Program = settings.Version().Version
	if f.Jobs, err = jobs.Read(state); err != nil {
		return nil, err
	}
	return backup.Encode(f)
}

// writeNew writes a file that must not exist, durably; no half of it stays.
func writeNew(path string, text []byte) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

func (t *tool) restore(path, state string, oldHostIsOff bool) error {
	f, err := readBackup(path)
	if err != nil {
		return err
	}
	told := toldBackup(path, f)
	if state == "" {
		return t.print(told, told.print)
	}
	if told.State, err = filepath.Abs(state); err != nil {
		return err
	}
	if err := mastertarget.Restore(state, f, oldHostIsOff, func() error { return jobs.Restore(state, f.Jobs) }); err != nil {
		return err
	}
	return t.print(told, func(w io.Writer) {
		told.print(w)
		fmt.Fprintf(w, "%s is made of it. Start the master target with it and the retention volume: it takes each group over from its journal; see failback status\n", told.State)
	})
}

// readBackup reads a file of a bounded size.
func readBackup(path string) (f backup.File, err error) {
	in, err := os.Open(path)
	if err != nil {
		return f, &replication.Problem{Code: "file", Message: "the backup can't be read", Err: err, Remedy: "name a file that failback backup wrote"}
	}
	defer in.Close()
	text, err := io.ReadAll(io.LimitReader(in, backup.Max+1))
	if err == nil {
		f, err = backup.Decode(text)
	}
	if err == nil {
		return f, nil
	}
	p := &replication.Problem{Code: "backup", Message: path, Err: err, Remedy: "restore another backup; or start with an empty state directory, and take each group over from its journal: failback adopt"}
	if errors.Is(err, backup.ErrNewer) {
		p.Remedy = "run the release that wrote it, or a newer one"
	}
	return f, p
}
