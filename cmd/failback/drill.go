package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"failback/cmd/internal/settings"
	"failback/replication"
	"failback/transport"
)

// drillFlags are what drill takes besides its arguments.
type drillFlags struct {
	replication.DrillRequest
	size   byteCount
	end    string
	force  bool
	record string
	note   string
}

func (t *tool) drillCommand() *cobra.Command {
	var f drillFlags
	c := &cobra.Command{
		Use:   "drill GROUP POINT MOUNTPOINT | drill --end MOUNTPOINT | drill --record passed|failed GROUP POINT",
		Short: "Mount the disks of a point as files and try them, while replication goes on",
		Long: `Mounts the disks of a point as raw files (MACHINE-DISK.raw) in a directory of the master target's machine: to look into them by a loop
device, boot them in a virtual machine, check them. The disks themselves don't move, and replication goes on.

The files are read-only. With --writable they can be written: what is written goes to a scratch file that is thrown away at the end; it
takes at most --scratch-size, and who writes more gets "no space left".

The drill goes on until ^C (or the end of this command), until --for is over, or until failback drill --end, which works from another
terminal, and for drills started with --detach. Who still uses the files then gets I/O errors; --end alone is refused while they
are in use, unless --force. The point is not dropped by policy meanwhile. Disks that joined after the point or left before it are not
there, nor is one that has left since and whose target was written to: the drill says so.

Afterwards, record what it came to: failback points shows it.`,
		Example: `  failback drill erp 12 /mnt/drill --for 2h --detach
  mount -o loop,ro,noload /mnt/drill/web-data.raw /mnt/look        # noload: an ext4 that was cut has a journal to replay
  failback drill --end /mnt/drill
  failback drill --record passed erp 12 --note "boots, orders of 14:00 are there"

  failback drill erp 12 /mnt/drill --writable --scratch-size 20G   # until ^C
  qemu-system-x86_64 -m 4G -drive file=/mnt/drill/erp-db-os.raw,format=raw,if=virtio,discard=unmap -nic none`,
		Args: func(c *cobra.Command, args []string) error {
			want := 3
			switch {
			case f.end != "" && f.record != "":
				return errors.New("--end and --record are two commands: give one of them")
			case f.end != "":
				want = 0
			case f.record != "":
				want = 2
			}
			return cobra.ExactArgs(want)(c, args)
		},
		RunE: func(c *cobra.Command, args []string) error { return t.drill(c, args, f) },
	}
	flags := c.Flags()
	flags.BoolVar(&f.Writable, "writable", false, "let the files be written; what is written is thrown away")
	flags.StringVar(&f.Scratch, "scratch", "", "`DIR` of the scratch file on the master target's machine (default: its state directory)")
	flags.Var(&f.size, "scratch-size", "how much may be written (default: 16G, or half of what is free there, if that is less)")
	flags.DurationVar(&f.For, "for", 0, "end it after this `TIME`, such as 2h or 30m")
	flags.BoolVar(&f.Detach, "detach", false, "return when it is mounted; it goes on until --for is over, --end, or the master target's end")
	flags.StringVar(&f.end, "end", "", "end the drill that is mounted at `MOUNTPOINT`")
	flags.BoolVar(&f.force, "force", false, "with --end: end it though it is in use")
	flags.StringVar(&f.record, "record", "", "record what a drill of the point came to: `OUTCOME` passed or failed")
	flags.StringVar(&f.note, "note", "", "with --record: `TEXT` of one line")
	return c
}

// belongs says which flags go with what drill is asked for.
func (f *drillFlags) belongs(c *cobra.Command) error {
	with := map[string]string{"force": "end", "note": "record", "scratch": "writable", "scratch-size": "writable"}
	for _, name := range []string{"writable", "scratch", "scratch-size", "for", "detach", "force", "note"} {
		if !c.Flags().Changed(name) {
			continue
		}
		if other := with[name]; other != "" && !c.Flags().Changed(other) {
			return settings.Usage(fmt.Errorf("--%s goes with --%s", name, other))
		}
		if (f.end != "" || f.record != "") && name != "force" && name != "note" {
			return settings.Usage(fmt.Errorf("--%s is for the start of a drill", name))
		}
	}
	if c.Flags().Changed("for") && f.For <= 0 {
		return settings.Usage(fmt.Errorf("--for %s: give a time above zero", f.For))
	}
	if c.Flags().Changed("scratch-size") && f.size <= 0 {
		return settings.Usage(errors.New("--scratch-size: give more than zero"))
	}
	return nil
}

func (t *tool) drill(c *cobra.Command, args []string, f drillFlags) (err error) {
	if err := f.belongs(c); err != nil {
		return err
	}
	f.ScratchSize = int64(f.size)
	if f.end != "" {
		if f.end, err = t.there(f.end); err != nil {
			return err
		}
		return t.endDrill(c.Context(), f.end, f.force)
	}
	group, err := groupOf(args[0])
	if err != nil {
		return err
	}
	if f.Point, err = t.point(c.Context(), args[0], args[1], 0); err != nil {
		return err
	}
	if f.record != "" {
		return t.recordDrill(c.Context(), group, f.Point, replication.DrillOutcome(f.record), f.note)
	}
	if f.Mountpoint, err = t.there(args[2]); err == nil && f.Scratch != "" {
		f.Scratch, err = t.there(f.Scratch)
	}
	if err != nil {
		return err
	}
	return t.startDrill(c.Context(), group, f.DrillRequest)
}

// there returns a path of the master target's machine: that is this one if it is reached by its socket.
func (t *tool) there(path string) (string, error) {
	if filepath.IsAbs(path) {
		return path, nil
	}
	if strings.HasPrefix(t.operator, "unix:") {
		return filepath.Abs(path)
	}
	return "", settings.Usage(fmt.Errorf("%q: give the whole path, as it is on the master target's machine", path))
}

