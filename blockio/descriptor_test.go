package blockio

import (
	"errors"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// TestDescriptorGolden: what we write is what ESXi writes, to the byte.
func TestDescriptorGolden(t *testing.T) {
	disk := newDisk{format: FormatVMFS, size: 40 << 30, contentID: 0x0d71677b, longID: "3a8f1c5512b74e0d99c6d1770d71677b",
		uuid: "60 00 C2 9e a7 e8 26 9c-7d 20 45 4c 72 2a af 40", thin: true}
	for _, c := range []struct {
		golden  string
		format  Format
		thin    bool
		extents []extentLine
	}{
		{"vmfs.vmdk", FormatVMFS, true, []extentLine{{access: "RW", sectors: 83886080, kind: "VMFS", file: "db01-flat.vmdk"}}},
		{"vmfs-thick.vmdk", FormatVMFS, false, []extentLine{{access: "RW", sectors: 83886080, kind: "VMFS", file: "db01-flat.vmdk"}}},
		{"monolithicFlat.vmdk", FormatMonolithicFlat, false, []extentLine{{access: "RW", sectors: 83886080, kind: "FLAT", file: "db01-flat.vmdk"}}},
		{"monolithicSparse.vmdk", FormatMonolithicSparse, false, []extentLine{{access: "RW", sectors: 83886080, kind: "SPARSE", file: "db01.vmdk"}}},
		{"twoGbMaxExtentFlat.vmdk", FormatTwoGbMaxExtentFlat, false, []extentLine{
			{access: "RW", sectors: 4192256, kind: "FLAT", file: "db01-f001.vmdk"}, {access: "RW", sectors: 79693824, kind: "FLAT", file: "db01-f002.vmdk"}}},
		{"twoGbMaxExtentSparse.vmdk", FormatTwoGbSparse, false, []extentLine{
			{access: "RW", sectors: 4192256, kind: "SPARSE", file: "db01-s001.vmdk"}, {access: "RW", sectors: 79693824, kind: "SPARSE", file: "db01-s002.vmdk"}}},
	} {
		t.Run(c.golden, func(t *testing.T) {
			disk.format, disk.thin, disk.extents = c.format, c.thin, c.extents
			path := "testdata/golden/" + c.golden
			if *rewrite {
				if err := os.WriteFile(path, []byte(disk.text()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got := disk.text(); got != string(want) {
				t.Errorf("descriptor is\n%s\nwant\n%s", got, want)
			}
			d, err := parseDescriptor(path, want, 0)
			if err != nil {
				t.Fatal(err)
			}
			if d.contentID != disk.contentID || d.sectors() != 83886080 || d.key("ddb.uuid") != disk.uuid || !slices.Equal(d.extents, c.extents) {
				t.Errorf("read back as %+v", d)
			}
		})
	}
}

const soundDescriptor = `# Disk DescriptorFile
version=1
CID=fd71677b
parentCID=ffffffff
createType="vmfs"

# Extent description
RW 2048 VMFS "vm-flat.vmdk"

# The Disk Data Base
#DDB

ddb.adapterType = "lsilogic"
ddb.longContentID = "3a8f1c5512b74e0d99c6d177fd71677b"
`

// TestParseDescriptorTolerates has the liberties that other writers take.
func TestParseDescriptorTolerates(t *testing.T) {
	replace := func(old, new string) string { return strings.Replace(soundDescriptor, old, new, 1) }
	for name, text := range map[string]string{
		"Sound":             soundDescriptor,
		"CRLF":              strings.ReplaceAll(soundDescriptor, "\n", "\r\n"),
		"TrailingBlanks":    strings.ReplaceAll(soundDescriptor, "\n", " \n"),
		"NULPadding":        soundDescriptor + strings.Repeat("\x00", 512),
		"BehindNUL":         soundDescriptor + "\x00rubbish\nRW 1 FLAT",
		"NoLastNewline":     strings.TrimSuffix(soundDescriptor, "\n"),
		"ByteOrderMark":     "\xef\xbb\xbf" + soundDescriptor,
		"OtherFirstComment": replace("# Disk DescriptorFile", "# Description file created by VMDK stream converter"),
		"UpperCaseKeys":     replace("createType", "CREATETYPE"),
		"BlanksAroundEqual": replace("CID=fd71677b", "CID = fd71677b"),
		"NoQuotes":          replace(`createType="vmfs"`, `createType=vmfs`),
		"UnknownKey":        replace("parentCID", "fancyNewKey=\"\x83\x5c\xff\"\nparentCID"),
		"LowerCaseAccess":   replace("RW 2048 VMFS", "rw 2048 vmfs"),
		"TabsInExtent":      replace("RW 2048 VMFS ", "RW\t2048\tVMFS\t"),
		"Version3":          replace("version=1", "version=3"),
	} {
		t.Run(name, func(t *testing.T) {
			d, err := parseDescriptor("x.vmdk", []byte(text), 0)
			if err != nil {
				t.Fatal(err)
			}
			want := extentLine{access: "RW", sectors: 2048, kind: "VMFS", file: "vm-flat.vmdk"}
			if d.contentID != 0xfd71677b || d.parentID != noParent || !strings.EqualFold(d.createType, "vmfs") || len(d.extents) != 1 || d.extents[0] != want {
				t.Errorf("parsed %+v", d)
			}
			if got, _, _ := strings.Cut(text, "\x00"); string(d.bytes()) != got {
				t.Errorf("bytes are\n%q\nwant\n%q", d.bytes(), got)
			}
		})
	}
}

func TestParseExtentLine(t *testing.T) {
	for text, want := range map[string]extentLine{
		`RW 63 FLAT "a.vmdk" 0`:                       {"RW", 63, "FLAT", "a.vmdk", 0},
		`RW 63 FLAT "a.vmdk" 128 partUUID dev`:        {"RW", 63, "FLAT", "a.vmdk", 128},
		`RDONLY 1 SPARSE "with "quotes" inside.vmdk"`: {"RDONLY", 1, "SPARSE", `with "quotes" inside.vmdk`, 0},
		`NOACCESS 7 ZERO`:                             {"NOACCESS", 7, "ZERO", "", 0},
		`RW 5 VMFS "名前 x.vmdk"`:                       {"RW", 5, "VMFS", "名前 x.vmdk", 0},
	} {
		if got, err := parseExtentLine(text); err != nil || got != want {
			t.Errorf("parseExtentLine(%q) = %+v, %v, want %+v", text, got, err, want)
		}
	}
}

// TestParseDescriptorDamaged: each of these is an error that names file and offset.
func TestParseDescriptorDamaged(t *testing.T) {
	replace := func(old, new string) string { return strings.Replace(soundDescriptor, old, new, 1) }
	for name, text := range map[string]string{
		"Empty":             "",
		"OnlyNUL":           "\x00\x00",
		"NoVersion":         replace("version=1\n", ""),
		"VersionZero":       replace("version=1", "version=0"),
		"VersionFour":       replace("version=1", "version=4"),
		"VersionText":       replace("version=1", "version=one"),
		"VersionTwice":      replace("version=1", "version=1\nversion=2"),
		"NoCID":             replace("CID=fd71677b\nparent", "parent"),
		"EmptyCID":          replace("CID=fd71677b", "CID="),
		"CIDTooLong":        replace("CID=fd71677b", "CID=1fd71677b"),
		"CIDNotHex":         replace("CID=fd71677b", "CID=xyz"),
		"CIDTwice":          replace("CID=fd71677b", "CID=fd71677b\ncid=00000001"),
		"ParentCIDNotHex":   replace("parentCID=ffffffff", "parentCID=none"),
		"NoCreateType":      replace("createType=\"vmfs\"\n", ""),
		"CreateTypeTwice":   replace("createType=\"vmfs\"\n", "createType=\"vmfs\"\ncreateType=\"custom\"\n"),
		"NoExtents":         replace(`RW 2048 VMFS "vm-flat.vmdk"`, ""),
		"ExtentWithoutType": replace("RW 2048 VMFS", "RW 2048"),
		"ExtentExtraWord":   replace("RW 2048 VMFS", "RW 2048 VMFS FLAT"),
		"ExtentNegative":    replace("2048", "-2048"),
		"ExtentHuge":        replace("2048", "18446744073709551615"),
		"ExtentTooHuge":     replace("2048", "99999999999999999999999"),
		"ExtentOverflow":    replace("2048", "9223372036854775807"),
		"ExtentHex":         replace("2048", "0x800"),
		"ExtentNoSectors":   replace("2048", "0"),
		"ExtentSumTooLarge": replace(`RW 2048 VMFS "vm-flat.vmdk"`, strings.Repeat("RW 1125899906842624 VMFS \"a\"\n", 3)),
		"TooManyExtents":    replace(`RW 2048 VMFS "vm-flat.vmdk"`, strings.Repeat("RW 1 VMFS \"a\"\n", maxExtents+1)),
		"ExtentOpenQuote":   replace(`"vm-flat.vmdk"`, `"vm-flat.vmdk`),
		"ExtentNoFile":      replace(`"vm-flat.vmdk"`, ``),
		"ExtentEmptyFile":   replace(`"vm-flat.vmdk"`, `""`),
		"ZeroWithFile":      replace("VMFS", "ZERO"),
		"OffsetNotNumber":   replace(`"vm-flat.vmdk"`, `"vm-flat.vmdk" x`),
		"OffsetNegative":    replace(`"vm-flat.vmdk"`, `"vm-flat.vmdk" -1`),
		"MisspelledAccess":  replace("RW 2048", "WR 2048"),
		"Rubbish":           soundDescriptor + "rubbish\n",
		"KeyWithoutName":    soundDescriptor + "= 5\n",
		"CutInFirstKey":     "# Disk DescriptorFile\nvers",
		"CutBeforeExtents":  soundDescriptor[:strings.Index(soundDescriptor, "RW")],
		"TooLarge":          soundDescriptor + strings.Repeat("#", maxDescriptorBytes),
		"ParentHintTwice":   replace("parentCID", "parentFileNameHint=\"a\"\nparentFileNameHint=\"b\"\nparentCID"),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseDescriptor("x.vmdk", []byte(text), 1024)
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "x.vmdk: offset ") {
				t.Errorf("err = %v, want ErrCorrupt with file and offset", err)
			}
		})
	}
}

// TestDescriptorRewrite: only the ids and change tracking change; the rest is kept byte for byte.
func TestDescriptorRewrite(t *testing.T) {
	const before = "# Disk DescriptorFile \r\nVersion = 3 \r\nCID=c97ec59\r\nparentCID=ffffffff\r\nx=\"\x83\x5c\"\r\ncreateType=\"vmfs\"\r\n" +
		"RW 2048 VMFS \"vm-flat.vmdk\"\r\n# Change Tracking File\r\nchangeTrackPath=\"vm-ctk.vmdk\"\r\n" +
		"ddb.longContentID = \"3a8f1c5512b74e0d99c6d1770c97ec59\"\r\n"
	const after = "# Disk DescriptorFile \r\nVersion = 1 \r\nCID=00abcdef\r\nparentCID=ffffffff\r\nx=\"\x83\x5c\"\r\ncreateType=\"vmfs\"\r\n" +
		"RW 2048 VMFS \"vm-flat.vmdk\"\r\n# Change Tracking File\r\n#                            \r\n" +
		"ddb.longContentID = \"3a8f1c5512b74e0d99c6d17700abcdef\"\r\n"
	d, err := parseDescriptor("x.vmdk", []byte(before), 0)
	if err != nil {
		t.Fatal(err)
	}
	if !d.dropChangeTracking() {
		t.Error("dropChangeTracking = false, want true")
	}
	d.setContentID(0xabcdef)
	if got := string(d.bytes()); got != after {
		t.Errorf("rewritten as\n%q\nwant\n%q", got, after)
	}
	again, err := parseDescriptor("x.vmdk", d.bytes(), 0)
	if err != nil || again.contentID != 0xabcdef || again.version != 1 || again.key("changeTrackPath") != "" {
		t.Errorf("read back as %+v, %v", again, err)
	}
	if again.dropChangeTracking() {
		t.Error("change tracking was dropped twice")
	}
}

func TestGeometry(t *testing.T) {
	for size, want := range map[int64]geometry{
		512: {1, 64, 32}, 2 << 20: {2, 64, 32}, 1<<30 - 512: {1023, 64, 32}, 1 << 30: {512, 128, 32}, 2 << 30: {1024, 128, 32},
		40 << 30: {5221, 255, 63}, 62 << 40: {65535, 255, 63},
	} {
		if got := geometryOf(size); got != want {
			t.Errorf("geometryOf(%d) = %v, want %v", size, got, want)
		}
	}
}

func TestNewIdentities(t *testing.T) {
	for range 1000 {
		if id := NewContentID(); validContentID(id) != nil {
			t.Fatalf("NewContentID = %08x", id)
		}
	}
	uuid := newUUID()
	if len(uuid) != 47 || !strings.HasPrefix(uuid, "60 00 c2 9") || uuid[23] != '-' {
		t.Errorf("newUUID = %q", uuid)
	}
	if got := SerialOfUUID("60 00 C2 9e a7 e8 26 9c-7d 20 45 4c 72 2a af 40"); got != "6000c29ea7e8269c7d20454c722aaf40" {
		t.Errorf("SerialOfUUID = %q", got)
	}
	if got := SerialOfUUID("60 00"); got != "" {
		t.Errorf("SerialOfUUID of a short one = %q", got)
	}
	if long := newLongContentID(0xab); len(long) != 32 || !strings.HasSuffix(long, "000000ab") {
		t.Errorf("newLongContentID = %q", long)
	}
}

func FuzzDescriptor(f *testing.F) {
	f.Add([]byte(soundDescriptor))
	f.Add([]byte(strings.ReplaceAll(soundDescriptor, "\n", "\r\n") + "changeTrackPath=\"x\"\r\n"))
	f.Add([]byte("version=1\nCID=1\ncreateType=x\nRW 1 FLAT \"\"\" 3"))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := parseDescriptor("x.vmdk", b, 0)
		if err != nil {
			return
		}
		if text, _, _ := strings.Cut(string(b), "\x00"); string(d.bytes()) != text {
			t.Fatalf("bytes %q, want %q", d.bytes(), text)
		}
		extents := len(d.extents)
		d.dropChangeTracking()
		d.setContentID(0x1234abcd)
		again, err := parseDescriptor("x.vmdk", d.bytes(), 0)
		if err != nil {
			t.Fatalf("rewritten descriptor: %v\n%q", err, d.bytes())
		}
		if again.contentID != 0x1234abcd || again.version != 1 || len(again.extents) != extents {
			t.Fatalf("rewritten descriptor is %+v", again)
		}
	})
}
