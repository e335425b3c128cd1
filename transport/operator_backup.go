package transport

import (
	"context"
	"fmt"
	"io"
	"slices"

	"google.golang.org/grpc"

	failbackpb "failback/proto"
	"failback/replication/backup"
)

// backupPiece is how many bytes of a backup are sent at a time.
const backupPiece = 1 << 20

// Backup returns the text of a backup of the master target's state, as it came.
func (c *OperatorClient) Backup(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.rpc.Backup(ctx, &failbackpb.BackupRequest{})
	if err != nil {
		return nil, c.problem(err)
	}
	var text []byte
	for {
		m, err := stream.Recv()
		if err == io.EOF {
			return text, nil
		}
		if err != nil {
			return nil, c.problem(err)
		}
		if len(text)+len(m.Content) > backup.Max {
			return nil, fmt.Errorf("the backup has more than %d bytes", backup.Max)
		}
		text = append(text, m.Content...)
	}
}

func (s *operatorServer) Backup(_ *failbackpb.BackupRequest, out grpc.ServerStreamingServer[failbackpb.BackupPiece]) error {
	text, err := s.ops.Backup(out.Context())
	if err != nil {
		return StatusOf(err)
	}
	for piece := range slices.Chunk(text, backupPiece) {
		if err := out.Send(&failbackpb.BackupPiece{Content: piece}); err != nil {
			return err
		}
	}
	return nil
}
