package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"failback/cmd/internal/settings"
	"failback/replication"
	"failback/transport"
)

func (t *tool) exportCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "export GROUP POINT DISK FILE",
		Short: "Write the content of one disk at a point to a file",
		Long: `Writes the raw content of one disk, as it was at a point, to FILE, without moving the disks. DISK is the disk's id, or machine/id where
the id is not the only one in the group; one that has left the group, too, at a point that has it, as long as nobody has written to its target. FILE must not exist; it is made sparse, and removed again if the export does not come to
its end. FILE may be - for standard output, zeros and all.`,
		Example: "  failback export erp 12 erp-db/os os-at-12.raw\n  failback export erp 12 os - | sha256sum",
		Args:    cobra.ExactArgs(4),
		RunE: func(c *cobra.Command, args []string) error {
			group, err := groupOf(args[0])
			if err != nil {
				return err
			}
			point, err := t.point(c.Context(), args[0], args[1], 0)
			if err != nil {
				return err
			}
			if t.json && args[3] == "-" {
				return settings.Usage(errors.New("standard output can't hold both the disk (FILE is -) and the document of --json"))
			}
			return t.export(c.Context(), group, point, args[2], args[3])
		},
	}
}

func (t *tool) export(ctx context.Context, group replication.GroupID, point replication.PointID, disk, path string) error {
	return t.with(func(c *transport.OperatorClient) error {
		if path == "-" {
			return t.exportTo(ctx, c, group, point, disk, func(int64) (sink, error) { return &streamSink{w: t.out}, nil }, nil)
		}
		if _, err := os.Lstat(path); err == nil { // said early; making the file says it again
			return exists(path)
		}
		result := struct {
			Group replication.GroupID `json:"group"`
			Point replication.PointID `json:"point"`
			Disk  string              `json:"disk"`
			File  string              `json:"file"`
			Size  int64               `json:"size"`
			Data  int64               `json:"data"` // bytes that are not zero, in pages
		}{Group: group, Point: point, Disk: disk, File: path}
		err := t.exportTo(ctx, c, group, point, disk, func(size int64) (sink, error) {
			result.Size = size
			return newFileSink(path, size)
		}, &result.Data)
		if err != nil {
			return err
		}
		return t.print(result, func(w io.Writer) {
			fmt.Fprintf(w, "%s: disk %s at point %d, %s, of which %s are not zero\n", path, disk, point, size(result.Size), size(result.Data))
		})
	})
}

// sink takes a disk's content: rising pieces, with zeros between them and to the end.
type sink interface {
	write(off int64, data []byte) error
	finish(size int64) error // makes it whole and durable
	abort()                  // takes it back
}

// exportTo moves a disk's content into the sink that open makes for its size. Data, if not nil, is what was not zero.
func (t *tool) exportTo(ctx context.Context, c *transport.OperatorClient, group replication.GroupID, point replication.PointID, disk string, open func(size int64) (sink, error), total *int64) (err error) {
	content, err := c.Export(ctx, group, point, disk)
	if err != nil {
		return err
	}
	defer content.Close()
	to, err := open(content.Size)
	if err != nil {
		return err
	}
	shown := t.progress()
	defer shown.close()
	for {
		off, data, err := content.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = to.write(off, data)
		}
		if err != nil {
			to.abort()
			return err
		}
		if total != nil {
			*total += int64(len(data))
		}
		shown.show([]gauge{{name: disk, done: off + int64(len(data)), total: content.Size}})
	}
	if err := to.finish(content.Size); err != nil {
		to.abort()
		return err
	}
	shown.show([]gauge{{name: disk, done: content.Size, total: content.Size}})
	return nil
}

func exists(path string) error {
	return &replication.Problem{Code: "file-exists", Message: fmt.Sprintf("%s is there already; it was left alone", path), Remedy: "name a file that does not exist"}
}

// fileSink is a new sparse file.
type fileSink struct{ f *os.File }

func newFileSink(path string, size int64) (sink, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, exists(path)
	}
	if err != nil {
		return nil, writeProblem(err)
	}
	s := &fileSink{f}
	if err := f.Truncate(size); err != nil {
		s.abort()
		return nil, writeProblem(err)
	}
	return s, nil
}

func (s *fileSink) write(off int64, data []byte) error {
	if _, err := s.f.WriteAt(data, off); err != nil {
		return writeProblem(err)
	}
	return nil
}

func (s *fileSink) finish(int64) error {
	if err := errors.Join(s.f.Sync(), s.f.Close()); err != nil {
		return writeProblem(err)
	}
	dir, err := os.Open(filepath.Dir(s.f.Name()))
	if err == nil {
		_ = dir.Sync() // the name; not every file system can
		dir.Close()
	}
	return nil
}

func (s *fileSink) abort() {
	s.f.Close()
	os.Remove(s.f.Name())
}

func writeProblem(err error) error {
	return &replication.Problem{Code: "write", Message: "write the disk's content", Remedy: "see that there is space for it and that this user may write there", Err: err}
}

// zeros are what a stream gets where nothing was sent. Never changed.
var zeros [64 << 10]byte

// streamSink writes every byte, zeros too.
type streamSink struct {
	w   io.Writer
	off int64
}

func (s *streamSink) write(off int64, data []byte) error {
	if err := s.fill(off); err != nil {
		return err
	}
	n, err := s.w.Write(data)
	s.off += int64(n)
	if err != nil {
		return writeProblem(err)
	}
	return nil
}

func (s *streamSink) fill(to int64) error {
	for s.off < to {
		n, err := s.w.Write(zeros[:min(int64(len(zeros)), to-s.off)])
		s.off += int64(n)
		if err != nil {
			return writeProblem(err)
		}
	}
	return nil
}

func (s *streamSink) finish(size int64) error { return s.fill(size) }
func (s *streamSink) abort()                  {}
