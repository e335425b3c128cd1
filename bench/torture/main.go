package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"
)

func main() {
	var c config
	flag.StringVar(&c.dir, "dir", "", "`directory` for images, sources and state; it must not exist (default: a temporary one)")
	flag.StringVar(&c.fs, "fs", "ext4", "file system of the retention volume and the datastore: ext4 or xfs")
	flag.IntVar(&c.most, "kills", 250, "how often the master target is killed")
	flag.IntVar(&c.look, "look", 25, "after how many kills all points are looked at")
	flag.DurationVar(&c.limit, "for", 7*time.Minute, "end after this time, with what was done by then")
	flag.Uint64Var(&c.seed, "seed", 1, "of all that is random")
	flag.BoolVar(&c.fill, "fill", false, "fill the retention volume and the datastore at random moments")
	flag.IntVar(&c.power, "power", 0, "with every so manieth kill, the power of both volumes fails: what their file systems have not written is gone; 0: never")
	flag.StringVar(&c.binaries, "binaries", "", "`directory` of the programs (default: they are built)")
	flag.Parse()
	if code, ran, err := apart(os.Args[1:]...); ran {
		if err != nil {
			fmt.Fprintln(os.Stderr, "torture: a mount namespace of its own, for which it takes root:", err)
			code = 1
		}
		os.Exit(code)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	t, err := run(ctx, c)
	if t != nil {
		fmt.Println(t)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "torture:", err)
		os.Exit(1)
	}
}
