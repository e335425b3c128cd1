package main

import (
	"context"
	"os"

	"failback/cmd/internal/settings"
)

func main() {
	ctx, stop := settings.Signals(context.Background())
	code := run(ctx, os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}, defaults)
	stop()
	os.Exit(code)
}
