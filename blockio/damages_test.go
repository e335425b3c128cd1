package blockio

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// sparseDamages spoil an image of 40 MiB in which some grains of both tables hold data.
func sparseDamages() []damage {
	h := newSparseHeader(40<<20/SectorSize, true)
	gd, rgd := h.directoryOffset*SectorSize, h.redundantOffset*SectorSize
	gt := gd + h.directorySectors()*SectorSize
	rgt := rgd + h.directorySectors()*SectorSize
	return []damage{
		{name: "Empty", do: cutTo(0)},
		{name: "CutInMagic", do: cutTo(3)},
		{name: "CutInHeader", do: cutTo(100)},
		{name: "CutBehindHeader", do: cutTo(512)},
		{name: "CutInDescriptor", do: cutTo(700)},
		{name: "CutInDirectory", do: cutTo(gd)},
		{name: "CutInTable", do: cutTo(gt + 100)},
		{name: "CutInFirstGrain", do: cutTo(h.overhead*SectorSize + 512)},
		{name: "CutByASector", do: func(b []byte) []byte { return b[:len(b)-SectorSize] }},
		{name: "MagicWrong", do: put32(0, 0x12345678)},
		{name: "MagicUnfinished", do: put32(0, sparseMagicUnfinished)},
		{name: "MagicCOWD", do: put32(0, cowdMagic), want: ErrUnsupported},
		{name: "MagicSESparse", do: put32(0, seSparseMagic), want: ErrUnsupported},
		{name: "VersionZero", do: put32(4, 0), want: ErrUnsupported},
		{name: "VersionFour", do: put32(4, 4), want: ErrUnsupported},
		{name: "VersionThree", do: put32(4, 3), want: ErrNotTarget, write: true},
		{name: "FlagsCompressed", do: put32(8, 3|flagCompressed)},
		{name: "FlagsMarkers", do: put32(8, 3|flagMarkers)},
		{name: "FlagsUnknown", do: put32(8, 3|1<<20), want: ErrUnsupported},
		{name: "CapacityZero", do: put64(12, 0)},
		{name: "CapacityHuge", do: put64(12, 1<<63)},
		{name: "CapacityAllOnes", do: put64(12, 1<<64-1)},
		{name: "CapacityManyTables", do: put64(12, 1<<49)},
		{name: "CapacityBeyondDirectory", do: put64(12, 1<<32)},
		{name: "CapacityLessThanDescriptor", do: put64(12, 1000)},
		{name: "GrainZero", do: put64(20, 0)},
		{name: "GrainOne", do: put64(20, 1)},
		{name: "GrainNotPower", do: put64(20, 100)},
		{name: "GrainHuge", do: put64(20, 1<<40)},
		{name: "GrainNegative", do: put64(20, 1<<63)},
		{name: "DescriptorPastEnd", do: put64(28, 1<<40)},
		{name: "DescriptorNone", do: put64(28, 0), want: ErrUnsupported},
		{name: "DescriptorInDirectory", do: put64(28, uint64(h.directoryOffset))},
		{name: "DescriptorSizeZero", do: put64(36, 0)},
		{name: "DescriptorSizeHuge", do: put64(36, 1<<40)},
		{name: "DescriptorSizeOverDirectory", do: put64(36, 30)},
		{name: "EntriesZero", do: put32(44, 0)},
		{name: "EntriesOdd", do: put32(44, 511)},
		{name: "EntriesHuge", do: put32(44, 1<<31)},
		{name: "RedundantPastEnd", do: put64(48, 1<<40)},
		{name: "RedundantZero", do: put64(48, 0)},
		{name: "RedundantIsDirectory", do: put64(48, uint64(h.directoryOffset))},
		{name: "DirectoryPastEnd", do: put64(56, 1<<40)},
		{name: "DirectoryZero", do: put64(56, 0)},
		{name: "DirectoryInDescriptor", do: put64(56, 5)},
		{name: "DirectoryAtEndMark", do: put64(56, gdAtEnd)},
		{name: "DirectoryHuge", do: put64(56, 1<<63)},
		{name: "OverheadZero", do: put64(64, 0)},
		{name: "OverheadBeforeDirectory", do: put64(64, 10)},
		{name: "OverheadHuge", do: put64(64, 1<<63)},
		{name: "OverheadOverGrains", do: put64(64, uint64(h.overhead+128))},
		{name: "Unclean", do: func(b []byte) []byte { b[sparseUncleanAt] = 1; return b }, want: ErrNotTarget, write: true},
		{name: "LineEnds", do: func(b []byte) []byte { b[74] = '\n'; return b }},
		{name: "Compression", do: func(b []byte) []byte { b[77] = 1; return b }},
		{name: "DescriptorRubbish", do: func(b []byte) []byte { copy(b[512:], "rubbish\n"); return b }},
		{name: "DescriptorErased", do: func(b []byte) []byte { clear(b[512 : 512*21]); return b }},
		{name: "TablePastEnd", do: put32(gd, 1<<31), healed: true},
		{name: "TableAllOnes", do: put32(gd, 1<<32-1), healed: true},
		{name: "TableInHeader", do: put32(gd, 0xffffffff), healed: true},
		{name: "TableIsDescriptor", do: put32(gd, 2), healed: true},
		{name: "TableIsDirectory", do: put32(gd, uint32(h.directoryOffset)), healed: true},
		{name: "TableIsRedundantDirectory", do: put32(gd, uint32(h.redundantOffset)), healed: true},
		{name: "TableTwice", do: put32(gd, uint32(gt/SectorSize)+4)},
		{name: "TableMissing", do: put32(gd, 0)},
		{name: "TableIsTheRedundantOne", do: put32(gd, uint32(rgt/SectorSize)), write: true},
		{name: "TableIsAGrain", do: put32(gd, uint32(h.overhead)), healed: true},
		{name: "RedundantTableMissing", do: put32(rgd, 0)},
		{name: "RedundantTablePastEnd", do: put32(rgd, 1<<31), healed: true},
		{name: "RedundantTableTwice", do: put32(rgd+4, uint32(rgt/SectorSize))},
		{name: "RedundantTableDiffers", do: put32(rgt+400, 1234)},
		{name: "EntryPastEnd", do: put32(gt, 1<<30), healed: true},
		{name: "EntryAllOnes", do: put32(gt, 1<<32-1), healed: true},
		{name: "EntryOneWithoutFlag", do: put32(gt, 1), healed: true},
		{name: "EntryInDescriptor", do: put32(gt, 5), healed: true},
		{name: "EntryInDirectory", do: put32(gt, uint32(h.directoryOffset)), healed: true},
		{name: "EntryInTable", do: put32(gt, uint32(gt/SectorSize)), healed: true},
		{name: "EntryBeforeGrains", do: put32(gt, uint32(h.overhead)-1), healed: true},
		{name: "EntryTwice", do: func(b []byte) []byte { copy(b[gt:gt+4], b[gt+4:]); return b }},
		{name: "EntryHalfway", do: func(b []byte) []byte { b[gt] += 64; return b }},
		{name: "EntryBehindTheDisk", do: func(b []byte) []byte { copy(b[gt+tableBytes+4*200:], b[gt:gt+4]); return b }},
		{name: "EntryErased", do: put32(gt+4, 0)},
		{name: "TableErased", do: func(b []byte) []byte { clear(b[gt : gt+tableBytes]); return b }},
		{name: "TableSectorErased", do: func(b []byte) []byte { clear(b[gt+512 : gt+1024]); clear(b[gt : gt+512]); return b }},
		{name: "DirectoryErased", do: func(b []byte) []byte { clear(b[gd : gd+512]); return b }},
		{name: "EntryAtFileEnd", do: func(b []byte) []byte { return put32(gt, uint32(len(b)/SectorSize)-1)(b) }, healed: true},
	}
}

