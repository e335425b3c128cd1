package disks

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"failback/bench/report"
	"failback/bench/workload"
	"failback/blockio"
)

// pattern is a kind of work.
type pattern struct {
	random, write, direct bool
	block, total          int64 // bytes of a request, and of all together
}

func (p pattern) String() string {
	words := []string{"sequential 1 MiB", "reads", "page cache"}
	if p.random {
		words[0] = "random 4 KiB"
	}
	if p.write {
		words[1] = "writes"
	}
	if p.direct {
		words[2] = "direct"
	}
	return strings.Join(words, " ")
}

// fioSize bounds the disks here: page cache for two of them, and for what a loop device keeps of its own.
const fioSize = 1 << 30

// besideFIO overwrites and reads a flat VMDK and a loop device.
func (l *lab) besideFIO() error {
	small := *l
	small.size = min(l.size, fioSize)
	l = &small
	vmdk := filepath.Join(l.Dir, "flat.vmdk")
	flat := filepath.Join(l.Dir, "flat-flat.vmdk")
	backing := filepath.Join(l.Dir, "loop.img")
	remove := func() {
		for _, path := range []string{vmdk, flat, backing} {
			os.Remove(path)
		}
	}
	remove()
	defer remove()
	if err := errors.Join(blockio.CreateThick(vmdk, l.size), blockio.Create(backing, blockio.FormatRaw, l.size), fill(vmdk), fill(backing)); err != nil {
		return err
	}
	if err := l.patterns("flat VMDK", vmdk, flat); err != nil {
		return err
	}
	out, err := exec.Command("losetup", "--find", "--show", backing).Output()
	if err != nil {
		l.tell(&report.Scenario{Name: "loop device", Failed: fmt.Sprintf("not measured: losetup: %v", err)})
		return nil
	}
	device := strings.TrimSpace(string(out))
	defer func() { _ = exec.Command("losetup", "--detach", device).Run() }()
	held, err := os.Open(device) // so that its page cache stays from one turn to the next
	if err != nil {
		return err
	}
	defer held.Close()
	return l.patterns("loop device", device, device)
}

