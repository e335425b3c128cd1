package volume

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"failback/replication"
)

// host is a machine's mountinfo: a root, a retention volume, and whatever the tests need besides.
const host = `22 28 0:21 / /proc rw,nosuid shared:5 - proc proc rw
28 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
30 28 8:17 / /mnt/retention rw,relatime shared:2 - ext4 /dev/sdb1 rw
31 28 8:33 / /data rw,relatime shared:3 master:9 propagate_from:2 - xfs /dev/sdc1 rw,attr2
32 28 8:33 /inner /srv/bind rw,relatime - xfs /dev/sdc1 rw,attr2
33 28 0:45 /@ret /pool/ret rw - btrfs /dev/sdd rw,subvol=/@ret
34 28 0:45 /@home /pool/home rw - btrfs /dev/sdd rw,subvol=/@home
35 28 8:65 / /over rw - ext4 /dev/sde1 rw
36 35 8:66 / /over rw - ext4 /dev/sde2 rw
37 28 8:81 / /outer rw - ext4 /dev/sdf1 rw
38 37 8:82 / /outer/below rw - ext4 /dev/sdf2 rw
39 28 8:97 / /ro ro,relatime - ext4 /dev/sdg1 rw
40 28 8:98 / /super rw,relatime - ext4 /dev/sdg2 ro
41 28 0:50 / /net rw - nfs4 server:/export rw,vers=4.2
42 28 8:113 / /stick rw - vfat /dev/sdh1 rw
43 28 0:51 / /mem rw - tmpfs tmpfs rw
44 28 0:52 / /layers rw - overlay overlay rw,lowerdir=/a,upperdir=/b,workdir=/c
45 28 0:53 / /guest rw - 9p share rw
46 28 0:54 / /program rw - fuse.sshfs me@there:/ rw
47 28 8:129 / /old rw - minix /dev/sdi1 rw
48 28 8:130 / /fast rw - xfs /dev/sdi2 rw,nobarrier
49 28 8:145 / /with\040space\011and\134 rw - ext4 /dev/sdj\0401 rw
50 35 8:161 / /over/hidden rw - ext4 /dev/sdk rw
`

func hostSetting(t *testing.T, uses ...placed) setting {
	t.Helper()
	table, err := ParseMountinfo([]byte(host))
	if err != nil {
		t.Fatal(err)
	}
	return setting{table: table, root: "8:1", uses: uses}
}

func mountOf(t *testing.T, table Table, device string) Mount {
	t.Helper()
	for _, m := range table {
		if m.Device == device || m.Path == device {
			return m
		}
	}
	t.Fatalf("no mount %s", device)
	return Mount{}
}

func brief(findings []replication.Finding) string {
	var all []string
	for _, f := range findings {
		all = append(all, string(f.Severity)+" "+f.Code)
	}
	return strings.Join(all, ", ")
}

