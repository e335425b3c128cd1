package peer

import (
	"context"
	"fmt"
	"strconv"

	"failback/bench/report"
)

// NBD is one disk served by nbdkit's file plugin over TLS 1.3 on loopback, with both sides' certificates checked.
type NBD struct {
	certs  string // directory
	port   int
	server *process
}

// Serve starts nbdkit and returns when it answers.
func Serve(ctx context.Context, certs, path string) (*NBD, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	n := &NBD{certs: certs, port: port}
	n.server, err = start(ctx, NBDKit, "--foreground", "--ipaddr", "127.0.0.1", "--port", strconv.Itoa(n.port), "--readonly",
		"--tls", "require", "--tls-certificates", certs, "--tls-verify-peer", "file", path)
	if err != nil {
		return nil, err
	}
	return n, awaitListening(port, n.server)
}

// Close ends the server.
func (n *NBD) Close() error {
	_, err := n.server.stop()
	return err
}

// Copied is what a copy over NBD made.
type Copied struct {
	report.Sample
	Flat string // file that has the disk's raw content
}

// copy runs one copy. The server's time is in the sample's CPU.
func copyNBD(ctx context.Context, certs, source, flat string, client func(n *NBD) invocation) (Copied, error) {
	n, err := Serve(ctx, certs, source)
	if err != nil {
		return Copied{}, err
	}
	s, err := measure(ctx, []string{flat}, client(n))
	cpu, stopped := n.server.stop()
	if err == nil {
		err = stopped
	}
	s.CPU += cpu.Seconds()
	return Copied{s, flat}, err
}

// CopyByNBDCopy copies source to a new raw file by nbdcopy, which uses up to four connections and asks the server for holes. It ends with nbdcopy's flush and an
// fdatasync of the file.
func CopyByNBDCopy(ctx context.Context, certs, source, target string) (Copied, error) {
	return copyNBD(ctx, certs, source, target, func(n *NBD) invocation {
		return invocation{program: NBDCopy, args: []string{"--flush", fmt.Sprintf("nbds://localhost:%d/?tls-certificates=%s", n.port, certs), target}}
	})
}

// CopyByQEMUImg copies source to a new flat VMDK by qemu-img convert, over one connection, with its default of eight requests at a time. It ends with an fdatasync of
// the flat file; target ends in .vmdk.
func CopyByQEMUImg(ctx context.Context, certs, source, target string) (Copied, error) {
	flat := target[:len(target)-len(".vmdk")] + "-flat.vmdk"
	return copyNBD(ctx, certs, source, flat, func(n *NBD) invocation {
		return invocation{program: QEMUImg, args: []string{
			"convert", "--object", "tls-creds-x509,id=tls,endpoint=client,verify-peer=on,dir=" + certs,
			"--image-opts", "-O", "vmdk", "-o", "subformat=monolithicFlat",
			fmt.Sprintf("driver=raw,file.driver=nbd,file.server.type=inet,file.server.host=localhost,file.server.port=%d,file.tls-creds=tls", n.port), target,
		}}
	})
}