func u32At(b []byte, at int64) int64 { return int64(binary.LittleEndian.Uint32(b[at:])) }

func u64At(b []byte, at int64) int64 { return int64(binary.LittleEndian.Uint64(b[at:])) }

func cutTo(n int64) func([]byte) []byte { return func(b []byte) []byte { return b[:n] } }

func setByte(at int64, v byte) func([]byte) []byte {
	return func(b []byte) []byte { b[at] = v; return b }
}

// streamDamages spoil a stream with its directory in front: at sector 3, tables at 4 and 8.
func streamDamages(b []byte) []damage {
	const gd, gt = 3 * SectorSize, 4 * SectorSize
	grain, second := u32At(b, gt)*SectorSize, u32At(b, gt+4)*SectorSize
	size := u32At(b, grain+8)
	return []damage{
		{name: "CutInGrain", do: cutTo(grain + 100)},
		{name: "CutInMarker", do: cutTo(grain + 5)},
		{name: "CutInTable", do: cutTo(gt + 5)},
		{name: "CutBeforeLastGrains", do: cutTo(int64(len(b)) / 2)},
		{name: "HeaderTwoFlags", do: put32(8, 1|flagMarkers)},
		{name: "HeaderFlagUnknown", do: put32(8, 1|flagMarkers|flagCompressed|1<<18), want: ErrUnsupported},
		{name: "CompressionNone", do: setByte(77, 0)},
		{name: "CompressionUnknown", do: setByte(77, 2)},
		{name: "GrainTooLarge", do: put64(20, 1<<13)},
		{name: "GrainTwice", do: put64(20, 32)},
		{name: "CapacityHuge", do: put64(12, 1<<62)},
		{name: "CapacityBeyondDirectory", do: put64(12, 1<<33)},
		{name: "DirectoryPastEnd", do: put64(56, 1<<30)},
		{name: "DirectoryAtEndWithoutFooter", do: put64(56, gdAtEnd)},
		{name: "DirectoryInDescriptor", do: put64(56, 2)},
		{name: "TablePastEnd", do: put32(gd, 1<<31)},
		{name: "TableIsDescriptor", do: put32(gd, 1)},
		{name: "TableIsAGrain", do: put32(gd, uint32(grain/SectorSize))},
		{name: "EntryPastEnd", do: put32(gt, 1<<31)},
		{name: "EntryIsDescriptor", do: put32(gt, 1)},
		{name: "EntryIsDirectory", do: put32(gt, 3)},
		{name: "EntryIsTable", do: put32(gt, 5)},
		{name: "EntryTwice", do: put32(gt, uint32(second/SectorSize))},
		{name: "EntryInsideGrain", do: put32(gt, uint32(grain/SectorSize)+1)},
		{name: "MarkerOfAnotherGrain", do: put64(grain, 16)},
		{name: "MarkerNowhere", do: put64(grain, 1<<63)},
		{name: "MarkerHalfAGrain", do: put64(second, 17)},
		{name: "SizeZero", do: put32(grain+8, 0)},
		{name: "SizeHuge", do: put32(grain+8, 1<<32-1)},
		{name: "SizeAboveBound", do: put32(grain+8, 2*8192+1)},
		{name: "SizePastEnd", do: func(b []byte) []byte {
			last := u32At(b, 8*SectorSize+4*(639-512)) * SectorSize
			return put32(last+8, 2*8192)(b)
		}},
		{name: "SizeTooSmall", do: put32(grain+8, uint32(size-9)), inData: true},
		{name: "ZlibHeader", do: setByte(grain+12, 0), inData: true},
		{name: "ZlibDictionary", do: func(b []byte) []byte { b[grain+12], b[grain+13] = 0x78, 0xbb; return b }, inData: true},
		{name: "BareDeflate", do: func(b []byte) []byte { copy(b[grain+12:], b[grain+14:grain+12+size]); return b }, inData: true},
		{name: "DataFlipped", do: func(b []byte) []byte { b[grain+4000] ^= 1; return b }, inData: true},
		{name: "ChecksumFlipped", do: func(b []byte) []byte { b[grain+12+size-1] ^= 1; return b }, inData: true},
		{name: "GrainTooShort", do: regrain(grain, 512), inData: true},
		{name: "GrainTooLong", do: regrain(grain, 8192+1), inData: true},
		{name: "GrainBomb", do: regrain(grain, 4<<20), inData: true},
	}
}

