// Package link measures what failback makes of a link: the daemons as processes, with a VPN of package vpn between them (rate, delay, queue, stalls, forgotten connections), beside bare
// TCP connections and zstd --adapt over the same link in the same run. What is copied is compared at the end. It takes Linux and root; bench/README.md tells what the figures mean.
package link
