package processserver

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"failback/replication/block"
)

// beginLine starts one, whose lanes take when they are asked to.
func beginLine(t *testing.T, ctx context.Context) (made, lanes chan queued, ended chan error) {
	t.Helper()
	made, lanes, ended = make(chan queued), make(chan queued), make(chan error, 1)
	go func() { ended <- inOrder(ctx, made, lanes) }()
	return made, lanes, ended
}

func TestFramesGoInTheOrderOfTheirJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		made, lanes, ended := beginLine(t, t.Context())
		s := &shipment{made: made}
		var workers sync.WaitGroup
		const frames = 4
		for worker := range 5 {
			workers.Go(func() {
				taken := make(chan struct{}, 1)
				for job := worker; job < 40; job += 5 {
					for range frames {
						if err := s.emit(t.Context(), block.NewFrame(), uint64(job), taken); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		go func() { workers.Wait(); close(made) }()
		var got []uint64
		for range 40 * frames {
			synctest.Wait() // a link that is slower than workers
			q := <-lanes
			got = append(got, q.job)
			q.Free()
		}
		if !slices.IsSorted(got) {
			t.Errorf("got %v", got)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestWorkersWaitForLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		made, lanes, ended := beginLine(t, ctx)
		freed := 0
		put := func(job uint64) (taken chan struct{}) {
			taken = make(chan struct{}, 1)
			made <- queued{Frame: &block.Frame{Done: func() { freed++ }}, job: job, taken: taken}
			synctest.Wait()
			return taken
		}
		for job := range uint64(framesAhead) {
			if len(put(10+job)) == 0 {
				t.Fatalf("the worker of frame %d waits", job)
			}
		}
		late, early := put(100), put(1)
		if len(late) > 0 || len(early) == 0 {
			t.Errorf("late goes on: %v, early: %v; want early alone", len(late) > 0, len(early) > 0)
		}
		if more := put(1); len(more) == 0 {
			t.Error("the first job waits for later ones")
		}
		for range 3 {
			(<-lanes).Free()
			synctest.Wait()
		}
		if len(late) == 0 {
			t.Error("there is room, and nobody is told")
		}
		cancel()
		if err := <-ended; err != context.Canceled {
			t.Errorf("got %v want %v", err, context.Canceled)
		}
		if freed != framesAhead+3 {
			t.Errorf("%d frames were freed, want %d", freed, framesAhead+3)
		}
	})
}
