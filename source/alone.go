package source

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"failback/replication"
)

// alone has a token for each machine of each process server, by its state directory and name: groups that have the same machine don't freeze it, nor thaw it, while another keeps it still. A thaw of one group in the
// middle would let it write between the cuts of the other's disks, and nobody would know.
var alone sync.Map // string to chan struct{}, which holds one when it is taken

// aloneWait is how long a thaw waits beyond the time that whoever keeps the machine still may take: it is thawed then, whatever that means for a point.
const aloneWait = 10 * time.Second

func aloneWith(dir, machine string) chan struct{} {
	c, _ := alone.LoadOrStore(filepath.Join(filepath.Dir(dir), machine), make(chan struct{}, 1))
	return c.(chan struct{})
}

// takeAlone takes all machines of the hooks for a group, and returns what gives them back, or why they could not be had in time.
func takeAlone(ctx context.Context, dir string, hooks []replication.Quiesce) (give func(), err error) {
	var names []string
	for _, h := range hooks {
		names = append(names, h.Machine)
	}
	slices.Sort(names) // all take them in one order
	names = slices.Compact(names)
	var taken []chan struct{}
	give = func() {
		for _, c := range taken {
			<-c
		}
	}
	for _, n := range names {
		c := aloneWith(dir, n)
		select {
		case c <- struct{}{}:
			taken = append(taken, c)
		case <-ctx.Done():
			give()
			return nil, fmt.Errorf("machine %s: another group keeps it still: %w", n, context.Cause(ctx))
		}
	}
	return give, nil
}