// regrain puts a grain that inflates to n bytes of zero in the place of the first one.
func regrain(at int64, n int) func([]byte) []byte {
	return func(b []byte) []byte { copy(b[at:], compressedGrain(make([]byte, n), 0, streamShape{})); return b }
}

// footerDamages spoil a stream with its directory at the end.
func footerDamages(b []byte) []damage {
	n := int64(len(b))
	footer := n - 2*SectorSize
	gd := u64At(b, footer+56)
	gt := u32At(b, gd*SectorSize)
	return []damage{
		{name: "CutByASector", do: cutTo(n - SectorSize)},
		{name: "CutByABlock", do: cutTo(n - 4096)},
		{name: "CutOddly", do: cutTo(n - 1)},
		{name: "CutAfterHeader", do: cutTo(3 * SectorSize)},
		{name: "FooterMarkerType", do: put32(footer-SectorSize+12, 2)},
		{name: "FooterMarkerSize", do: put32(footer-SectorSize+8, 7)},
		{name: "FooterMarkerValue", do: put64(footer-SectorSize, 2)},
		{name: "EndMarkerMissing", do: put32(footer+SectorSize+12, 1)},
		{name: "EndMarkerSize", do: put32(footer+SectorSize+8, 1)},
		{name: "FooterMagic", do: put32(footer, 0)},
		{name: "FooterErased", do: func(b []byte) []byte { clear(b[footer : footer+SectorSize]); return b }},
		{name: "FooterVersion", do: put32(footer+4, 9), want: ErrUnsupported},
		{name: "FooterWithoutDirectory", do: put64(footer+56, gdAtEnd)},
		{name: "FooterDirectoryPastEnd", do: put64(footer+56, 1<<40)},
		{name: "FooterDirectoryZero", do: put64(footer+56, 0)},
		{name: "FooterDirectoryInDescriptor", do: put64(footer+56, 1)},
		{name: "FooterCapacity", do: put64(footer+12, 1<<20)},
		{name: "FooterGrain", do: put64(footer+20, 8)},
		{name: "FooterFlags", do: put32(footer+8, 1|flagCompressed)},
		{name: "TablePastEnd", do: put32(gd*SectorSize, 1<<31)},
		{name: "TableInDirectory", do: put32(gd*SectorSize, uint32(gd))},
		{name: "EntryPastEnd", do: put32(gt*SectorSize, uint32(n/SectorSize))},
		{name: "EntryInDirectory", do: put32(gt*SectorSize, uint32(gd))},
		{name: "EntryIsAMarker", do: put32(gt*SectorSize, uint32(gd)-1)},
	}
}

