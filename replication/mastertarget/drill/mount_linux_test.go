package drill

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// image is a file as a disk.
type image struct {
	*os.File
	size   int64
	broken atomic.Int64 // reads over this offset fail; 0: none do
}

func (i *image) Size() int64 { return i.size }

func (i *image) ReadAt(b []byte, off int64) (int, error) {
	if at := i.broken.Load(); at > 0 && off <= at && at < off+int64(len(b)) {
		return 0, fmt.Errorf("damaged at %d", at)
	}
	return i.File.ReadAt(b, off)
}

func (i *image) NextData(off int64) (start, end int64, err error) {
	fd := int(i.Fd())
	start, err = unix.Seek(fd, off, unix.SEEK_DATA)
	if err == unix.ENXIO {
		return i.size, i.size, nil
	}
	if err == nil {
		end, err = unix.Seek(fd, start, unix.SEEK_HOLE)
	}
	return start, min(end, start+1<<20), err // in bits, as a journal tells it
}

// needs skips where drills can't be.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount")
	}
	if err := Available(); err != nil {
		t.Skip(err)
	}
	os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is needed", p)
		}
	}
}

// sparse makes a disk with data here and there, and an odd size.
func sparse(t *testing.T) *image {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	i := &image{File: f, size: 24<<20 + 3*512}
	if err := f.Truncate(i.size); err != nil {
		t.Fatal(err)
	}
	for n, at := range []int64{0, 5 << 20, 6 << 20, 20 << 20, i.size - 700} {
		b := bytes.Repeat([]byte{byte(n + 1), 7, byte(n)}, 1<<20)
		if _, err := f.WriteAt(b[:min(int64(len(b)), i.size-at)], at); err != nil {
			t.Fatal(err)
		}
	}
	return i
}

var names atomic.Int64

