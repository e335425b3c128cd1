package link

import (
	"context"

	"failback/replication"
)

// Prober is a Worker at the other end of a network: it can measure the way between the two.
type Prober interface {
	// Path measures. What is ordered bounds what it may send and how long it takes.
	Path(ctx context.Context, ask replication.PathAsk) (replication.Path, error)
}

// Codes of problems with a path.
const (
	CodePathBusy  = "path-busy"  // others are being measured: the rates would be wrong
	CodePathOrder = "path-order" // padding that was not ordered, or more than was
)
