package transport

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionalphapb "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"

	"failback/transport/pki"
)

// general are the calls that every listener answers, to see whether it is well and what it can do: to the role that the listener is for, and to operators. They
// tell nothing of groups.
var general = map[string]bool{
	healthpb.Health_Check_FullMethodName:                                   true,
	healthpb.Health_List_FullMethodName:                                    true,
	healthpb.Health_Watch_FullMethodName:                                   true,
	reflectionpb.ServerReflection_ServerReflectionInfo_FullMethodName:      true,
	reflectionalphapb.ServerReflection_ServerReflectionInfo_FullMethodName: true,
}

// registerGeneral adds health and reflection to a server that has its services. What is registered serves, until the server stops.
func registerGeneral(s *grpc.Server) {
	h := health.NewServer()
	for name := range s.GetServiceInfo() {
		h.SetServingStatus(name, healthpb.HealthCheckResponse_SERVING)
	}
	healthpb.RegisterHealthServer(s, h)
	reflection.Register(s)
}

// mayAskGeneral says whether a role may make the general calls on the listener of another, or its own.
func mayAskGeneral(who, here pki.Role) bool { return who == here || who == pki.Operator }
