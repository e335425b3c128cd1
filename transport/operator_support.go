package transport

import (
	"context"
	"fmt"
	"io"

	"google.golang.org/grpc"

	failbackpb "failback/proto"
	"failback/replication"
)

// MaxSupportFile is how many bytes of one file are sent for support; what is beyond is left out.
const MaxSupportFile = 16 << 20

// Support gives what somebody who helps from afar needs to know, file by file.
func (c *OperatorClient) Support(ctx context.Context, group replication.GroupID, give func(name string, content []byte) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.rpc.Support(ctx, &failbackpb.SupportRequest{Group: string(group)})
	if err != nil {
		return c.problem(err)
	}
	for {
		m, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return c.problem(err)
		}
		if err := give(m.Name, m.Content); err != nil {
			return err
		}
	}
}

func (s *operatorServer) Support(r *failbackpb.SupportRequest, out grpc.ServerStreamingServer[failbackpb.SupportFile]) error {
	err := s.ops.Support(out.Context(), replication.GroupID(r.Group), func(name string, content []byte) error {
		if len(content) > MaxSupportFile {
			content = append(content[:MaxSupportFile:MaxSupportFile], fmt.Sprintf("\n… %d bytes more are left out\n", len(content)-MaxSupportFile)...)
		}
		return out.Send(&failbackpb.SupportFile{Name: name, Content: content})
	})
	if err != nil {
		return StatusOf(err)
	}
	return nil
}
