package transport

import (
	failbackpb "failback/proto"
	"failback/replication"
)

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
	l := &replication.LinkStatus{Lanes: int(r.Lanes), Most: int(r.Most), Mix: []replication.LevelShare{}, Rate: r.Rate, Takes: r.Takes, Binds: r.Binds, Limit: r.Limit}
	for _, m := range r.Mix {
		l.Mix = append(l.Mix, replication.LevelShare{Level: m.Level, Share: m.Share})
	}
	return l
}

func codecsToWire(c replication.Codecs) *failbackpb.Codecs {
	sent := func(s replication.Sent) *failbackpb.Sent { return &failbackpb.Sent{Raw: s.Raw, Payload: s.Payload} }
	return &failbackpb.Codecs{None: sent(c.None), Lz4: sent(c.LZ4), S2: sent(c.S2), Zstd: sent(c.Zstd)}
}

func codecsFromWire(r *failbackpb.Codecs) replication.Codecs {
	sent := func(s *failbackpb.Sent) replication.Sent {
		return replication.Sent{Raw: s.GetRaw(), Payload: s.GetPayload()}
	}
	return replication.Codecs{None: sent(r.GetNone()), LZ4: sent(r.GetLz4()), S2: sent(r.GetS2()), Zstd: sent(r.GetZstd())}
}
