package volume

import "strings"

// kind says what a type of file system means for a journal.
type kind int

const (
	kindUntried   kind = iota // not known here
	kindLocal                 // a disk's, that survives a power failure by a journal or copy-on-write of its own
	kindPseudo                // no place for files: left out of lists
	kindFAT                   //
	kindMemory                // the rest are as the rules name them
	kindOverlay               //
	kindNetwork               //
	kindHostShare             //
	kindFUSE                  //
)

// kindByType knows the types as /proc/filesystems and mount(8) name them, and, in small letters, as Windows does.
var kindByType = byType(map[kind]string{
	kindLocal:     "ext3 ext4 xfs btrfs zfs bcachefs f2fs jfs nilfs2 ntfs refs",
	kindFAT:       "vfat msdos umsdos exfat fat fat12 fat16 fat32",
	kindMemory:    "tmpfs ramfs ramdisk",
	kindOverlay:   "overlay overlayfs aufs unionfs",
	kindNetwork:   "nfs nfs4 cifs smb smb2 smb3 smbfs ceph afs coda ncpfs lustre beegfs gpfs orangefs pvfs2 remote",
	kindHostShare: "9p virtiofs vboxsf vmhgfs prl_fs drvfs hostfs",
	kindPseudo: "proc sysfs devtmpfs devpts cgroup cgroup2 cpuset securityfs debugfs tracefs pstore bpf configfs fusectl hugetlbfs mqueue rpc_pipefs " +
		"binfmt_misc autofs efivarfs selinuxfs smackfs apparmorfs nsfs nfsd nullfs pipefs sockfs bdev anon_inodefs resctrl binder functionfs xenfs usbfs devfs openpromfs " +
		"fuse.failback-drill fuse.lxcfs fuse.gvfsd-fuse fuse.portal",
})

func byType(words map[kind]string) map[string]kind {
	all := map[string]kind{}
	for k, types := range words {
		for t := range strings.FieldsSeq(types) {
			all[t] = k
		}
	}
	return all
}

// Magic numbers of statfs(2) that outrank a type that is not known here (linux/magic.h, exfat_fs.h).
var kindByMagic = map[int64]kind{
	0x4d44: kindFAT, 0x2011bab0: kindFAT,
	0x01021994: kindMemory, 0x858458f6: kindMemory,
	0x794c7630: kindOverlay,
	0x6969:     kindNetwork, 0xff534d42: kindNetwork, 0xfe534d42: kindNetwork, 0x517b: kindNetwork, 0x00c36400: kindNetwork,
	0x01021997: kindHostShare,
	0x65735546: kindFUSE,
}

// kindOf returns what a file system is, by the name of its type and, where that says nothing, by its magic number.
func kindOf(fsType string, magic int64) kind {
	fsType = strings.ToLower(fsType)
	if k, ok := kindByType[fsType]; ok {
		return k
	}
	if fsType == "fuse" || fsType == "fuseblk" || strings.HasPrefix(fsType, "fuse.") {
		return kindFUSE
	}
	return kindByMagic[magic]
}