// drillJSON is a drill as drill --json has it.
type drillJSON struct {
	Group replication.GroupID `json:"group"`
	replication.DrillStatus
}

// endPatience is how long the end of a drill may take when this tool is interrupted.
const endPatience = 30 * time.Second

// startDrill mounts, and holds the call. An interrupt is the drill's good end.
func (t *tool) startDrill(ctx context.Context, group replication.GroupID, r replication.DrillRequest) error {
	return t.with(func(c *transport.OperatorClient) error {
		holding, let := context.WithCancel(context.WithoutCancel(ctx))
		defer let()
		early := context.AfterFunc(ctx, let) // before it is mounted there is nothing to end
		defer early()
		var shown error
		why, err := c.Drill(holding, group, r, func(d replication.DrillStatus) {
			if !early() {
				return
			}
			shown = t.print(drillJSON{group, d}, func(w io.Writer) { printDrill(w, group, d, r.Detach) })
			if !r.Detach {
				context.AfterFunc(ctx, func() { t.interruptDrill(c, d.Mountpoint, let) })
			}
		})
		if err == nil && why != "" && !t.json {
			fmt.Fprintf(t.err, "the drill has ended: %s\n", why)
		}
		return errors.Join(err, shown)
	})
}

// interruptDrill ends a drill, so that the call which holds it returns when nothing is mounted any more.
func (t *tool) interruptDrill(c *transport.OperatorClient, mountpoint string, let func()) {
	ctx, cancel := context.WithTimeout(context.Background(), endPatience)
	defer cancel()
	if _, _, err := c.EndDrill(ctx, mountpoint, true); err != nil {
		let() // the call's end ends it too
	}
}

func printDrill(w io.Writer, group replication.GroupID, d replication.DrillStatus, detached bool) {
	fmt.Fprintf(w, "group %s: the disks of point %d are mounted at %s", group, d.Point, d.Mountpoint)
	if d.Writable {
		fmt.Fprintf(w, ", writable: up to %s, thrown away at the end\n", size(d.Scratch.Limit))
	} else {
		fmt.Fprintln(w, ", read-only")
	}
	for _, f := range d.Files {
		fmt.Fprintf(w, "  %s  %s  %s\n", f.Path, f.Disk, size(f.Size))
	}
	printWithout(w, d)
	until := ""
	if !d.Until.IsZero() {
		until = "at " + clock(d.Until) + ", or "
	}
	if detached {
		fmt.Fprintf(w, "It ends %swith failback drill --end %s\n", until, d.Mountpoint)
	} else {
		fmt.Fprintf(w, "It ends %swith ^C\n", until)
	}
}

func (t *tool) endDrill(ctx context.Context, mountpoint string, force bool) error {
	return t.with(func(c *transport.OperatorClient) error {
		group, d, err := c.EndDrill(ctx, mountpoint, force)
		if err != nil {
			return err
		}
		return t.print(drillJSON{group, d}, func(w io.Writer) {
			fmt.Fprintf(w, "group %s: the drill of point %d at %s has ended\n", group, d.Point, d.Mountpoint)
			if d.Errors > 0 {
				fmt.Fprintf(w, "%s in it, the last one: %s\n", plural(int(d.Errors), "I/O error"), d.LastError)
			}
			fmt.Fprintf(w, "Record what it came to: failback drill --record passed %s %d\n", group, d.Point)
		})
	})
}

func (t *tool) recordDrill(ctx context.Context, group replication.GroupID, point replication.PointID, outcome replication.DrillOutcome, note string) error {
	if err := (replication.Drilled{Outcome: outcome, Note: note}).Check(); err != nil {
		return settings.Usage(err)
	}
	return t.with(func(c *transport.OperatorClient) error {
		d, err := c.RecordDrill(ctx, group, point, outcome, note)
		if err != nil {
			return err
		}
		result := struct {
			Group replication.GroupID `json:"group"`
			Point replication.PointID `json:"point"`
			replication.Drilled
		}{group, point, d}
		return t.print(result, func(w io.Writer) {
			fmt.Fprintf(w, "group %s: recorded on point %d: drill %s\n", group, point, d.Outcome)
		})
	})
}

// printWithout tells of the disks that a drill lacks.
func printWithout(w io.Writer, d replication.DrillStatus) {
	for _, u := range d.Without {
		if u.Left > 0 {
			fmt.Fprintf(w, "    without disk %s, which left after point %d\n", u.Disk, u.Left)
		} else if u.Joined == 0 {
			fmt.Fprintf(w, "    without disk %s, which no point has yet\n", u.Disk)
		} else {
			fmt.Fprintf(w, "    without disk %s, which joined at point %d\n", u.Disk, u.Joined)
		}
	}
}

// printDrills tells of the drills in a group's status.
func printDrills(w io.Writer, g replication.GroupStatus, now time.Time) {
	for _, d := range g.Drills {
		fmt.Fprintf(w, "  Drill of point %d at %s for %s", d.Point, d.Mountpoint, age(max(0, now.Sub(d.Since))))
		if !d.Until.IsZero() {
			fmt.Fprintf(w, ", ends in %s", age(max(0, d.Until.Sub(now))))
		}
		if d.Writable {
			fmt.Fprintf(w, ", written %s of %s", size(d.Scratch.Used), size(d.Scratch.Limit))
		}
		fmt.Fprintln(w)
		printWithout(w, d)
		if d.Errors > 0 {
			fmt.Fprintf(w, "    %s, the last one: %s\n", plural(int(d.Errors), "I/O error"), d.LastError)
		}
	}
}
