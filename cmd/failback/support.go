package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"time"

	"github.com/spf13/cobra"

	"failback/cmd/internal/settings"
	"failback/replication"
	"failback/transport"
)

func (t *tool) supportCommand() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:   "support GROUP",
		Short: "Write one archive for whoever helps from afar: state, events, metrics, profiles, versions",
		Long: `Writes a .tar.gz of what the master target knows of a group and of itself: status, plan, points, events, volumes, limits, metrics, profiles of memory and goroutines, versions.

There are no secrets in it, and no content of disks: no keys, no certificates, no tokens, and commands of the plan or of a commit are left out, also where messages tell of them. Names of machines, disks, paths and addresses are in it:
look into it before you give it away.`,
		Example: "  failback support erp\n  failback support erp --out /tmp/erp.tar.gz",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			group, err := groupOf(args[0])
			if err != nil {
				return err
			}
			if out == "" {
				out = fmt.Sprintf("failback-support-%s-%s.tar.gz", group, time.Now().UTC().Format("20060102T150405Z"))
			}
			return t.support(c.Context(), group, out)
		},
	}
	c.Flags().StringVarP(&out, "out", "o", "", "`FILE` to write (default: failback-support-GROUP-TIME.tar.gz here); it must not exist")
	return c
}

func (t *tool) support(ctx context.Context, group replication.GroupID, out string) error {
	return t.with(func(c *transport.OperatorClient) (err error) {
		f, err := os.OpenFile(out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return &replication.Problem{Code: "file", Message: "the archive can't be made", Err: err, Remedy: "name a file that does not exist, where it can be written, by --out"}
		}
		defer func() {
			if err = errors.Join(err, f.Close()); err != nil { // no half of one stays
				os.Remove(out)
			}
		}()
		zip := gzip.NewWriter(f)
		archive := tar.NewWriter(zip)
		names := []string{}
		now := time.Now()
		put := func(name string, content []byte) error {
			name = path.Clean("/" + name)[1:] // whoever unpacks it is not surprised
			names = append(names, name)
			err := archive.WriteHeader(&tar.Header{Name: "failback-support/" + name, Mode: 0o600, Size: int64(len(content)), ModTime: now})
			if err == nil {
				_, err = archive.Write(content)
			}
			return err
		}
		if err := c.Support(ctx, group, put); err != nil {
			return err
		}
		tool, err := json.MarshalIndent(settings.Version(), "", "  ")
		if err == nil {
			err = put("failback.json", append(tool, '\n'))
		}
		if err = errors.Join(err, archive.Close(), zip.Close(), f.Sync()); err != nil {
			return fmt.Errorf("write %s: %w", out, err)
		}
		return t.print(map[string]any{"file": out, "files": names}, func(w io.Writer) {
			fmt.Fprintf(w, "%s: %s. It has no secrets and no content of disks, but names, paths and addresses: look into it before you give it away.\n", out, plural(len(names), "file"))
		})
	})
}