func TestJudge(t *testing.T) {
	s := hostSetting(t)
	use := func(code, path string) []placed {
		m, _ := s.table.At(path)
		return []placed{{Use{code, "thing of ours", path}, m.ID, ""}}
	}
	for _, c := range []struct {
		name, volume string // a device, or a path
		change       func(*seen)
		uses         []placed
		want, shared string // with sharing; "" as without
		word         string // in the first message
	}{
		{name: "Own", volume: "/mnt/retention"},
		{name: "Root", volume: "/", want: "error volume-root", shared: "warning volume-root"},
		{name: "NotMounted", volume: "/", change: func(v *seen) { v.asked = "/mnt/other" }, want: "error volume-root", shared: "warning volume-root", word: "nothing is mounted there"},
		{name: "Target", volume: "/mnt/retention", uses: use(CodeTarget, "/mnt/retention/vm/disk.vmdk"), want: "error volume-target", shared: "warning volume-target", word: "/mnt/retention/vm/disk.vmdk"},
		{name: "TargetElsewhere", volume: "/mnt/retention", uses: use(CodeTarget, "/mnt/retention2/disk.vmdk")},
		{name: "TargetOfUnknownPlace", volume: "/mnt/retention", uses: []placed{{Use{CodeTarget, "t", "/x"}, 0, ""}}},
		{name: "TargetIsItsDevice", volume: "/mnt/retention", uses: []placed{{Use{CodeTarget, "t", "/dev/sdb1"}, 28, "8:17"}}, want: "error volume-target", word: "/dev/sdb1"},
		{name: "TargetIsAnotherDevice", volume: "/mnt/retention", uses: []placed{{Use{CodeTarget, "t", "/dev/sdb2"}, 28, "8:18"}}},
		{name: "State", volume: "/mnt/retention", uses: use(CodeState, "/mnt/retention/state"), want: "error volume-state", shared: "warning volume-state"},
		{name: "Program", volume: "/mnt/retention", uses: use(CodeProgram, "/mnt/retention/bin/master-target"), want: "error volume-program", shared: "warning volume-program"},
		{name: "StateOfAnother", volume: "/mnt/retention", change: func(v *seen) { v.state = []string{"/mnt/retention/ps"} }, want: "error volume-state", shared: "warning volume-state", word: "/mnt/retention/ps"},
		{name: "TargetOnAnotherSubvolume", volume: "/pool/ret", uses: use(CodeTarget, "/pool/home/disk"), want: "error volume-target, error volume-shared", shared: "warning volume-target, warning volume-shared"},
		{name: "Subvolume", volume: "/pool/ret", want: "error volume-shared", shared: "warning volume-shared", word: "/pool/home"},
		{name: "BoundElsewhere", volume: "/data", want: "error volume-shared", shared: "warning volume-shared", word: "/srv/bind"},
		{name: "MountUnder", volume: "/outer", want: "error volume-mount-under", shared: "warning volume-mount-under", word: "/outer/below"},
		{name: "Hidden", volume: "/dev/sde1", want: "error volume-hidden"},
		{name: "Above", volume: "/dev/sde2"},
		{name: "ReadOnlyMount", volume: "/ro", want: "error volume-read-only"},
		{name: "ReadOnlyFileSystem", volume: "/super", want: "error volume-read-only"},
		{name: "Network", volume: "/net", want: "error volume-network"},
		{name: "FAT", volume: "/stick", want: "error volume-fat"},
		{name: "FATByMagic", volume: "/old", change: func(v *seen) { v.magic = 0x2011bab0 }, want: "error volume-fat"},
		{name: "Memory", volume: "/mem", want: "error volume-memory", shared: "warning volume-memory"},
		{name: "Overlay", volume: "/layers", want: "error volume-overlay", shared: "warning volume-overlay"},
		{name: "HostShare", volume: "/guest", want: "error volume-host-share", shared: "warning volume-host-share"},
		{name: "FUSE", volume: "/program", want: "error volume-fuse"},
		{name: "NotAsked", volume: "/program", change: func(v *seen) { v.passed, v.size = true, 0 }, want: "error volume-fuse"},
		{name: "Untried", volume: "/old", want: "warning volume-untried"},
		{name: "NoBarrier", volume: "/fast", want: "warning volume-barrier"},
		{name: "NoCapacity", volume: "/mnt/retention", change: func(v *seen) { v.size = 0 }, want: "error volume-no-capacity"},
		{name: "Locked", volume: "/mnt/retention", change: func(v *seen) { v.locked = true }, want: "error volume-locked"},
		{name: "Silent", volume: "/mnt/retention", change: func(v *seen) { v.silent = true }, want: "error volume-silent"},
		{name: "Unreadable", volume: "/mnt/retention", change: func(v *seen) { v.err = errors.New("oops") }, want: "error volume-silent", word: "oops"},
		{name: "Probed", volume: "/mnt/retention", change: func(v *seen) { v.probed = true }},
		{name: "ProbeFailed", volume: "/mnt/retention", change: func(v *seen) { v.probed, v.probe = true, errors.New("oops") }, want: "error volume-probe", word: "oops"},
		{name: "NotEmpty", volume: "/mnt/retention", change: func(v *seen) { v.foreign = []string{"photos"} }, want: "warning volume-not-empty", word: "photos"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := seen{Mount: mountOf(t, s.table, c.volume), size: 1 << 40, free: 1 << 39, magic: 0xef53}
			if c.change != nil {
				c.change(&v)
			}
			if c.shared == "" {
				c.shared = c.want
			}
			with := s
			with.uses = c.uses
			got := judge(v, with, false)
			if brief(got) != c.want {
				t.Errorf("got  %s\nwant %s\n%+v", brief(got), c.want, got)
			}
			if shared := judge(v, with, true); brief(shared) != c.shared {
				t.Errorf("with sharing: got  %s\nwant %s", brief(shared), c.shared)
			}
			for i, f := range got {
				if f.Remedy == "" || f.Subject == "" || !strings.Contains(f.Message, v.Path) || i == 0 && !strings.Contains(f.Message, c.word) {
					t.Errorf("finding without evidence or remedy: %+v", f)
				}
			}
		})
	}
}

