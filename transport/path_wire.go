package transport

import (
	"math"
	"time"

	failbackpb "failback/proto"
	"failback/replication"
)

func pathToWire(p *replication.Path) *failbackpb.PathDone {
	if p == nil {
		return nil
	}
	return &failbackpb.PathDone{
		Connections: uint32(p.Connections), ConnectNanos: int64(p.Connect), HandshakeNanos: int64(p.Handshake), RttNanos: int64(p.RTT), LoadedNanos: int64(p.Loaded),
		SkewNanos: int64(p.Skew), SkewWithinNanos: int64(p.SkewWithin), Up: pathRateToWire(p.Up), Down: pathRateToWire(p.Down),
		Segment: uint32(p.Segment), Vanished: uint32(p.Vanished), Passes: uint32(p.Passes), VanishedDown: p.VanishedDown,
	}
}

func pathFromWire(p *failbackpb.PathDone) *replication.Path {
	if p == nil {
		return nil
	}
	return &replication.Path{
		Connections: int(p.Connections), Connect: time.Duration(p.ConnectNanos), Handshake: time.Duration(p.HandshakeNanos), RTT: time.Duration(p.RttNanos), Loaded: time.Duration(p.LoadedNanos),
		Skew: time.Duration(p.SkewNanos), SkewWithin: time.Duration(p.SkewWithinNanos), Up: pathRateFromWire(p.Up), Down: pathRateFromWire(p.Down),
		Segment: int(p.Segment), Vanished: int(p.Vanished), Passes: int(p.Passes), VanishedDown: p.VanishedDown,
	}
}

func pathRateToWire(r replication.PathRate) *failbackpb.PathRate {
	if r == (replication.PathRate{}) {
		return nil
	}
	return &failbackpb.PathRate{Rate: r.Rate, Bytes: r.Bytes, LastedNanos: int64(r.Lasted), Again: r.Again}
}

// pathRateFromWire believes no rate that is none.
func pathRateFromWire(r *failbackpb.PathRate) replication.PathRate {
	rate, again := r.GetRate(), r.GetAgain()
	if math.IsNaN(rate) || math.IsInf(rate, 0) || rate < 0 {
		rate = 0
	}
	if math.IsNaN(again) || again < 0 || again > 1 {
		again = 0
	}
	return replication.PathRate{Rate: rate, Bytes: r.GetBytes(), Lasted: time.Duration(r.GetLastedNanos()), Again: again}
}