func (l *lab) patterns(name, ours, its string) error {
	for _, direct := range []bool{true, false} {
		for _, p := range []pattern{
			{write: false, block: 1 << 20, total: l.size},
			{write: true, block: 1 << 20, total: l.size},
			{random: true, write: false, block: 4096, total: l.size / 8},
			{random: true, write: true, block: 4096, total: l.size / 8},
		} {
			p.direct = direct
			if !p.write && !direct { // of memory that is a few hundredths of a second
				p.total *= warmRounds
			}
			err := l.pairs(name+", "+p.String(), "fio",
				func() (float64, error) { return l.byBlockIO(ours, p) },
				func() (float64, error) { return l.byFIO(its, p) })
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// warmRounds is how many times as much is read where all is in the page cache.
const warmRounds = 16

// fill gives a disk content, so that nothing is measured that is only done once.
func fill(path string) error {
	d, err := open(path, false)
	if err != nil {
		return err
	}
	b := noise(1 << 20)
	for off := int64(0); off < d.Size() && err == nil; off += int64(len(b)) {
		_, err = d.WriteAt(b, off)
	}
	return errors.Join(err, d.Close())
}

func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func open(path string, direct bool) (blockio.Target, error) {
	caching := blockio.CachingBuffered
	if direct {
		caching = blockio.CachingDirect
	}
	d, err := blockio.OpenTarget(path, blockio.TargetOptions{Caching: caching})
	if err != nil {
		return nil, err
	}
	return d, d.SetContentID(blockio.NewContentID())
}

// byBlockIO works in as many goroutines as the depth is, each in its own part where it goes in sequence.
func (l *lab) byBlockIO(path string, p pattern) (float64, error) {
	d, err := open(path, p.direct)
	if err != nil {
		return 0, err
	}
	defer d.Close()
	if !p.direct { // opening it for writing has dropped what was cached
		if err := warm(d); err != nil {
			return 0, err
		}
	}
	failed, buffers := make([]error, l.depth), make([][]byte, l.depth)
	each, part := p.total/int64(l.depth), l.size/int64(l.depth)
	for i := range buffers { // fio makes its own before its clock runs, too
		buffers[i] = noise(int(p.block))
	}
	var lanes sync.WaitGroup
	begin := time.Now()
	for i := range l.depth {
		lanes.Go(func() {
			b := buffers[i]
			draw := rand.New(rand.NewPCG(uint64(i), 1))
			for done := int64(0); done < each; done += p.block {
				if p.write && done > 0 && done/p.block%syncEvery(p, each) == 0 {
					if failed[i] = d.Sync(); failed[i] != nil {
						return
					}
				}
				off := int64(i)*part + done%part
				if p.random {
					off = draw.Int64N(l.size/p.block) * p.block
				}
				var err error
				if p.write {
					_, err = d.WriteAt(b, off)
				} else {
					_, err = d.ReadAt(b, off)
				}
				if err != nil {
					failed[i] = err
					return
				}
			}
		})
	}
	lanes.Wait()
	return float64(each*int64(l.depth)) / time.Since(begin).Seconds(), errors.Join(failed...)
}

// syncEvery is after how many requests a thread syncs: four times, but for the last, which fio leaves out.
func syncEvery(p pattern, each int64) int64 { return max(each/p.block/4, 1) }

// warm brings a disk into the page cache.
func warm(d blockio.Disk) error {
	b := make([]byte, 1<<20)
	for off := int64(0); off < d.Size(); off += int64(len(b)) {
		if _, err := d.ReadAt(b, off); err != nil {
			return err
		}
	}
	return nil
}

// byFIO has fio do the same.
func (l *lab) byFIO(path string, p pattern) (float64, error) {
	each := p.total / int64(l.depth)
	kind := "read"
	if p.write {
		kind = "write"
	}
	if !p.direct {
		if err := workload.Warm(path); err != nil {
			return 0, err
		}
	}
	args := []string{"--name=peer", "--filename=" + path, "--ioengine=psync", "--thread", "--group_reporting", "--output-format=json", "--invalidate=0", "--gtod_reduce=1",
		"--scramble_buffers=0", "--randrepeat=0", "--norandommap", "--allow_mounted_write=1",
		fmt.Sprintf("--numjobs=%d", l.depth), fmt.Sprintf("--bs=%d", p.block), fmt.Sprintf("--io_size=%d", each), fmt.Sprintf("--direct=%d", map[bool]int{true: 1}[p.direct])}
	if p.random {
		args = append(args, "--rw=rand"+kind, fmt.Sprintf("--size=%d", l.size))
	} else {
		args = append(args, "--rw="+kind, fmt.Sprintf("--size=%d", l.size/int64(l.depth)), fmt.Sprintf("--offset_increment=%d", l.size/int64(l.depth)))
	}
	if p.write {
		args = append(args, fmt.Sprintf("--fdatasync=%d", syncEvery(p, each)))
	}
	out, err := exec.CommandContext(l, "fio", args...).Output()
	if err != nil {
		return 0, fmt.Errorf("fio: %w: %s", err, out)
	}
	type side struct {
		Bytes   int64 `json:"io_bytes"`
		Runtime int64 `json:"runtime"` // milliseconds, of the job that took longest
	}
	var said struct {
		Jobs []struct{ Read, Write side } `json:"jobs"`
	}
	if err := json.Unmarshal(out, &said); err != nil || len(said.Jobs) != 1 {
		return 0, fmt.Errorf("fio said something else: %w: %.200s", err, out)
	}
	s := said.Jobs[0].Read
	if p.write {
		s = said.Jobs[0].Write
	}
	if s.Bytes < p.total*99/100 || s.Runtime == 0 {
		return 0, fmt.Errorf("fio moved %d bytes in %d ms, not %d", s.Bytes, s.Runtime, p.total)
	}
	return float64(s.Bytes) / float64(s.Runtime) * 1000, nil
}
