package main

import (
	"context"
	"time"
)

// until asks again and again until done is true or an error says that it never will be. A master target that is away for a while, because it is being
// restarted, is waited for.
func (t *tool) until(ctx context.Context, shown progress, ask func() (done bool, err error)) error {
	tick := time.NewTicker(t.poll)
	defer tick.Stop()
	var away time.Time // since when the master target has not answered
	for {
		done, err := ask()
		switch {
		case err == nil:
			away = time.Time{}
			if done {
				return nil
			}
		case !unreachable(err) || ctx.Err() != nil:
			return err
		case away.IsZero():
			away = time.Now()
			shown.note("the master target does not answer; waiting for it to come back")
		}
		if err != nil && time.Since(away) >= t.patience {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