// cowdDamages spoil a COWD: directory at sector 4.
func cowdDamages(b []byte) []damage {
	const gd = 4 * SectorSize
	table := u32At(b, gd)
	gt := table * SectorSize
	n := uint32(len(b) / SectorSize)
	return []damage{
		{name: "Empty", do: cutTo(0)},
		{name: "CutInHeader", do: cutTo(600)},
		{name: "CutBehindHeader", do: cutTo(2048)},
		{name: "CutInTable", do: cutTo(gt + 100)},
		{name: "CutByASector", do: cutTo(int64(len(b)) - SectorSize)},
		{name: "Magic", do: put32(0, sparseMagic)},
		{name: "Version", do: put32(4, 2), want: ErrUnsupported},
		{name: "Flags", do: put32(8, 7), want: ErrUnsupported},
		{name: "CapacityZero", do: put32(12, 0)},
		{name: "CapacityLess", do: put32(12, 8)},
		{name: "CapacityMore", do: put32(12, 1<<32-1)},
		{name: "GrainZero", do: put32(16, 0)},
		{name: "GrainThree", do: put32(16, 3)},
		{name: "GrainHuge", do: put32(16, 1<<31)},
		{name: "GrainOther", do: put32(16, 2048)},
		{name: "DirectoryInHeader", do: put32(20, 1)},
		{name: "DirectoryPastEnd", do: put32(20, 1<<32-1)},
		{name: "EntriesTooFew", do: put32(24, 1)},
		{name: "EntriesHuge", do: put32(24, 1<<32-1)},
		{name: "TablePastEnd", do: put32(gd, 1<<31)},
		{name: "TableAtEnd", do: put32(gd, n-1)},
		{name: "TableIsHeader", do: put32(gd, 1)},
		{name: "TableIsDirectory", do: put32(gd, 4)},
		{name: "TableTwice", do: func(b []byte) []byte { copy(b[gd+4:gd+8], b[gd:gd+4]); return b }, write: true},
		{name: "TableIsAGrain", do: put32(gd, uint32(u32At(b, gt)))},
		{name: "EntryPastEnd", do: put32(gt, n)},
		{name: "EntryAllOnes", do: put32(gt, 1<<32-1)},
		{name: "EntryIsHeader", do: put32(gt, 3)},
		{name: "EntryIsDirectory", do: put32(gt, 4)},
		{name: "EntryTwice", do: func(b []byte) []byte { copy(b[gt:gt+4], b[gt+4:]); return b }, write: true},
		{name: "EntryInTable", do: put32(gt, uint32(table)+5), write: true},
	}
}

