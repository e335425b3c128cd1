package blockio

import (
	"fmt"
	"strings"
)

// newDisk is what a descriptor for a new disk is made from.
type newDisk struct {
	format    Format
	size      int64 // bytes
	contentID uint32
	longID    string
	uuid      string
	thin      bool
	extents   []extentLine
}

// text writes the descriptor with the keys, the order and the blank lines that ESXi uses on NFS, so that no reader has to be
// tolerant.
func (n newDisk) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Disk DescriptorFile\nversion=1\nencoding=\"UTF-8\"\nCID=%08x\nparentCID=%08x\n", n.contentID, uint32(noParent))
	if n.format == FormatVMFS {
		b.WriteString("isNativeSnapshot=\"no\"\n")
	}
	fmt.Fprintf(&b, "createType=\"%s\"\n\n# Extent description\n", n.format)
	for _, e := range n.extents {
		fmt.Fprintf(&b, "%s %d %s \"%s\"", e.access, e.sectors, e.kind, e.file)
		if e.kind == "FLAT" {
			fmt.Fprintf(&b, " %d", e.offset)
		}
		b.WriteByte('\n')
	}
	b.WriteString("\n# The Disk Data Base\n#DDB\n\n")
	g := geometryOf(n.size)
	fmt.Fprintf(&b, "ddb.adapterType = \"lsilogic\"\n")
	fmt.Fprintf(&b, "ddb.geometry.cylinders = \"%d\"\nddb.geometry.heads = \"%d\"\nddb.geometry.sectors = \"%d\"\n",
		g.cylinders, g.heads, g.sectors)
	fmt.Fprintf(&b, "ddb.longContentID = \"%s\"\n", n.longID)
	if n.thin {
		b.WriteString("ddb.thinProvisioned = \"1\"\n")
	}
	b.WriteString("ddb.toolsInstallType = \"4\"\nddb.toolsVersion = \"2147483647\"\n")
	fmt.Fprintf(&b, "ddb.uuid = \"%s\"\nddb.virtualHWVersion = \"14\"\n", n.uuid)
	return b.String()
}
