package peer

import (
	"context"

	"failback/bench/report"
)

// CatInTurn reads files to their ends, one after the other.
func CatInTurn(ctx context.Context, files ...string) (report.Sample, error) {
	return measure(ctx, nil, invocation{Cat, files})
}

// CatAtOnce reads files to their ends, all at the same time.
func CatAtOnce(ctx context.Context, files ...string) (report.Sample, error) {
	return measure(ctx, nil, each(Cat, files)...)
}

// SHA256AtOnce runs sha256sum on files, all at the same time.
func SHA256AtOnce(ctx context.Context, files ...string) (report.Sample, error) {
	return measure(ctx, nil, each(SHA256Sum, files)...)
}

func each(p Program, files []string) []invocation {
	var all []invocation
	for _, f := range files {
		all = append(all, invocation{p, []string{f}})
	}
	return all
}

// RsyncInPlace makes target equal to source as rsync --inplace --no-whole-file does between two processes on one machine, without TLS: both read their file to its
// end. --ignore-times makes it look at the content. It ends with an fdatasync of the target.
func RsyncInPlace(ctx context.Context, source, target string) (report.Sample, error) {
	return measure(ctx, []string{target}, invocation{Rsync, []string{"--inplace", "--no-whole-file", "--ignore-times", source, target}})
}
