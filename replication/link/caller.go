package link

import "context"

type callerKey struct{}

// WithCaller returns ctx for a call that the holder of a key makes (Peer.Key).
func WithCaller(ctx context.Context, key string) context.Context {
	return context.WithValue(ctx, callerKey{}, key)
}

// Caller returns the key of who makes the call; "" within one process, where there are none.
func Caller(ctx context.Context) string {
	key, _ := ctx.Value(callerKey{}).(string)
	return key
}
