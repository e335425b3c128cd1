package blockio

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// maxChain bounds the parents of a snapshot (I12). ESXi allows 32, hosted products a few more.
const maxChain = 128

// followChain finds the disks that a snapshot was made on, down to one that has no parent, and checks of each that it is the one:
// it has the content id that its child noted, and the child's size.
func (l *layout) followChain() error {
	links := []*layout{l}
	for at := l; at.descriptor != nil && at.descriptor.isChild(); at = at.parent {
		if len(links) > maxChain {
			return corruptAt(l.path, 0, "more than %d disks below it", maxChain)
		}
		parent, err := at.findParent()
		for _, link := range links {
			if err == nil && os.SameFile(link.info, parent.info) {
				err = at.badParent("the chain leads back to %s", link.path)
			}
		}
		if err == nil {
			err = at.judgeParent(parent)
		}
		if err != nil {
			broken := at.describeParent(at.parentPath(), parent, err)
			l.broken = &broken
			return err
		}
		at.parent = parent
		links = append(links, parent)
	}
	return judgeMixture(links)
}

// findParent looks at the disk that the descriptor names. An absolute path is of the host that made the snapshot: only its last
// part is of use here, and the content id tells whether that is the disk.
func (l *layout) findParent() (*layout, error) {
	name := l.descriptor.key("parentFileNameHint")
	if name == "" {
		return nil, l.badParent("it has a parent with content id %08x, but parentFileNameHint is missing", l.descriptor.parentID)
	}
	if l.descriptor.parentID == noParent {
		return nil, l.badParent("it names a parent (%q) without its content id", clip(name))
	}
	name = lastOfAbsolute(name)
	f, err := openBeneath(filepath.Dir(l.path), name, false)
	if os.IsNotExist(err) {
		return nil, l.badParent("the parent %q is missing beside it", clip(name))
	}
	if err != nil {
		return nil, l.badParent("the parent %q: %v", clip(name), err)
	}
	f.Close()
	parent, err := look(filepath.Join(filepath.Dir(l.path), name))
	if err != nil {
		return nil, err
	}
	if parent.descriptor == nil {
		return nil, l.badParent("the parent %q is not a VMDK", clip(name))
	}
	return parent, parent.unreadable
}

// lastOfAbsolute is the last part of an absolute path, of Windows too, and name itself where it is none.
func lastOfAbsolute(name string) string {
	switch {
	case filepath.IsAbs(name) || strings.HasPrefix(name, "/"):
		return filepath.Base(name)
	case len(name) > 2 && name[1:3] == `:\`:
		return name[strings.LastIndexByte(name, '\\')+1:]
	}
	return name
}

// parentPath is where the parent should be.
func (l *layout) parentPath() string {
	return filepath.Join(filepath.Dir(l.path), lastOfAbsolute(l.descriptor.key("parentFileNameHint")))
}

// describeParent tells of the disk at path, on which l was made; parent is nil where it could not be looked at, and err what is wrong with it.
func (l *layout) describeParent(path string, parent *layout, err error) Parent {
	p := Parent{Path: path, Noted: l.descriptor.parentID}
	if parent != nil && parent.descriptor != nil {
		p.Format, p.ContentID = parent.description.Format, parent.descriptor.contentID
	}
	if err != nil {
		p.Wrong = err.Error()
		if d := (*Damage)(nil); errors.As(err, &d) && d.File == l.path {
			p.Wrong = d.What
		}
	}
	return p
}

// judgeParent checks that parent is what it was when l was made on it.
func (l *layout) judgeParent(parent *layout) error {
	d, p := l.descriptor, parent.descriptor
	if d.parentID != p.contentID {
		return l.badParent("the parent %s was changed after the snapshot was made: its content id is %08x, want %08x", parent.path, p.contentID, d.parentID)
	}
	if d.sectors() != p.sectors() {
		return l.badParent("the parent %s has %d sectors, the snapshot %d", parent.path, p.sectors(), d.sectors())
	}
	for _, piece := range l.pieces {
		if !piece.kind.grained() {
			return unsupported(l.path, "a snapshot with extents that are not sparse")
		}
	}
	return nil
}

// judgeMixture: no product makes snapshots of both of ESXi's kinds in one chain.
func judgeMixture(links []*layout) error {
	var cowd, se string
	for _, link := range links {
		for _, p := range link.pieces {
			switch p.kind {
			case pieceCOWD:
				cowd = p.path
			case pieceSE:
				se = p.path
			}
		}
	}
	if cowd != "" && se != "" {
		return unsupported(links[0].path, "vmfsSparse (%s) and seSparse (%s) in one chain", cowd, se)
	}
	return nil
}

// badParent is damage where the descriptor names the parent.
func (l *layout) badParent(format string, args ...any) error {
	at, ok := l.descriptor.keyAt["parentfilenamehint"]
	if !ok {
		at = l.descriptor.keyAt["parentcid"]
	}
	return corruptAt(l.path, at, format, args...)
}