// seSparseDamages spoil a seSparse.
func seSparseDamages(b []byte) []damage {
	n := int64(len(b))
	gd, first, grains := u64At(b, 128)*SectorSize, u64At(b, 144), u64At(b, 192)
	gt := (first + u64At(b, gd)&0xffffffff*seSparseTable) * SectorSize
	const allocated = uint64(seSparseAllocated) << 60
	damages := []damage{
		{name: "Empty", do: cutTo(0)},
		{name: "CutInHeader", do: cutTo(100)},
		{name: "CutBehindHeader", do: cutTo(512)},
		{name: "CutInDirectory", do: cutTo(gd + 8)},
		{name: "CutInTable", do: cutTo(gt + 8)},
		{name: "CutInGrains", do: cutTo(grains*SectorSize + 512)},
		{name: "Magic", do: put64(0, cowdMagic)},
		{name: "Version", do: put64(8, 0x0000000200000002), want: ErrUnsupported},
		{name: "CapacityZero", do: put64(16, 0)},
		{name: "CapacityLess", do: put64(16, 8)},
		{name: "CapacityHuge", do: put64(16, 1<<62)},
		{name: "CapacityManyTables", do: put64(16, 1<<49)},
		{name: "CapacityBeyondDirectory", do: put64(16, 1<<30)},
		{name: "Grain", do: put64(24, 16)},
		{name: "TableSize", do: put64(32, 32)},
		{name: "Flags", do: put64(40, 1)},
		{name: "VolatileMagic", do: put64(u64At(b, 80)*SectorSize, 0)},
		{name: "Replay", do: put64(u64At(b, 80)*SectorSize+24, 1), want: ErrUnsupported},
		{name: "DirectoryInTables", do: put64(128, uint64(first))},
		{name: "DirectorySmall", do: put64(136, 0)},
		{name: "TablesOverGrains", do: put64(152, 1<<30)},
		{name: "TablesFew", do: put64(152, 64)},
		{name: "GrainsInTables", do: put64(192, uint64(first))},
		{name: "GrainsFew", do: put64(200, 8)},
		{name: "TableTag", do: put64(gd, 0x20000000<<32)},
		{name: "TableWithoutTag", do: put64(gd, 1)},
		{name: "TableNumberHuge", do: put64(gd, seSparseTableTag<<32|0xffffffff)},
		{name: "TableTwice", do: func(b []byte) []byte { copy(b[gd+8:gd+16], b[gd:]); return b }, write: true},
		{name: "EntryKindUnknown", do: put64(gt, 4<<60)},
		{name: "EntryAllOnes", do: put64(gt, 1<<64-1)},
		{name: "EntryAbsentWithValue", do: put64(gt, 5)},
		{name: "EntryNumberHuge", do: put64(gt, allocated|0xffffffffffff)},
		{name: "EntryBehindTheRegion", do: put64(gt, allocated|uint64(n/4096)<<48)},
		{name: "EntryTwice", do: func(b []byte) []byte { copy(b[gt:gt+8], b[gt+8:]); return b }, write: true},
	}
	for _, at := range []int64{48, 72} {
		damages = append(damages, damage{name: fmt.Sprintf("Reserved%d", at), do: put64(at, 1)})
	}
	for _, at := range []int64{80, 128, 144, 192} {
		damages = append(damages, damage{name: fmt.Sprintf("RegionZero%d", at), do: put64(at, 0)},
			damage{name: fmt.Sprintf("RegionPastEnd%d", at), do: put64(at, 1<<40)},
			damage{name: fmt.Sprintf("RegionHuge%d", at), do: put64(at, 1<<63)})
	}
	return damages
}

