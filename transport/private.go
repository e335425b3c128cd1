package transport

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"syscall"
	"time"

	"failback/replication"
)

// CodePublic is the code of a peer at a public address.
const CodePublic = "public-address"

// private are the addresses that a peer may have: those that the internet does not route.
//
// 100.64.0.0/10 is in, for the overlays and virtual networks that number themselves by it (Azure's may); where a provider's own network uses it, its
// other customers are kept out by certificates, as all others are. IPv4 addresses inside IPv6 ones (::ffff:a.b.c.d) count as what they are; those behind translators and tunnels
// (64:ff9b::/96, 2002::/16, 2001::/32) are public.
var private = []netip.Prefix{
	netip.MustParsePrefix("127.0.0.0/8"),    // loopback
	netip.MustParsePrefix("10.0.0.0/8"),     // RFC 1918
	netip.MustParsePrefix("172.16.0.0/12"),  // RFC 1918
	netip.MustParsePrefix("192.168.0.0/16"), // RFC 1918
	netip.MustParsePrefix("100.64.0.0/10"),  // RFC 6598, shared
	netip.MustParsePrefix("169.254.0.0/16"), // RFC 3927, link-local
	netip.MustParsePrefix("::1/128"),        // loopback
	netip.MustParsePrefix("fc00::/7"),       // RFC 4193, unique local
	netip.MustParsePrefix("fe80::/10"),      // RFC 4291, link-local
}

// IsPrivate says whether a peer may have the address.
func IsPrivate(a netip.Addr) bool {
	a = a.Unmap().WithZone("") // a prefix contains no address with a zone
	for _, p := range private {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// publicPeer is the problem of a peer at addr, nil where it may be there.
func publicPeer(addr string) *replication.Problem {
	a, err := netip.ParseAddrPort(addr)
	if err == nil && IsPrivate(a.Addr()) {
		return nil
	}
	return &replication.Problem{
		Code: CodePublic,
		Message: fmt.Sprintf("%s is a public address: replication runs over private links only, a site-to-site VPN or ExpressRoute with private peering "+
			"(10/8, 172.16/12, 192.168/16, 100.64/10, link-local, loopback, fc00::/7)", addr),
		Remedy: "use the other side's address within the VPN; if the link is private although the address is not, start this side with --allow-public",
	}
}

// PrivateListener returns a listener that closes connections from public addresses at once, before a byte of theirs is read, and tells log.
func PrivateListener(l net.Listener, log *slog.Logger) net.Listener {
	return &privateListener{l, &quiet{log: log}}
}

type privateListener struct {
	net.Listener
	log *quiet
}

func (l *privateListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if _, tcp := conn.RemoteAddr().(*net.TCPAddr); !tcp { // a socket of this machine
			return conn, nil
		}
		p := publicPeer(conn.RemoteAddr().String())
		if p == nil {
			return conn, nil
		}
		l.log.refused(conn.RemoteAddr(), p)
		if t, ok := conn.(*net.TCPConn); ok {
			_ = t.SetLinger(0) // nothing is kept of it
		}
		conn.Close()
	}
}

// dialerOf returns a dialer that connects to private addresses only, unless public ones are allowed. It looks at what the name resolved to, each time. Prepare, where
// there is one, is given each socket before it connects.
func dialerOf(allowPublic bool, note func(error), prepare func(syscall.RawConn) error) func(context.Context, string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout, KeepAliveConfig: net.KeepAliveConfig{Enable: false}} // HTTP/2 pings do that
	d.ControlContext = func(_ context.Context, _, address string, c syscall.RawConn) error {
		if p := publicPeer(address); p != nil && !allowPublic {
			return p
		}
		if prepare == nil {
			return nil
		}
		return prepare(c)
	}
	return func(ctx context.Context, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialTimeout+time.Second) // resolving included
		defer cancel()
		conn, err := d.DialContext(ctx, "tcp", address)
		note(err)
		return conn, err
	}
}
