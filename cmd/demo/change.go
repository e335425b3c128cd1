package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
)

// change writes to every disk, as machines that go on working do. big adds a file of so many bytes to the largest disk: a change that takes a while to ship.
func (d *demo) change(ctx context.Context, big int64) error {
	d.round++
	for i, one := range d.disks {
		var err error
		n := int64(0)
		if i == d.largest() {
			n = big
		}
		switch {
		case !one.ext4:
			err = d.changeBytes(one, n)
		case d.loop && one.from == "":
			err = d.changeMounted(ctx, one, n)
		default:
			err = d.changeByDebugfs(ctx, one, n)
		}
		if err != nil {
			return fmt.Errorf("change disk %s: %w", one.name(), err)
		}
	}
	return nil
}

func (d *demo) largest() (most int) {
	if len(d.config.disks) == 0 {
		return 1
	}
	for i, one := range d.disks {
		if one.size > d.disks[most].size {
			most = i
		}
	}
	return most
}

// news makes the files that a round writes to a disk, in a directory of this machine's: logs that compress, a table that does not, and the big one.
func (d *demo) news(one *disk, big int64) (dir string, err error) {
	dir = filepath.Join(d.dir, "news")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	r := rand.NewChaCha8([32]byte{byte(d.round), one.id[0], one.machine[0]})
	write := func(name string, n int64, text bool) {
		f, ferr := os.Create(filepath.Join(dir, name))
		if ferr != nil {
			err = ferr
			return
		}
		defer f.Close()
		b := make([]byte, 64<<10)
		for left := n; left > 0 && err == nil; left -= int64(len(b)) {
			if text {
				b = b[:0]
				for len(b) < 60<<10 {
					b = fmt.Appendf(b, "round %d %s: request %016x done in %d ms\n", d.round, one.name(), r.Uint64(), r.Uint64()%1000)
				}
			} else {
				b = b[:min(int64(cap(b)), left)]
				r.Read(b)
			}
			_, err = f.Write(b)
		}
	}
	write("log", 3*mib, true)
	write("table", 2*mib, false)
	for i := range 20 {
		write(fmt.Sprintf("page-%d", i), int64(1+r.Uint64()%30000), i%2 == 0)
	}
	if big > 0 {
		write("big", big, false)
	}
	return dir, err
}

// gone says what a round removes: what the last one but one wrote, and the last big file.
func (d *demo) gone() []string { return []string{fmt.Sprintf("round-%d", d.round-2)} }

// changeMounted writes through the kernel's ext4, by a loop mount.
func (d *demo) changeMounted(ctx context.Context, one *disk, big int64) (err error) {
	news, err := d.news(one, big)
	if err != nil {
		return err
	}
	defer os.RemoveAll(news)
	mnt := filepath.Join(d.dir, "mnt")
	if err := os.MkdirAll(mnt, 0o755); err != nil {
		return err
	}
	if _, err := command(ctx, "mount", "-o", "loop", one.source, mnt); err != nil {
		return err
	}
	d.mounted = mnt
	defer func() {
		if _, uerr := command(context.WithoutCancel(ctx), "umount", mnt); uerr == nil {
			d.mounted = ""
		} else if err == nil {
			err = uerr
		}
	}()
	if big > 0 {
		os.Remove(filepath.Join(mnt, "big"))
	}
	for _, old := range d.gone() {
		if err := os.RemoveAll(filepath.Join(mnt, old)); err != nil {
			return err
		}
	}
	round := filepath.Join(mnt, fmt.Sprintf("round-%d", d.round))
	files, err := os.ReadDir(news)
	if err != nil {
		return err
	}
	for _, f := range files {
		to := filepath.Join(round, f.Name())
		if f.Name() == "big" {
			to = filepath.Join(mnt, "big")
		}
		if err := copyFile(filepath.Join(news, f.Name()), to); err != nil {
			return err
		}
	}
	return nil
}

// changeByDebugfs writes into the file system without the kernel: no root needed. Files of an earlier round are removed one by one.
func (d *demo) changeByDebugfs(ctx context.Context, one *disk, big int64) error {
	news, err := d.news(one, big)
	if err != nil {
		return err
	}
	defer os.RemoveAll(news)
	files, err := os.ReadDir(news)
	if err != nil {
		return err
	}
	var script strings.Builder
	if len(one.files) > 1 { // those of the last round but one
		for f := range strings.FieldsSeq(one.files[0]) {
			fmt.Fprintf(&script, "rm %s\n", f)
		}
		one.files = one.files[1:]
	}
	if big > 0 && d.bigThere {
		fmt.Fprintf(&script, "rm failback-demo-big\n")
	}
	var made []string
	for _, f := range files {
		to := fmt.Sprintf("failback-demo-%d-%s", d.round, f.Name())
		if f.Name() == "big" {
			to, d.bigThere = "failback-demo-big", true
		} else {
			made = append(made, to)
		}
		fmt.Fprintf(&script, "write %s %s\n", filepath.Join(news, f.Name()), to)
	}
	one.files = append(one.files, strings.Join(made, " "))
	path := filepath.Join(d.dir, "debugfs")
	if err := os.WriteFile(path, []byte(script.String()), 0o644); err != nil {
		return err
	}
	_, err = command(ctx, "debugfs", "-w", "-f", path, one.source)
	return err
}

// changeBytes writes here and there, whatever is on the disk: it is a copy.
func (d *demo) changeBytes(one *disk, big int64) error {
	f, err := os.OpenFile(one.source, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	bytes := rand.NewChaCha8([32]byte{byte(d.round), byte(len(one.id)), one.id[len(one.id)-1]})
	r := rand.New(bytes)
	write := func(n int64) {
		n = min(n, one.size)
		b := make([]byte, n)
		bytes.Read(b)
		if _, werr := f.WriteAt(b, r.Int64N(one.size-n+1)&^511); err == nil {
			err = werr
		}
	}
	for range 100 {
		write(1 + r.Int64N(64<<10))
	}
	if big > 0 {
		write(big)
	}
	return err
}