func swap(old, new string) func([]byte) []byte {
	return func(b []byte) []byte { return bytes.Replace(b, []byte(old), []byte(new), 1) }
}

// chainDamages spoil the descriptor of a snapshot (id 2) of b.vmdk (id 1).
func chainDamages() []damage {
	const hint = `parentFileNameHint="b.vmdk"`
	return []damage{
		{name: "ParentIsItself", do: swap(hint, `parentFileNameHint="x.vmdk"`)},
		{name: "ParentMissing", do: swap(hint, `parentFileNameHint="c.vmdk"`)},
		{name: "ParentIsItsData", do: swap(hint, `parentFileNameHint="d"`)},
		{name: "ParentIsADirectory", do: swap(hint, `parentFileNameHint="."`)},
		{name: "ParentOutside", do: swap(hint, `parentFileNameHint="../b.vmdk"`)},
		{name: "ParentFarOutside", do: swap(hint, `parentFileNameHint="../../../../etc/passwd"`)},
		{name: "ParentAbsolute", do: swap(hint, `parentFileNameHint="/etc/passwd"`)},
		{name: "ParentDevice", do: swap(hint, `parentFileNameHint="/dev/zero"`)},
		{name: "ParentUnnamed", do: swap(hint+"\n", "")},
		{name: "ParentEmptyName", do: swap(hint, `parentFileNameHint=""`)},
		{name: "ParentWithoutID", do: swap("parentCID=00000001", "parentCID=ffffffff")},
		{name: "ParentIDOther", do: swap("parentCID=00000001", "parentCID=00000003")},
		{name: "Larger", do: swap("RW 2048", "RW 2049")},
		{name: "Smaller", do: swap("RW 2048", "RW 2047")},
		{name: "ExtentOutside", do: swap(`"d"`, `"../d"`), want: ErrNotTarget},
		{name: "ExtentAbsolute", do: swap(`"d"`, `"/dev/zero"`), want: ErrNotTarget},
		{name: "ExtentIsTheDescriptor", do: swap(`"d"`, `"x.vmdk"`)},
		{name: "ExtentTwice", do: swap(`RW 2048 VMFSSPARSE "d"`, "RW 1024 VMFSSPARSE \"d\"\nRW 1024 VMFSSPARSE \"d\"")},
		{name: "ExtentWithOffset", do: swap(`"d"`, `"d" 8`)},
		{name: "ExtentOfAnotherKind", do: swap("VMFSSPARSE", "SESPARSE")},
		{name: "ExtentOfAThirdKind", do: swap("VMFSSPARSE", "SPARSE")},
		{name: "ExtentOfUnknownKind", do: swap("VMFSSPARSE", "VSANSPARSE"), want: ErrUnsupported},
		{name: "FlatOverParent", do: swap("VMFSSPARSE", "FLAT"), want: ErrCorrupt},
	}
}

// baseDamages spoil the disk under a snapshot.
func baseDamages() []damage {
	return []damage{
		{name: "Empty", do: cutTo(0)},
		{name: "Rubbish", do: func(b []byte) []byte { return bytes.Repeat([]byte{7}, 600) }},
		{name: "WasWritten", do: swap("CID=00000001", "CID=00000009")},
		{name: "OtherSize", do: swap("RW 2048", "RW 4096")},
		{name: "IsASnapshotOfItsSnapshot", do: swap("parentCID=ffffffff", "parentCID=00000002\nparentFileNameHint=\"x.vmdk\"")},
		{name: "IsASnapshotOfItself", do: swap("parentCID=ffffffff", "parentCID=00000001\nparentFileNameHint=\"b.vmdk\"")},
		{name: "ExtentMissing", do: swap("ZERO", `FLAT "absent" 0`)},
		{name: "ExtentShared", do: swap("ZERO", `FLAT "d" 0`)},
	}
}
