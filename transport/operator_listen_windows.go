package transport

import "net"

// listenPrivate listens. Who may use a socket is for the directory's access list to say here.
func listenPrivate(network, addr string) (net.Listener, error) { return net.Listen(network, addr) }
