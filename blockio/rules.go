package blockio

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// The rules that a disk has to pass before a byte of it is written (I8). They look at files only; whether a machine that uses
// the disk is powered on is the platform's to say.

// applyRules adds the refusals that follow from the directory and the format.
func (l *layout) applyRules() error {
	switch f := l.description.Format; f {
	case FormatRaw, FormatDevice, FormatVMFS, FormatMonolithicFlat, FormatTwoGbMaxExtentFlat, FormatMonolithicSparse, FormatTwoGbSparse:
	default:
		l.refuse("disks of type %s are never written; make a new one (for ESXi: vmfs) and replicate to that", clip(string(f)))
	}
	if l.description.Format == FormatDevice {
		return nil
	}
	if d := l.descriptor; d != nil {
		if d.isChild() {
			l.refuse("it is a snapshot of another disk (%q); consolidate the snapshots first", clip(d.key("parentFileNameHint")))
		}
		children, err := childrenOf(l.path, d.contentID)
		if err != nil {
			return err
		}
		if len(children) > 0 {
			l.refuse("snapshots depend on it (%s): writing would destroy them; consolidate the snapshots first", listFew(children))
		}
	}
	return l.applyLockRules()
}

// applyLockRules looks for loop devices, and for the lock files of ESXi on NFS and of the hosted products.
func (l *layout) applyLockRules() error {
	files := []string{l.path}
	inodes := map[uint64]bool{}
	if info, err := os.Stat(l.path); err == nil {
		_, inode := fileIdentity(info)
		inodes[inode] = true
	}
	for _, p := range l.pieces {
		if p.info != nil {
			files = append(files, p.path)
			_, inode := fileIdentity(p.info)
			inodes[inode] = true
		}
	}
	attached := loopFiles()
	for _, f := range files {
		abs, err := filepath.Abs(f)
		if err != nil {
			return err
		}
		if device := attached[abs]; device != "" {
			l.refusals = append(l.refusals, refusal{cause: ErrInUse, reason: fmt.Sprintf("%s is attached to %s; detach it (losetup --detach), "+
				"or replicate to that device", f, device)})
		}
	}
	return l.applyLockFiles(files, inodes)
}

// applyLockFiles looks for lock files beside each of the files.
func (l *layout) applyLockFiles(files []string, inodes map[uint64]bool) error {
	var seen []string
	for _, f := range files {
		dir := filepath.Dir(f)
		if slices.Contains(seen, dir) {
			continue
		}
		seen = append(seen, dir)
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			inode, ok := inodeOfLockName(e.Name())
			held := ok && inodes[inode] || slices.ContainsFunc(files, func(f string) bool { return e.Name() == filepath.Base(f)+".lck" })
			if held {
				l.refusals = append(l.refusals, refusal{cause: ErrInUse, reason: fmt.Sprintf("the lock %s says that %s has it open; "+
					"power the machine off, or remove the lock if no host holds it", filepath.Join(dir, e.Name()), lockHolder(filepath.Join(dir, e.Name())))})
			}
		}
	}
	return nil
}

// lockHolder names the host that made an NFS lock, as far as the file tells: its name is at a fixed place, in plain text.
func lockHolder(path string) string {
	const at = 0x14
	b := make([]byte, 64)
	f, err := os.Open(path)
	if err != nil {
		return "a host"
	}
	defer f.Close()
	n, _ := f.ReadAt(b, at) // a directory, or a lock of another kind, has none
	end := 0
	for end < n && (b[end] >= '0' && b[end] <= '9' || b[end]|0x20 >= 'a' && b[end]|0x20 <= 'z' || b[end] == '.' || b[end] == '-') {
		end++
	}
	if end < 2 {
		return "a host"
	}
	return "host " + string(b[:end])
}

// inodeOfLockName reads the file number out of the name of an NFS lock of ESXi: .lck- and 8 bytes, little-endian, in hexadecimal.
func inodeOfLockName(name string) (uint64, bool) {
	digits, ok := strings.CutPrefix(strings.ToLower(name), ".lck-")
	if !ok || len(digits) != 16 {
		return 0, false
	}
	b, err := hex.DecodeString(digits)
	if err != nil {
		return 0, false
	}
	return binary.LittleEndian.Uint64(b), true
}

// refused returns the reasons why l must not be written, nil when there are none.
func (l *layout) refused(o TargetOptions) error {
	ours := l.description.ContentID != 0 && slices.Contains(o.ResumeContentIDs, l.description.ContentID)
	for _, r := range l.refusals {
		if r.ours && ours {
			continue
		}
		if r.cause != nil {
			return fmt.Errorf("%w: %w: %s: %s", ErrNotTarget, r.cause, l.description.Path, r.reason)
		}
		return fmt.Errorf("%w: %s: %s", ErrNotTarget, l.description.Path, r.reason)
	}
	return nil
}

// childrenOf lists the VMDKs beside path that are made on it: those that name it or its content id as their parent, and those
// that have the name of its snapshots. A file that cannot be judged counts.
func childrenOf(path string, contentID uint32) ([]string, error) {
	dir, base := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	stem := strings.TrimSuffix(base, filepath.Ext(base))
	snapshot := regexp.MustCompile(`(?i)^` + regexp.QuoteMeta(stem) + `-\d{6}(-delta|-sesparse)?\.vmdk$`)
	var children []string
	for _, e := range entries {
		name := e.Name()
		if name == base || !hasVMDKName(name) || isFlatName(name) || !e.Type().IsRegular() {
			continue
		}
		if snapshot.MatchString(name) || isChild(filepath.Join(dir, name), base, contentID) {
			children = append(children, name)
		}
	}
	return children, nil
}

func isChild(path, parent string, contentID uint32) bool {
	text, err := descriptorText(path)
	if err != nil {
		return !os.IsNotExist(err)
	}
	for _, line := range strings.Split(string(text), "\n") {
		key, value, ok := splitKey(strings.TrimSpace(line))
		switch {
		case !ok:
		case key == "parentfilenamehint":
			if name := value[strings.LastIndexAny(value, `/\`)+1:]; strings.EqualFold(name, parent) {
				return true
			}
		case key == "parentcid":
			if id, err := parseID(value); err == nil && id == contentID && validContentID(id) == nil {
				return true
			}
		}
	}
	return false
}

// descriptorText reads the descriptor of a VMDK, of its own or embedded, without judging it; nothing where there is none.
func descriptorText(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head := make([]byte, sparseHeaderBytes)
	n, err := io.ReadFull(f, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, err
	}
	off, size := int64(0), int64(maxDescriptorBytes)
	switch {
	case n == len(head) && binary.LittleEndian.Uint32(head) == sparseMagic:
		sectors := binary.LittleEndian.Uint64(head[28:])
		if sectors == 0 || sectors > maxSectors {
			return nil, nil
		}
		off, size = int64(sectors)*SectorSize, min(int64(binary.LittleEndian.Uint64(head[36:])%maxSectors)*SectorSize, maxDescriptorBytes)
	case !isDescriptor(head[:n]):
		return nil, nil
	}
	return io.ReadAll(io.NewSectionReader(f, off, size))
}

func listFew(names []string) string {
	if len(names) > 3 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:3], ", "), len(names)-3)
	}
	return strings.Join(names, ", ")
}
