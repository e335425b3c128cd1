package vpn

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Options say how a link is made.
type Options struct {
	MTU int // 0: 1400, as within IPsec
	// Offload lets the kernel hand over packets of up to 64 KiB, as network cards do: needed from some hundred Mbit/s on, where each packet's cost would be what is
	// measured. Loss, queue and blackhole then see these packets.
	Offload bool
	Line    Line
}

// VPN is a link.
type VPN struct {
	Options
	*Network
	ns, dev string
	header  int // bytes before each packet
	began   time.Time
	closed  chan struct{}
	line    atomic.Pointer[Line]
	swallow atomic.Bool
	away    *way // to the namespace
	home    *way // from there
	running sync.WaitGroup

	mu      sync.Mutex
	flows   map[ends]*flow
	dialled int
}

const defaultMTU = 1400

// Usable says why there can be no link here: nil where there can.
func Usable() error {
	if os.Getuid() != 0 {
		return errors.New("TUN devices and network namespaces are root's")
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		return err
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return fmt.Errorf("apt-get install iproute2: %w", err)
	}
	return nil
}

// Open makes a namespace and a link to it, in a network of its own.
func Open(o Options) (_ *VPN, err error) {
	if err := Usable(); err != nil {
		return nil, err
	}
	network, err := Hold()
	if err != nil {
		return nil, err
	}
	name := network.Name()
	defer func() {
		if err != nil {
			network.Release()
		}
	}()
	if o.MTU == 0 {
		o.MTU = defaultMTU
	}
	v := &VPN{Options: o, Network: network, ns: name, dev: name, began: time.Now(), closed: make(chan struct{}), flows: map[ends]*flow{}}
	v.line.Store(&o.Line)
	if o.Offload {
		v.header = virtioHeader
	}
	if err := ip("netns", "add", name); err != nil {
		return nil, err
	}
	near, err := openTUN(v.dev, "", o.Offload)
	if err != nil {
		_ = ip("netns", "del", name)
		return nil, err
	}
	far, err := openTUN("far", name, o.Offload)
	if err != nil {
		near.Close()
		_ = ip("netns", "del", name)
		return nil, err
	}
	v.away = &way{link: v, from: near, to: far, news: make(chan struct{}, 1), random: rand.New(rand.NewPCG(1, 1))}
	v.home = &way{link: v, from: far, to: near, back: v.away, news: make(chan struct{}, 1), random: rand.New(rand.NewPCG(1, 2))}
	v.away.back = v.home
	for _, w := range []*way{v.away, v.home} {
		v.running.Go(w.take)
		v.running.Go(w.give)
	}
	mtu := fmt.Sprint(o.MTU)
	err = errors.Join(
		ip("addr", "add", v.Near()+"/30", "dev", v.dev),
		ip("link", "set", v.dev, "up", "mtu", mtu, "txqueuelen", "5000"),
		ip("-n", name, "addr", "add", v.Far()+"/30", "dev", "far"),
		ip("-n", name, "link", "set", "far", "up", "mtu", mtu, "txqueuelen", "5000"),
		ip("-n", name, "link", "set", "lo", "up"),
	)
	if err != nil {
		return nil, errors.Join(err, v.Close())
	}
	return v, nil
}

func ip(args ...string) error {
	if said, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %v: %w: %s", args, err, said)
	}
	return nil
}

// Within returns what to put before a command that is to run in the namespace.
func (v *VPN) Within() []string { return []string{"ip", "netns", "exec", v.ns} }

// Set changes what the link does, from the next packet on.
func (v *VPN) Set(l Line) { v.line.Store(&l) }

// Swallow makes all packets vanish, or ends that.
func (v *VPN) Swallow(on bool) { v.swallow.Store(on) }

// Counted returns what has gone to the namespace, and what has come from there.
func (v *VPN) Counted() (away, home Count) { return v.away.counted(), v.home.counted() }

func (v *VPN) since() time.Duration { return time.Since(v.began) }

// Close ends the link and removes the namespace, whose processes must have ended.
func (v *VPN) Close() error {
	close(v.closed)
	err := errors.Join(v.away.from.Close(), v.home.from.Close())
	v.running.Wait()
	return errors.Join(err, ip("netns", "del", v.ns), v.Release())
}

// virtioHeader is the length of struct virtio_net_hdr, which stands before each packet where packets are offloaded. Its content goes from one device to the other as it is.
const virtioHeader = 10

// openTUN makes a TUN device in a namespace, "" for this one.
func openTUN(name, ns string, offload bool) (*os.File, error) {
	var f *os.File
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine, and with it its being elsewhere
		if ns != "" {
			if err = enter(ns); err != nil {
				return
			}
		}
		f, err = tun(name, offload)
	}()
	<-done
	if err != nil {
		return nil, fmt.Errorf("tun device %s: %w", name, err)
	}
	return f, nil
}

func enter(ns string) error {
	f, err := os.Open("/var/run/netns/" + ns)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
}

func tun(name string, offload bool) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	req, err := unix.NewIfreq(name)
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	flags := uint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if offload {
		flags |= unix.IFF_VNET_HDR
	}
	req.SetUint16(flags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	if offload {
		if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, unix.TUN_F_CSUM|unix.TUN_F_TSO4); err != nil {
			return nil, errors.Join(err, unix.Close(fd))
		}
	}
	return os.NewFile(uintptr(fd), "/dev/net/tun"), nil
}

// Command returns a command that will run in the namespace. It ends with this process.
func (v *VPN) Command(name string, args ...string) *exec.Cmd {
	all := append(v.Within(), name)
	cmd := exec.Command(all[0], append(all[1:], args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return cmd
}
