package transport

import (
	"fmt"
	"net"
	"sync"
	"time"
)

// silentFor is after how long a peer of whom nothing comes is given up, though it was asked for a sign of life.
const silentFor = keepaliveEvery + keepaliveWait

// vigilWait is how long gRPC is to wait for an answer where a vigil looks after the connection: it shall not be the one that ends it.
const vigilWait = time.Hour

// vigil ends a connection of which nothing has come for silentFor. gRPC asks for signs of life, and would end it as well; but it knows of whole frames only, and counts the time in which a limit holds
// back what is written, behind which questions and answers wait: lanes that have a small part of a limit would be ended, one after another, by either side, with nothing wrong with them. Here each byte
// is a sign of life, also one of a TLS record that is not whole for long; and where a process server holds back by a limit itself, that time does not count. A network that swallows packets is found
// meanwhile by TCP, which gives up what is not acknowledged (tune).
//
// A nil vigil does nothing. It is safe for concurrent use.
type vigil struct {
	conn net.Conn

	mu      sync.Mutex
	heard   time.Time // something came last, or was held back last
	holding bool      // a limit holds back what is written, now
	over    bool      // the connection was given up, or closed
	silent  bool      // it was given up
	timer   *time.Timer
}

func keepVigil(conn net.Conn) *vigil {
	v := &vigil{conn: conn, heard: time.Now()}
	v.mu.Lock() // look reads the timer
	defer v.mu.Unlock()
	v.timer = time.AfterFunc(silentFor, v.look)
	return v
}

// look is called when something should have come.
func (v *vigil) look() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.over {
		return
	}
	if v.holding {
		v.heard = time.Now()
	}
	if left := silentFor - time.Since(v.heard); left > 0 {
		v.timer.Reset(left)
		return
	}
	v.over, v.silent = true, true
	go v.conn.Close() // with the lock it waits for nobody
}

// came notes that n bytes came, and returns the error that goes with them.
func (v *vigil) came(n int, err error) error {
	if v == nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if n > 0 {
		v.heard = time.Now()
	}
	if err != nil && v.silent {
		return fmt.Errorf("nothing came of the other side for %v, though it was asked: %w", silentFor, err)
	}
	return err
}

// holds notes that a limit may hold back what is to be written, until released.
func (v *vigil) holds() {
	if v == nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.holding = true
}

// heldAtLeast is what counts as being held back: a limit that is none lets through at once.
const heldAtLeast = time.Millisecond

// released notes that it may be written, after so long.
func (v *vigil) released(after time.Duration) {
	if v == nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.holding = false; after >= heldAtLeast {
		v.heard = time.Now()
	}
}

// end ends the vigil.
func (v *vigil) end() {
	if v == nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.over = true
	v.timer.Stop()
}
