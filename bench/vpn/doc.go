// Package vpn makes a link between this machine and a network namespace that is as a site-to-site VPN is: packets take time, wait for a rate, are lost, are too large for some
// hop, or vanish for a while; connections are forgotten by what stands between.
//
//	v, err := vpn.Open(vpn.Options{Line: vpn.Line{Rate: vpn.Mbit(100), RTT: 40 * time.Millisecond}})
//	defer v.Close()
//	cmd := v.Command("process-server", …)  // runs in the namespace, and dials v.Near()
//
// Each end is a TUN device, and this process carries packets from one to the other. So the kernel's TCP at both ends sees the delay, the queue and the losses as it would those of a
// real link (a relay of connections would acknowledge at once), and nothing of the kernel's is needed but TUN and namespaces: no netem. What is stated is what
// happens, packet by packet; what it costs is this process's CPU time, about a tenth of a core for each 100 Mbit/s without Offload.
//
// What must hold: packets of one connection stay in order, as long as it is not stalled; what is lost is counted; nothing outlives Close, and what a killed process leaves is
// a namespace without a link, which the next to take its addresses removes (Network). Linux, as root.
package vpn
