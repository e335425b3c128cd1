package transport

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
)

// TestContentIsCountedHoweverItComes writes an HTTP/2 connection and counts it in pieces of all lengths.
func TestContentIsCountedHoweverItComes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var wire bytes.Buffer
	wire.WriteString(http2.ClientPreface)
	fr := http2.NewFramer(&wire, nil)
	want := 0
	for i := range 500 {
		var err error
		switch i % 5 {
		case 0:
			err = fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
		case 1:
			err = fr.WritePing(false, [8]byte{0: 9})
		case 2:
			err = fr.WriteWindowUpdate(0, 77)
		case 3:
			err = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: make([]byte, r.IntN(99)), EndHeaders: true})
		case 4:
			b := make([]byte, r.IntN(16<<10)) // of no bytes, too
			want += len(b)
			err = fr.WriteData(1, false, b)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, most := range []int{1, 8, 9, 10, 100, 20 << 10, wire.Len()} {
		var f h2Frames
		got := 0
		for b := wire.Bytes(); len(b) > 0; {
			n := min(len(b), 1+r.IntN(most))
			got, b = got+f.content(b[:n]), b[n:]
		}
		if got != want {
			t.Errorf("in pieces of up to %d: %d bytes of content, want %d", most, got, want)
		}
	}
}

// dataFrame is a DATA frame, with the preface before it where it is the connection's first.
func dataFrame(first bool, n int) []byte {
	var wire bytes.Buffer
	if first {
		wire.WriteString(http2.ClientPreface)
	}
	if err := http2.NewFramer(&wire, nil).WriteData(1, false, make([]byte, n)); err != nil {
		panic(err)
	}
	return wire.Bytes()
}

func TestReadingAheadWaitsForWhatTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBacklog()
		begin := time.Now()
		b.read(dataFrame(true, 2*backlogMost)) // no lane yet: nobody would take it
		b.open()
		b.read(dataFrame(false, backlogMost))
		if took := time.Since(begin); took != 0 {
			t.Fatalf("waited %v while there was room", took)
		}
		go func() {
			time.Sleep(backlogWait / 4)
			b.taken(backlogMost / 2)
		}()
		b.read(dataFrame(false, backlogMost/2))
		if took := time.Since(begin); took != backlogWait/4 {
			t.Errorf("waited %v, want as long as a frame took to be taken", took)
		}

		begin = time.Now()
		for range 100 { // nothing takes: a disk that is slow to answer
			b.read(dataFrame(false, backlogMost))
		}
		if took := time.Since(begin); took != backlogWait {
			t.Errorf("waited %v for what takes nothing, want %v once", took, backlogWait)
		}
		b.taken(backlogMost)
		begin = time.Now()
		go func() {
			time.Sleep(backlogWait / 4)
			b.end()
		}()
		b.read(dataFrame(false, 1))
		if took := time.Since(begin); took != backlogWait/4 {
			t.Errorf("waited %v, want until the lane ended", took)
		}
		b.read(dataFrame(false, backlogMost))
		if took := time.Since(begin); took != backlogWait/4 {
			t.Errorf("waited %v for a lane that has ended", took)
		}
	})
}

// TestTakingMoreThanWasCountedIsForgotten: what came before the lane was open counts for nothing.
func TestTakingMoreThanWasCountedIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBacklog()
		b.open()
		b.taken(10 * backlogMost)
		begin := time.Now()
		b.read(dataFrame(true, backlogMost+1))
		if took := time.Since(begin); took != backlogWait {
			t.Errorf("waited %v, want %v: there is more than should be", took, backlogWait)
		}
	})
}
