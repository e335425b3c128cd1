package peer

import (
	"context"

	"failback/bench/report"
)

// CatInTurn reads files to their ends, one after the other.
func CatInTurn(ctx context.Context, files ...string) (report.Sample, error) {
	return measure(ctx, nil, invocation{program: Cat, args: files})
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
		all = append(all, invocation{program: p, args: []string{f}})
	}
	return all
}