func TestMountinfoIsRead(t *testing.T) {
	table := hostSetting(t).table
	got := fmt.Sprintf("%+v", mountOf(t, table, "/dev/sdj 1"))
	if want := fmt.Sprintf("%+v", Mount{ID: 49, Parent: 28, FS: "8:145", Root: "/", Path: "/with space\tand\\", Type: "ext4", Device: "/dev/sdj 1", Options: "rw,rw"}); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if m := mountOf(t, table, "/data"); m.Type != "xfs" || m.Options != "rw,relatime,rw,attr2" {
		t.Errorf("optional fields: got %+v", m)
	}
	for _, line := range []string{"", "1 2 8:1 / /", "1 2 8:1 / / rw -", "1 2 8:1 / / rw - ext4 dev", "x 2 8:1 / / rw - ext4 dev rw", "1 x 8:1 / / rw - ext4 dev rw", "1 2 8:1 / / rw shared:1 ext4 dev rw"} {
		if got, err := ParseMountinfo([]byte(line + "\n")); err == nil {
			t.Errorf("%q: read as %+v", line, got)
		}
	}
}

func FuzzMountinfo(f *testing.F) {
	f.Add([]byte(host))
	f.Add([]byte("1 1 0:1 / / rw - a b c\n1 1 0:1 / / rw - a b c\n2 2 0:1 / /x rw - a b c\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		table, err := ParseMountinfo(text)
		if err == nil {
			table.At("/x/y/z")
		}
	})
}

// TestPathIsOnItsMount is about binds, mounts over mounts, and what they hide.
func TestPathIsOnItsMount(t *testing.T) {
	table, err := ParseMountinfo([]byte(host + `60 28 9:1 / /a rw - ext4 a rw
61 60 9:2 / /a/b rw - ext4 ab rw
62 60 9:3 / /a rw - ext4 over-a rw
63 62 9:4 / /a/b/c rw - ext4 over-abc rw
64 28 9:5 / /a2 rw - ext4 a2 rw
`))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/": "/dev/sda1", "/etc/x": "/dev/sda1", "/mnt/retention": "/dev/sdb1", "/mnt/retention/": "/dev/sdb1", "/mnt/retention2": "/dev/sda1", "/mnt": "/dev/sda1",
		"/a": "over-a", "/a/b": "over-a", "/a/b/x": "over-a", "/a/b/c": "over-abc", "/a/b/c/d": "over-abc", "/a2/b": "a2", "/over/x": "/dev/sde2",
		"/mnt/../data/x": "/dev/sdc1",
	} {
		if m, ok := table.At(path); !ok || m.Device != want {
			t.Errorf("%s: got %+v, %v, want %s", path, m, ok, want)
		}
	}
	var hidden []string
	for _, m := range table {
		if m.Hidden {
			hidden = append(hidden, m.Device)
		}
	}
	if want := []string{"/dev/sde1", "/dev/sdk", "a", "ab"}; !slices.Equal(hidden, want) {
		t.Errorf("hidden: got %q, want %q", hidden, want)
	}
	if _, ok := (Table{}).At("/x"); ok {
		t.Error("a path is on a mount of an empty table")
	}
}
