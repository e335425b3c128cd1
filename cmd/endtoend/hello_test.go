package endtoend

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/encoding/protowire"

	"failback/transport/pki"
)

// lockedBuffer is a buffer that is read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// plain is a codec that carries bytes as they are: messages of releases that are yet to come can be made with it.
type plain struct{}

func (plain) Name() string { return "proto" }

func (plain) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }

func (plain) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = bytes.Clone(data)
	return nil
}

// hello opens a work stream as a process server of another major version does, and returns how that ends; nil: with a welcome.
func hello(ctx context.Context, address, dir, name string, major uint64) error {
	id, err := pki.Open(dir, pki.ProcessServer, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(credentials.NewTLS(id.Client(pki.MasterTarget))), grpc.WithDefaultCallOptions(grpc.ForceCodec(plain{})))
	if err != nil {
		return err
	}
	defer conn.Close()
	work, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/failback.v1.Replication/Work")
	if err != nil {
		return err
	}
	var said []byte // Hello: name = 1, major = 2
	said = protowire.AppendString(protowire.AppendTag(said, 1, protowire.BytesType), name)
	said = protowire.AppendVarint(protowire.AppendTag(said, 2, protowire.VarintType), major)
	report := protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), said) // Report: hello = 2
	if err := work.SendMsg(&report); err != nil {
		return err
	}
	var order []byte
	if err := work.RecvMsg(&order); err != nil {
		return fmt.Errorf("refused: %w", err)
	}
	return nil
}