// start starts a drill that ends with the test.
func start(t *testing.T, o Options) *Drill {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	o.Source = fmt.Sprintf("drill test %d,%d", os.Getpid(), names.Add(1)) // a blank and a comma: both are taken
	o.Time = time.Unix(1700000000, 0)
	d, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.End(true); err != nil {
			t.Error(err)
		}
		if _, is := top(must(mounts()), o.Dir); is {
			t.Error("something is still mounted")
		}
	})
	return d
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// sh runs a command.
func sh(t *testing.T, command string, args ...any) (string, error) {
	t.Helper()
	out, err := exec.Command("sh", "-c", fmt.Sprintf(command, args...)).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func want(t *testing.T, command string, args ...any) string {
	t.Helper()
	out, err := sh(t, command, args...)
	if err != nil {
		t.Fatalf("%s: %v: %s", fmt.Sprintf(command, args...), err, out)
	}
	return out
}

func TestDrillShowsDisks(t *testing.T) {
	needs(t, "qemu-img", "cmp")
	one, two := sparse(t), sparse(t)
	d := start(t, Options{Files: []File{{"db-os.raw", one}, {"db-data.raw", two}}})
	dir := d.o.Dir
	if got := want(t, "ls -A %s", dir); got != "db-data.raw\ndb-os.raw" {
		t.Errorf("ls: %q", got)
	}
	file := dir + "/db-os.raw"
	want(t, "cmp %s %s", file, one.Name())
	want(t, "qemu-img compare -f raw -F raw %s %s", dir+"/db-data.raw", two.Name())
	if got, want := want(t, "qemu-img map --output json -f raw %s", file), want(t, "qemu-img map --output json -f raw %s", one.Name()); got != want {
		t.Errorf("holes:\ngot  %s\nwant %s", got, want)
	}
	fd := must(unix.Open(file, unix.O_RDONLY, 0))
	for off := int64(-1); off <= one.size; off += 1<<20 - 511 {
		for _, whence := range []int{unix.SEEK_DATA, unix.SEEK_HOLE} {
			got, err := unix.Seek(fd, off, whence)
			want, werr := unix.Seek(int(one.Fd()), off, whence)
			if got != want || err != werr {
				t.Errorf("seek %d from %d: %d, %v, want %d, %v", whence, off, got, err, want, werr)
			}
		}
	}
	unix.Close(fd) // or the drill would be in use
	got, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	blocks := must(one.Stat()).Sys().(*syscall.Stat_t).Blocks
	if s := got.Sys().(*syscall.Stat_t); got.Size() != one.size || s.Blocks < blocks-16 || s.Blocks > blocks || got.ModTime().Unix() != 1700000000 || got.Mode() != 0o400 {
		t.Errorf("got %d bytes, %d blocks, %s, %s", got.Size(), s.Blocks, got.ModTime(), got.Mode())
	}
	want(t, "cp --sparse=always %s %s.copy && cmp %s.copy %s", file, one.Name(), one.Name(), one.Name())
	for _, no := range []string{"echo x > %s", "truncate -s 0 %s", "rm -f %s", "touch %s.new"} {
		if out, err := sh(t, no, file); err == nil {
			t.Errorf("%s: %s", no, out)
		}
	}
	if err := d.End(false); err != nil {
		t.Fatal(err)
	}
	if got := want(t, "ls -A %s", dir); got != "" {
		t.Errorf("afterwards: %q", got)
	}
	if u := d.Usage(); u != (Usage{}) {
		t.Errorf("usage %+v", u)
	}
}

func TestDrillReadsDirectAndAtTheEnd(t *testing.T) {
	needs(t, "dd")
	disk := sparse(t)
	d := start(t, Options{Files: []File{{"a.raw", disk}}})
	want(t, "dd if=%s/a.raw iflag=direct bs=1M status=none | cmp - %s", d.o.Dir, disk.Name())
	want(t, "dd if=%s/a.raw bs=512 skip=49150 status=none | cmp - %s 0 25164800", d.o.Dir, disk.Name())
}

func TestDrillWritable(t *testing.T) {
	needs(t, "dd", "fallocate", "cmp", "cp")
	disk := sparse(t)
	before := want(t, "sha256sum < %s", disk.Name())
	scratch := t.TempDir()
	d := start(t, Options{Files: []File{{"a.raw", disk}}, Writable: true, Scratch: scratch, Limit: 2 << 20})
	file, copied := d.o.Dir+"/a.raw", filepath.Join(t.TempDir(), "copy")
	want(t, "cp %s %s", disk.Name(), copied)
	for _, f := range []string{file, copied} {
		want(t, "yes pattern | dd of=%s bs=1000 seek=700 count=900 conv=notrunc iflag=fullblock status=none", f)
		want(t, "fallocate --punch-hole --offset 5242000 --length 1000000 %s", f)
		want(t, "yes zzz | dd of=%s bs=4k seek=1281 count=3 conv=notrunc,fsync iflag=fullblock status=none", f)
	}
	want(t, "cmp %s %s", file, copied)
	if got := want(t, "ls -A %s", scratch); got != "" {
		t.Errorf("the scratch file has a name: %s", got)
	}
	used := d.Usage().Scratch
	if used < 900000 || used > 2<<20 {
		t.Errorf("%d bytes are used", used)
	}
	// The bound strikes, and harms nothing else.
	if out, err := sh(t, "yes full | dd of=%s bs=1M seek=10 count=4 conv=notrunc iflag=fullblock status=none", file); err == nil || !strings.Contains(out, "No space left") {
		t.Errorf("over the bound: %v, %s", err, out)
	}
	if u := d.Usage(); u.Errors != 0 || u.Scratch > 2<<20 || u.Scratch < 2<<20-pageSize {
		t.Errorf("at the bound: %+v", u)
	}
	want(t, "cmp -n 10485760 %s %s", file, copied)
	want(t, "yes again | dd of=%s bs=4k seek=1281 count=3 conv=notrunc iflag=fullblock status=none", file) // pages that are there
	want(t, "fallocate --punch-hole --offset 0 --length 25167360 %s", file)
	if u := d.Usage(); u.Scratch != 0 {
		t.Errorf("all discarded, and %d bytes are used", u.Scratch)
	}
	want(t, "yes | dd of=%s bs=1M seek=3 count=1 conv=notrunc iflag=fullblock status=none", file)
	if out, err := sh(t, "truncate -s +1M %s || yes | dd of=%s bs=1M seek=24 count=1 conv=notrunc iflag=fullblock status=none", file, file); err == nil {
		t.Errorf("it grew: %s", out)
	}
	want(t, "chown 12345 %s && chmod 660 %s", file, file)
	if got := want(t, "stat -c '%%u %%a %%s' %s", file); got != fmt.Sprintf("12345 660 %d", disk.size) {
		t.Errorf("stat: %s", got)
	}
	if err := d.End(false); err != nil {
		t.Fatal(err)
	}
	if after := want(t, "sha256sum < %s", disk.Name()); after != before {
		t.Error("the point was written")
	}
}

// TestDrillOverLoop mounts a file system that lies in a drill, read-write, and fills it up.
func TestDrillOverLoop(t *testing.T) {
	needs(t, "mkfs.ext4", "mount", "e2fsck")
	disk := &image{size: 64 << 20}
	disk.File = must(os.Create(filepath.Join(t.TempDir(), "disk")))
	defer disk.Close()
	if err := disk.Truncate(disk.size); err != nil {
		t.Fatal(err)
	}
	want(t, "mkfs.ext4 -q %s", disk.Name())
	before := want(t, "sha256sum < %s", disk.Name())
	d := start(t, Options{Files: []File{{"fs.raw", disk}}, Writable: true, Scratch: t.TempDir(), Limit: 32 << 20})
	mnt := t.TempDir()
	want(t, "mount -o loop,discard %s/fs.raw %s", d.o.Dir, mnt)
	t.Cleanup(func() { sh(t, "umount %s 2>/dev/null", mnt) })
	want(t, "echo hello > %s/hello; dd if=/dev/zero of=%s/zeros bs=1M count=8 conv=fsync status=none; sync -f %s", mnt, mnt, mnt)
	most := d.Usage().Scratch
	want(t, "rm %s/zeros; sync -f %s; fstrim %s", mnt, mnt, mnt)
	if less := d.Usage().Scratch; less > most-7<<20 {
		t.Errorf("a discard gave nothing back: %d bytes, then %d", most, less)
	}
	var busy *Busy
	if err := d.End(false); !errors.As(err, &busy) || !errors.Is(err, ErrInUse) || !strings.Contains(fmt.Sprint(busy.By), "/dev/loop") {
		t.Errorf("the end of a drill that is in use: %v, want its loop device named", err)
	}
	want(t, "umount %s", mnt)
	want(t, "e2fsck -fn %s/fs.raw", d.o.Dir)
	want(t, "mount -o loop,ro %s/fs.raw %s && cat %s/hello && umount %s", d.o.Dir, mnt, mnt, mnt)
	want(t, "mount -o loop %s/fs.raw %s", d.o.Dir, mnt)
	if out, err := sh(t, "yes | dd of=%s/full bs=1M count=48 iflag=fullblock conv=fsync status=none", mnt); err == nil {
		t.Errorf("it took more than its bound: %s", out)
	}
	sh(t, "umount %s", mnt)
	if u := d.Usage(); u.Scratch > 32<<20 {
		t.Errorf("%+v, over the bound", u)
	}
	for try := 0; ; try++ { // the kernel lets go of loop devices a moment later
		if err := d.End(false); err == nil {
			break
		} else if try == 50 {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if after := want(t, "sha256sum < %s", disk.Name()); after != before {
		t.Error("the point was written")
	}
}

func TestDrillTellsDamage(t *testing.T) {
	needs(t, "dd")
	disk := sparse(t)
	disk.broken.Store(5<<20 + 77)
	told := make(chan string, 100)
	d := start(t, Options{Files: []File{{"a.raw", disk}}, Failed: func(file string, _ int64, err error) { told <- file + ": " + err.Error() }})
	out, err := sh(t, "dd if=%s/a.raw of=%s bs=4k skip=1280 count=1 iflag=direct", d.o.Dir, filepath.Join(t.TempDir(), "got"))
	if err == nil || !strings.Contains(out, "Input/output error") {
		t.Fatalf("a damaged page was served: %s", out)
	}
	if got := <-told; got != "a.raw: damaged at 5242957" {
		t.Errorf("told %q", got)
	}
	if u := d.Usage(); u.Errors == 0 || u.Last != "damaged at 5242957" {
		t.Errorf("usage %+v", u)
	}
	want(t, "dd if=%s/a.raw bs=1M count=4 status=none | cmp -n 4194304 - %s", d.o.Dir, disk.Name())
	disk.broken.Store(0)
	want(t, "cmp %s/a.raw %s", d.o.Dir, disk.Name()) // the error was not kept
}

func TestDrillEndsByForce(t *testing.T) {
	needs(t, "tail")
	disk := sparse(t)
	d := start(t, Options{Files: []File{{"a.raw", disk}}})
	f, err := os.Open(d.o.Dir + "/a.raw")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var busy *Busy
	if err := d.End(false); !errors.As(err, &busy) || len(busy.By) != 1 || !strings.Contains(busy.By[0], fmt.Sprint(os.Getpid())) {
		t.Fatalf("got %v, want this process named", err)
	}
	want(t, "cmp -n 4096 %s/a.raw %s", d.o.Dir, disk.Name())
	if err := d.End(true); err != nil {
		t.Fatal(err)
	}
	if _, err := f.ReadAt(make([]byte, 512), 20<<20); err == nil { // which the kernel has not kept
		t.Error("a reader goes on after the end")
	}
}

func TestDrillUnmountedByOthers(t *testing.T) {
	needs(t, "umount", "mount")
	disk := sparse(t)
	d := start(t, Options{Files: []File{{"a.raw", disk}}})
	want(t, "umount %s", d.o.Dir)
	select {
	case <-d.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("it did not notice")
	}
	// Lazily, while it is in use: then only force ends it.
	d = start(t, Options{Files: []File{{"a.raw", disk}}})
	f, err := os.Open(d.o.Dir + "/a.raw")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want(t, "umount -l %s", d.o.Dir)
	if err := d.End(false); !errors.Is(err, ErrInUse) {
		t.Errorf("got %v, want %v", err, ErrInUse)
	}
	if err := d.End(true); err != nil {
		t.Error(err)
	}
	// Somebody's mount above ours is left alone.
	d = start(t, Options{Files: []File{{"a.raw", disk}}})
	want(t, "mount -t tmpfs theirs %s", d.o.Dir)
	err = Clean(d.o.Source)
	if err == nil || !strings.Contains(err.Error(), "theirs") {
		t.Errorf("got %v, want what is mounted above", err)
	}
	want(t, "umount %s", d.o.Dir)
}

func TestDrillRefusesPlaces(t *testing.T) {
	needs(t, "mount")
	disk := sparse(t)
	full, mounted := t.TempDir(), t.TempDir()
	want(t, "touch %s/something; mount -t tmpfs x %s", full, mounted)
	defer sh(t, "umount %s", mounted)
	for dir, why := range map[string]error{full: ErrNotEmpty, mounted: ErrMounted, full + "/none": os.ErrNotExist, full + "/something": syscall.ENOTDIR, "here": nil, full + "/../" + filepath.Base(mounted): nil} {
		d, err := Start(Options{Dir: dir, Source: "x", Files: []File{{"a.raw", disk}}})
		if err == nil {
			d.End(true)
			t.Errorf("%s was taken", dir)
		} else if why != nil && !errors.Is(err, why) {
			t.Errorf("%s: got %v, want %v", dir, err, why)
		}
	}
}

// TestDrillOfAKilledProcess is also the process that is killed.
func TestDrillOfAKilledProcess(t *testing.T) {
	needs(t)
	disk := sparse(t)
	if dir := os.Getenv("FAILBACK_DRILL_DIR"); dir != "" {
		if _, err := Start(Options{Dir: dir, Source: "failback test of a kill", Files: []File{{"a.raw", disk}}, Writable: true, Scratch: os.Getenv("FAILBACK_DRILL_SCRATCH"), Limit: 1 << 20}); err != nil {
			t.Fatal(err)
		}
		fmt.Println("mounted")
		select {}
	}
	dir, scratch := t.TempDir(), t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run", "^TestDrillOfAKilledProcess$")
	cmd.Env = append(os.Environ(), "FAILBACK_DRILL_DIR="+dir, "FAILBACK_DRILL_SCRATCH="+scratch)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out := must(cmd.StdoutPipe())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "mounted" {
		t.Log(lines.Text())
	}
	want(t, "yes | dd of=%s/a.raw bs=64k count=4 conv=notrunc iflag=fullblock status=none", dir)
	f, err := os.Open(dir + "/a.raw")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd.Process.Kill()
	cmd.Wait()
	if _, err := f.ReadAt(make([]byte, 512), 20<<20); err == nil {
		t.Error("a reader goes on after the kill")
	}
	if err := checkDir(dir); !errors.Is(err, ErrDead) {
		t.Errorf("a dead mount: got %v, want %v", err, ErrDead)
	}
	if err := Clean("failback test"); err != nil { // of another
		t.Error(err)
	}
	if _, is := top(must(mounts()), dir); !is {
		t.Error("the mount of another drill was taken away")
	}
	for range 2 { // a second time there is nothing to do
		if err := Clean("failback test of a kill"); err != nil {
			t.Error(err)
		}
	}
	if err := checkDir(dir); err != nil {
		t.Error(err)
	}
	if got := want(t, "ls -A %s", scratch); got != "" {
		t.Errorf("the scratch file is left: %s", got)
	}
}

func TestParseMounts(t *testing.T) {
	got := parseMounts([]byte(`25 1 0:21 / /proc rw,relatime shared:12 - proc proc rw
36 25 0:45 / /mnt/a\040b\134c ro,nosuid - fuse.failback-drill failback:erp\0407 ro,user_id=0
bad line
`))
	if len(got) != 2 || got[1] != (mounted{45, `/mnt/a b\c`, "fuse.failback-drill", "failback:erp 7"}) {
		t.Errorf("got %+v", got)
	}
	if !got[1].ours("failback:erp 7") || got[1].ours("failback:erp") || got[0].ours("proc") {
		t.Error("whose is whose")
	}
}
