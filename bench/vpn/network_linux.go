package vpn

import (
	"fmt"
	"net"
	"os/exec"
	"strings"
)

// Network is a network of two addresses, with names for a namespace and for a device of this machine, that nobody else has while it is held: any number of tests and benches may run beside each other.
type Network struct {
	n    int
	held net.Listener
}

// networks is how many there are at a time.
const networks = 250

// Hold takes a network that is free. What a killed process left of it is removed: namespace and device.
func Hold() (*Network, error) {
	taken := map[string]bool{}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	for _, a := range addresses {
		ip, _, _ := strings.Cut(a.String(), "/")
		taken[ip] = true
	}
	for i := range networks {
		held, err := net.Listen("unix", fmt.Sprintf("@failback-network-%d", i)) // without a file: it ends with the process, however that ends
		if err != nil {
			continue
		}
		n := &Network{n: i, held: held}
		_ = exec.Command("ip", "netns", "del", n.Name()).Run() // mostly there is none
		gone := exec.Command("ip", "link", "del", n.Name()).Run() == nil
		if taken[n.Near()] && !gone { // somebody else's
			held.Close()
			continue
		}
		return n, nil
	}
	return nil, fmt.Errorf("all %d networks are in use", networks)
}

// Release gives the network back.
func (n *Network) Release() error { return n.held.Close() }

// Name is what its namespace and its device are called.
func (n *Network) Name() string { return fmt.Sprintf("failback%d", n.n) }

// Near returns this machine's address.
func (n *Network) Near() string { return fmt.Sprintf("10.231.%d.1", n.n) }

// Far returns the namespace's address.
func (n *Network) Far() string { return fmt.Sprintf("10.231.%d.2", n.n) }
