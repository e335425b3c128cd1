package peer

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"failback/bench/report"
)

// Both ends of a TLS 1.3 connection by socat, with both sides' certificates checked and a buffer of 256 KiB: its own of 8 KiB would be the limit.
const socatBuffer = "262144"

// tlsListen is an address of socat that takes one connection.
func tlsListen(certs string, port int) string {
	return fmt.Sprintf("OPENSSL-LISTEN:%d,bind=127.0.0.1,reuseaddr,%s", port, tlsOptions(certs, "server"))
}

// tlsConnect is an address of socat that dials it.
func tlsConnect(certs string, port int) string {
	return fmt.Sprintf("OPENSSL:localhost:%d,pf=ip4,nodelay,%s", port, tlsOptions(certs, "client"))
}

func tlsOptions(certs, name string) string {
	at := func(kind string) string { return filepath.Join(certs, name+"-"+kind+".pem") }
	return fmt.Sprintf("cert=%s,key=%s,cafile=%s,verify=1,openssl-min-proto-version=TLS1.3", at("cert"), at("key"), filepath.Join(certs, "ca-cert.pem"))
}

// freePort returns a port of loopback that nobody listens on.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// answers is how long a server may take to listen.
const answers = 10 * time.Second

// awaitListening returns when somebody listens on a port: without dialling it, since some servers take one connection only.
func awaitListening(port int, by *process) error {
	const listening = "0A" // of the states in /proc/net/tcp
	at := fmt.Sprintf(":%04X", port)
	for begin := time.Now(); time.Since(begin) < answers; time.Sleep(5 * time.Millisecond) {
		b, err := os.ReadFile("/proc/net/tcp")
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); len(f) > 3 && strings.HasSuffix(f[1], at) && f[3] == listening {
				return nil
			}
		}
	}
	by.stop()
	return fmt.Errorf("%s does not listen: %s", by.cmd.Args[0], by.said.String())
}

// overTLS starts a server that takes one connection, runs a client, and waits for the ends of both; then it makes the file durable.
func overTLS(ctx context.Context, certs, durable, server string, client func(connect string) invocation) (report.Sample, error) {
	port, err := freePort()
	if err != nil {
		return report.Sample{}, err
	}
	s, err := start(ctx, Socat, "-b", socatBuffer, tlsListen(certs, port), server)
	if err != nil {
		return report.Sample{}, err
	}
	if err := awaitListening(port, s); err != nil {
		return report.Sample{}, err
	}
	begin := time.Now()
	one, err := measure(ctx, nil, client(tlsConnect(certs, port)))
	if err != nil {
		s.stop()
		return one, err
	}
	cpu, err := s.wait()
	if err == nil {
		err = fdatasync(durable)
	}
	return report.Sample{Seconds: time.Since(begin).Seconds(), CPU: one.CPU + cpu.Seconds()}, err
}

// RsyncNew copies source to a new file by rsync over TLS: whole, with holes where zeros are. It ends with an fdatasync.
func RsyncNew(ctx context.Context, certs, source, target string) (Copied, error) {
	s, err := rsyncTLS(ctx, certs, source, target, "--whole-file", "--inplace", "--sparse")
	return Copied{s, target}, err
}

// RsyncInPlace makes target equal to source by rsync over TLS: both ends read their file to its end, and blocks that differ are sent and written in place. --ignore-times makes it look at the content. It ends
// with an fdatasync.
func RsyncInPlace(ctx context.Context, certs, source, target string) (report.Sample, error) {
	return rsyncTLS(ctx, certs, source, target, "--inplace", "--no-whole-file", "--ignore-times")
}

// rsyncTLS pushes a file to a daemon that serves the target's directory.
func rsyncTLS(ctx context.Context, certs, source, target string, how ...string) (report.Sample, error) {
	conf := target + ".rsyncd.conf"
	text := fmt.Sprintf("use chroot = no\n[disks]\npath = %s\nread only = no\n", filepath.Dir(target))
	if os.Getuid() == 0 {
		text += "uid = 0\ngid = 0\n"
	}
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return report.Sample{}, err
	}
	defer os.Remove(conf)
	return overTLS(ctx, certs, target, "EXEC:rsync --server --daemon --config="+conf+" .", func(connect string) invocation {
		return invocation{program: Rsync, args: append(how, source, "rsync://localhost/disks/"+filepath.Base(target)),
			env: []string{"RSYNC_CONNECT_PROG=socat -b " + socatBuffer + " - '" + connect + "'"}}
	})
}

// ZstdNew sends source through zstd at its fastest, on all cores, to a new file, over one TLS connection: a stream, which has zeros for holes and leaves holes for zeros. It ends with an fdatasync.
func ZstdNew(ctx context.Context, certs, source, target string) (Copied, error) {
	s, err := overTLS(ctx, certs, target, "EXEC:zstd -q -d -f --sparse -o "+target, func(connect string) invocation {
		return invocation{program: Shell, args: []string{"-c", `zstd -q -T0 -1 -c "$0" | socat -u -b ` + socatBuffer + ` - "$1"`, source, connect}}
	})
	return Copied{s, target}, err
}
