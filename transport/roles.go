package transport

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	failbackpb "failback/proto"
	"failback/replication"
	"failback/transport/pki"
)

// callers says of each call which role may make it. A call that is not here, nor in general, is refused to everyone.
var callers = map[string]pki.Role{
	failbackpb.Replication_Work_FullMethodName:     pki.ProcessServer,
	failbackpb.Replication_Coverage_FullMethodName: pki.ProcessServer,
	failbackpb.Replication_Compare_FullMethodName:  pki.ProcessServer,
	failbackpb.Replication_Pages_FullMethodName:    pki.ProcessServer,
	failbackpb.Replication_Ship_FullMethodName:     pki.ProcessServer,
	failbackpb.Replication_Finish_FullMethodName:   pki.ProcessServer,
	failbackpb.Replication_Path_FullMethodName:     pki.ProcessServer,

	failbackpb.Operator_Check_FullMethodName:         pki.Operator,
	failbackpb.Operator_Reprotect_FullMethodName:     pki.Operator,
	failbackpb.Operator_Adopt_FullMethodName:         pki.Operator,
	failbackpb.Operator_Apply_FullMethodName:         pki.Operator,
	failbackpb.Operator_Status_FullMethodName:        pki.Operator,
	failbackpb.Operator_Events_FullMethodName:        pki.Operator,
	failbackpb.Operator_Support_FullMethodName:       pki.Operator,
	failbackpb.Operator_Backup_FullMethodName:        pki.Operator,
	failbackpb.Operator_Cut_FullMethodName:           pki.Operator,
	failbackpb.Operator_Points_FullMethodName:        pki.Operator,
	failbackpb.Operator_Move_FullMethodName:          pki.Operator,
	failbackpb.Operator_Forecast_FullMethodName:      pki.Operator,
	failbackpb.Operator_Jobs_FullMethodName:          pki.Operator,
	failbackpb.Operator_CancelJob_FullMethodName:     pki.Operator,
	failbackpb.Operator_PlanMove_FullMethodName:      pki.Operator,
	failbackpb.Operator_CancelMove_FullMethodName:    pki.Operator,
	failbackpb.Operator_Verify_FullMethodName:        pki.Operator,
	failbackpb.Operator_Export_FullMethodName:        pki.Operator,
	failbackpb.Operator_Drill_FullMethodName:         pki.Operator,
	failbackpb.Operator_EndDrill_FullMethodName:      pki.Operator,
	failbackpb.Operator_RecordDrill_FullMethodName:   pki.Operator,
	failbackpb.Operator_Resync_FullMethodName:        pki.Operator,
	failbackpb.Operator_Pin_FullMethodName:           pki.Operator,
	failbackpb.Operator_Unpin_FullMethodName:         pki.Operator,
	failbackpb.Operator_Scrub_FullMethodName:         pki.Operator,
	failbackpb.Operator_Commit_FullMethodName:        pki.Operator,
	failbackpb.Operator_Undo_FullMethodName:          pki.Operator,
	failbackpb.Operator_FinishCutover_FullMethodName: pki.Operator,
	failbackpb.Operator_Unprotect_FullMethodName:     pki.Operator,
	failbackpb.Operator_Volumes_FullMethodName:       pki.Operator,
	failbackpb.Operator_Token_FullMethodName:         pki.Operator,
	failbackpb.Operator_Rebind_FullMethodName:        pki.Operator,
	failbackpb.Operator_ForgetServer_FullMethodName:  pki.Operator,
	failbackpb.Operator_Throttle_FullMethodName:      pki.Operator,
}

// RequireRoles returns what makes a server answer each call only to callers with a certificate of the role that may make it. Others get a status that names both roles, as do those
// who make a call of another listener's than this one, which is meant for the role here.
func RequireRoles(here pki.Role) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(func(ctx context.Context, req any, i *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			if err := checkRole(ctx, i.FullMethod, here); err != nil {
				return nil, err
			}
			return next(ctx, req)
		}),
		grpc.ChainStreamInterceptor(func(srv any, s grpc.ServerStream, i *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			if err := checkRole(s.Context(), i.FullMethod, here); err != nil {
				return err
			}
			return next(srv, s)
		}),
		grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error { // its role was looked at
			method, _ := grpc.Method(s.Context())
			return StatusOf(&replication.Problem{
				Code:    CodeWrongRole,
				Message: fmt.Sprintf("%s is a call of the role %s, and only the role %s may call here", method, callers[method], here),
				Remedy:  fmt.Sprintf("dial the listener of the role %s", callers[method]),
			})
		}),
	}
}

func checkRole(ctx context.Context, method string, here pki.Role) error {
	want, ok := callers[method]
	if general[method] {
		want, ok = here, true
	}
	if !ok {
		return status.Errorf(codes.Unimplemented, "unknown call %s", method)
	}
	p, err := pki.Caller(ctx)
	if err != nil {
		return StatusOf(&replication.Problem{
			Code: CodeWrongRole, Message: fmt.Sprintf("only the role %s may call %s: %v", want, method, err), Remedy: fmt.Sprintf("use the certificate of the role %s", want),
		})
	}
	if general[method] && mayAskGeneral(p.Role, here) {
		return nil
	}
	if p.Role != want {
		return StatusOf(&replication.Problem{
			Code:    CodeWrongRole,
			Message: fmt.Sprintf("your certificate is for the role %s, and only the role %s may call %s", p.Role, want, method),
			Remedy:  fmt.Sprintf("use the certificate of the role %s, or dial the listener of the role %s", want, p.Role),
		})
	}
	return nil
}
