package blockio

// geometry is the cylinders, heads and sectors per track that a descriptor tells a BIOS.
type geometry struct{ cylinders, heads, sectors int64 }

// geometryOf follows what VMware writes for SCSI disks: 64/32 below 1 GiB, 128/32 up to 2 GiB, 255/63 above; whole cylinders,
// at least one and at most 65535.
func geometryOf(size int64) geometry {
	g := geometry{heads: 255, sectors: 63}
	switch {
	case size < 1<<30:
		g.heads, g.sectors = 64, 32
	case size <= 2<<30:
		g.heads, g.sectors = 128, 32
	}
	g.cylinders = min(max(size/SectorSize/(g.heads*g.sectors), 1), 65535)
	return g
}
