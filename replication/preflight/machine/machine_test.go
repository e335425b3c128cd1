package machine

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// tree writes files (text) and links ("-> to") below a directory.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		err := error(nil)
		if len(text) > 3 && text[:3] == "-> " {
			err = os.Symlink(text[3:], path)
		} else {
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

const uuid = "6000c29812f3a4d5e6f708192a3b4c5d"

// TestLook: a machine of VMware's with two controllers, whose disks are told by a name below by-id and by sysfs; a partition, a DVD drive, a loop device and a card reader without a card are no disks.
func TestLook(t *testing.T) {
	root := tree(t, map[string]string{
		"sys/class/dmi/id/sys_vendor":            "VMware, Inc.\n",
		"sys/class/scsi_host/host0/proc_name":    "ata_piix\n",
		"sys/class/scsi_host/host2/proc_name":    "mptspi\n",
		"sys/class/scsi_host/host3/proc_name":    "vmw_pvscsi\n",
		"sys/block/sda/dev":                      "8:0\n",
		"sys/block/sda/size":                     "41943040\n",
		"sys/block/sdb/dev":                      "8:16\n",
		"sys/block/sdb/size":                     "2048\n",
		"sys/block/sdb/device/wwid":              "naa.6000c29000000000000000000000beef\n",
		"sys/block/sdc/dev":                      "8:32\n",
		"sys/block/sdc/size":                     "0\n",
		"sys/block/nvme0n1/dev":                  "259:0\n",
		"sys/block/sr0/size":                     "2048\n",
		"sys/block/loop0/size":                   "2048\n",
		"sys/block/dm-0/size":                    "2048\n",
		"dev/disk/by-id/wwn-0x" + uuid:           "-> ../../sda",
		"dev/disk/by-id/wwn-0x" + uuid + "-part": "-> ../../sda1",
		"dev/disk/by-id/ata-VMware_DVD":          "-> ../../sr0",
		"proc/1/comm":                            "systemd\n",
		"proc/712/comm":                          "vmtoolsd\n",
		"proc/self/comm":                         "x\n",
	})
	want := Machine{
		Vendor: "VMware, Inc.", Tools: ToolsRunning,
		Controllers: []Controller{{"host0", "ata_piix"}, {"host2", "mptspi"}, {"host3", "vmw_pvscsi"}},
		Disks:       []Disk{{"nvme0n1", "259:0", ""}, {"sda", "8:0", uuid}, {"sdb", "8:16", "6000c29000000000000000000000beef"}},
	}
	got := Look(root)
	if !reflect.DeepEqual(got, want) || !got.VMware() || got.Driven("mptspi", "mptsas") != 1 {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// TestPathsToOneDiskAreOneDisk: a LUN that is reached by two paths is no pair of disks with one UUID.
func TestPathsToOneDiskAreOneDisk(t *testing.T) {
	files := map[string]string{"sys/devices/virtual/block/dm-3/dm/uuid": "mpath-36000c29"}
	for _, name := range []string{"sdb", "sdc"} {
		files["sys/block/"+name+"/dev"] = "8:16"
		files["sys/block/"+name+"/size"] = "2048"
		files["sys/block/"+name+"/holders/dm-3"] = "-> ../../../devices/virtual/block/dm-3"
	}
	files["sys/block/sdd/dev"], files["sys/block/sdd/size"] = "8:48", "2048"
	got := Look(tree(t, files)).Disks
	if len(got) != 2 || got[0].Name != "sdb" || got[1].Name != "sdd" {
		t.Errorf("disks %+v", got)
	}
}

func TestLookAtAMachineThatShowsNothing(t *testing.T) {
	if got := Look(t.TempDir()); !reflect.DeepEqual(got, Machine{Tools: ToolsAbsent}) || got.VMware() {
		t.Errorf("got %+v", got)
	}
	if got := Look(tree(t, map[string]string{"usr/bin/vmtoolsd": "", "proc/1/comm": "init"})); got.Tools != ToolsStopped {
		t.Errorf("tools that are installed only: got %s", got.Tools)
	}
}

// stacked is a volume of LVM on a partition of sda and on sdb, and a multipath device on sdc.
func stacked(t *testing.T) string {
	return tree(t, map[string]string{
		"sys/dev/block/8:0":                           "-> ../../devices/pci/block/sda",
		"sys/dev/block/8:1":                           "-> ../../devices/pci/block/sda/sda1",
		"sys/dev/block/8:32":                          "-> ../../devices/pci/block/sdc",
		"sys/dev/block/253:0":                         "-> ../../devices/virtual/block/dm-0",
		"sys/devices/pci/block/sda/dev":               "8:0",
		"sys/devices/pci/block/sda/sda1/dev":          "8:1",
		"sys/devices/pci/block/sdb/dev":               "8:16",
		"sys/devices/pci/block/sdc/dev":               "8:32",
		"sys/devices/virtual/block/dm-0/dev":          "253:0",
		"sys/devices/virtual/block/dm-1/dev":          "253:1",
		"sys/devices/virtual/block/dm-1/dm/uuid":      "mpath-3600",
		"sys/devices/virtual/block/dm-0/dm/uuid":      "LVM-abcdef\n",
		"sys/devices/virtual/block/dm-0/dm/name":      "vg0-ret\n",
		"sys/devices/virtual/block/dm-0/slaves/sda1":  "-> ../../../../pci/block/sda/sda1",
		"sys/devices/virtual/block/dm-0/slaves/sdb":   "-> ../../../../pci/block/sdb",
		"sys/devices/pci/block/sda/sda1/partition":    "1",
		"sys/devices/pci/block/sda/sda1/holders/dm-0": "-> ../../../../../virtual/block/dm-0",
		"sys/devices/pci/block/sdc/holders/dm-1":      "-> ../../../../virtual/block/dm-1",
	})
}

func TestLayers(t *testing.T) {
	root := stacked(t)
	for number, want := range map[string][]Layer{
		"253:0": {{"dm-0", "vg0-ret"}, {"sda1", ""}, {"sda", ""}, {"sdb", ""}},
		"8:1":   {{"sda1", ""}, {"sda", ""}},
		"8:0":   {{"sda", ""}},
		"0:42":  nil, // an NFS, a btrfs
	} {
		if got := Below(root, number); !reflect.DeepEqual(got, want) {
			t.Errorf("below %s: got %v, want %v", number, got, want)
		}
	}
	for number, want := range map[string][]Layer{
		"8:0":   {{"dm-0", "vg0-ret"}}, // through its partition
		"8:1":   {{"dm-0", "vg0-ret"}},
		"8:32":  {{"dm-1", ""}},
		"253:0": nil,
		"9:9":   nil,
	} {
		if got := Above(root, number); !reflect.DeepEqual(got, want) {
			t.Errorf("above %s: got %v, want %v", number, got, want)
		}
	}
}
