package transport

import (
	failbackpb "failback/proto"
	"failback/replication"
)

// maxLevels bounds the levels of compression that a process server may tell of.
const maxLevels = 32

func linkToWire(l *replication.LinkStatus) *failbackpb.LinkStatus {
	if l == nil {
		return nil
	}
	r := &failbackpb.LinkStatus{Lanes: uint32(l.Lanes), Most: uint32(l.Most), Rate: l.Rate, Takes: l.Takes, Binds: l.Binds, Limit: l.Limit}
	for _, m := range l.Mix {
		r.Mix = append(r.Mix, &failbackpb.LevelShare{Level: m.Level, Share: m.Share})
	}
	return r
}

func linkFromWire(r *failbackpb.LinkStatus) *replication.LinkStatus {
	if r == nil {
		return nil
	}
	l := &replication.LinkStatus{Lanes: int(r.Lanes), Most: int(r.Most), Mix: []replication.LevelShare{}, Rate: measured(r.Rate), Takes: measured(r.Takes), Binds: told(r.Binds, maxWord), Limit: r.Limit}
	for _, m := range atMost(maxLevels, r.Mix) {
		l.Mix = append(l.Mix, replication.LevelShare{Level: told(m.Level, maxWord), Share: min(measured(m.Share), 1)})
	}
	return l
}

func codecsToWire(c replication.Codecs) *failbackpb.Codecs {
	sent := func(s replication.Sent) *failbackpb.Sent { return &failbackpb.Sent{Raw: s.Raw, Payload: s.Payload} }
	return &failbackpb.Codecs{None: sent(c.None), Lz4: sent(c.LZ4), S2: sent(c.S2), Zstd: sent(c.Zstd)}
}

func codecsFromWire(r *failbackpb.Codecs) replication.Codecs {
	sent := func(s *failbackpb.Sent) replication.Sent {
		return replication.Sent{Raw: counted(s.GetRaw()), Payload: counted(s.GetPayload())}
	}
	return replication.Codecs{None: sent(r.GetNone()), LZ4: sent(r.GetLz4()), S2: sent(r.GetS2()), Zstd: sent(r.GetZstd())}
}
