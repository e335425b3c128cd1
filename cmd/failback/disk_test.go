package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"failback/blockio"
)

// local runs a command on local disks; there is no master target.
func local(t *testing.T, in io.Reader, args ...string) (code int, out []byte, errs string) {
	t.Helper()
	t.Setenv(operatorEnv, "")
	var o, e bytes.Buffer
	code = run(t.Context(), args, streams{in: in, out: &o, err: &e}, defaults)
	return code, o.Bytes(), e.String()
}

func ok(t *testing.T, in io.Reader, args ...string) []byte {
	t.Helper()
	code, out, errs := local(t, in, args...)
	if code != 0 || errs != "" {
		t.Fatalf("%v: exit code %d, %s", args, code, errs)
	}
	return out
}

func TestDiskCommands(t *testing.T) {
	for _, f := range formatNames() {
		t.Run(f, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.vmdk")
			if f == "raw" {
				path = filepath.Join(t.TempDir(), "x.img")
			}
			made := document(t, string(ok(t, nil, "disk", "create", "--format", f, "--size", "3M", path, "--json")))
			if made["size"] != float64(3<<20) || made["target"] != true || made["thin"] != (f != "vmfs") || (made["content_id"] == "") != (f == "raw") {
				t.Errorf("made %v", made)
			}
			data := bytes.Repeat([]byte("failback"), 10_000)
			want := make([]byte, 3<<20)
			copy(want[512<<10:], data)
			written := document(t, string(ok(t, bytes.NewReader(data), "disk", "write", path, "--offset", "512K", "--json")))
			if written["written"] != float64(len(data)) || f != "raw" && written["content_id"] == made["content_id"] {
				t.Errorf("written %v", written)
			}
			if got := ok(t, nil, "disk", "read", path); !bytes.Equal(got, want) {
				t.Error("read something else than was written")
			}
			if got := ok(t, nil, "disk", "read", path, "--offset", "512K", "--length", "8"); string(got) != "failback" {
				t.Errorf("read %q", got)
			}
			ranges := document(t, string(ok(t, nil, "disk", "map", path, "--json")))["ranges"].([]any)
			var sum float64
			for _, r := range ranges {
				sum += r.(map[string]any)["length"].(float64)
			}
			if sum != 3<<20 || f != "vmfs" && len(ranges) != 3 {
				t.Errorf("map %v", ranges)
			}
			if got := document(t, string(ok(t, nil, "disk", "check", path, "--json"))); got["sound"] != true || len(got["findings"].([]any)) != 0 {
				t.Errorf("check %v", got)
			}
			info := document(t, string(ok(t, nil, "disk", "info", path, "--json")))
			if info["content_id"] != written["content_id"] || info["uuid"] != made["uuid"] {
				t.Errorf("info %v", info)
			}
		})
	}
}

func TestDiskRepair(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.vmdk")
	ok(t, nil, "disk", "create", "--format", "monolithicSparse", "--size", "64M", path)
	ok(t, strings.NewReader("content"), "disk", "write", path, "--offset", "0")
	if got := document(t, string(ok(t, nil, "disk", "repair", path, "--json"))); len(got["changes"].([]any)) != 0 {
		t.Errorf("a sound disk: %v", got)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var head [64]byte
	if _, err := f.ReadAt(head[:], 0); err != nil {
		t.Fatal(err)
	}
	directory := int64(binary.LittleEndian.Uint64(head[56:])) * 512
	if _, err := f.WriteAt([]byte{0xff, 0xff, 0xff, 0x7f}, directory); err != nil { // a table past the end
		t.Fatal(err)
	}
	if code, out, _ := local(t, nil, "disk", "check", path); code != 1 || !bytes.Contains(out, []byte(fmt.Sprintf("offset %d", directory))) {
		t.Errorf("check of a damaged disk: %d, %s", code, out)
	}
	if got := document(t, string(ok(t, nil, "disk", "repair", path, "--json"))); len(got["changes"].([]any)) != 1 || len(got["copies"].([]any)) != 1 {
		t.Errorf("repaired %v", got)
	}
	ok(t, nil, "disk", "check", path)
	if got := ok(t, nil, "disk", "read", path, "--length", "7"); string(got) != "content" {
		t.Errorf("read %q", got)
	}
	flat := filepath.Join(filepath.Dir(path), "y.vmdk")
	ok(t, nil, "disk", "create", "--format", "vmfs", "--size", "1M", flat)
	if code, _, errs := local(t, nil, "disk", "repair", flat); code != 1 || !strings.Contains(errs, "What to do: ") {
		t.Errorf("a flat disk: %d, %s", code, errs)
	}
}

// TestDiskWriteFromFile: standard input that is a file is copied with its holes, from where it stands.
func TestDiskWriteFromFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.vmdk")
	ok(t, nil, "disk", "create", "--format", "monolithicSparse", "--size", "1G", path)
	in, err := os.Create(filepath.Join(dir, "in"))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := in.Truncate(900 << 20); err != nil {
		t.Fatal(err)
	}
	if _, err := in.WriteAt([]byte("here"), 800<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Seek(100<<20, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	ok(t, in, "disk", "write", path, "--offset", "0")
	if got := ok(t, nil, "disk", "read", path, "--offset", "700M", "--length", "4"); string(got) != "here" {
		t.Errorf("read %q", got)
	}
	if info, err := os.Stat(path); err != nil || info.Size() > 1<<20 {
		t.Errorf("the disk takes %d bytes, %v", info.Size(), err)
	}
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	before := ok(t, nil, "disk", "info", path)
	code, _, errs := local(t, in, "disk", "write", path, "--offset", "200M")
	if code != 1 || !strings.Contains(errs, "nothing was written") || !strings.Contains(errs, "What to do: ") {
		t.Errorf("too long: exit code %d, %s", code, errs)
	}
	if after := ok(t, nil, "disk", "info", path); !bytes.Equal(before, after) {
		t.Errorf("a write that was refused changed the disk:\n%s%s", before, after)
	}
}

func TestDiskRefusals(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.vmdk")
	ok(t, nil, "disk", "create", "--format", "vmfs-thin", "--size", "1M", path)
	locked := filepath.Join(dir, "locked.vmdk")
	ok(t, nil, "disk", "create", "--format", "vmfs-thin", "--size", "1M", locked)
	held, err := blockio.OpenTarget(locked, blockio.TargetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	for args, want := range map[string]struct {
		code int
		word string
	}{
		"disk":                                 {2, "usage"},
		"disk look":                            {2, "usage"},
		"disk info":                            {2, "usage"},
		"disk info " + dir + "/n":              {1, "disk-missing"},
		"disk info " + dir:                     {1, "disk-unsupported"},
		"disk read " + path + " --offset 2M":   {2, "usage"}, // --json
		"disk write " + path:                   {2, "usage"},
		"disk write " + path + " --offset 2M":  {1, "disk-range"},
		"disk write " + path + " --offset x":   {2, "usage"},
		"disk write " + locked + " --offset 0": {1, "disk-in-use"},
		"disk write " + filepath.Join(dir, "x-flat.vmdk") + " --offset 0":             {1, "disk-refused"},
		"disk create --format vmfs --size 1M " + path:                                 {1, "file-exists"},
		"disk create --format vhd --size 1M " + path:                                  {2, "usage"},
		"disk create --format vmfs --size 1000 " + path:                               {2, "usage"},
		"disk create --format vmfs " + path:                                           {2, "usage"},
		"disk create --format raw --size 1M " + filepath.Join(dir, "y.vmdk"):          {1, "disk"},
		"disk create --format vmfs --size 1M " + filepath.Join(dir, "none", "y.vmdk"): {1, "disk-missing"},
	} {
		code, out, errs := local(t, strings.NewReader("x"), append(strings.Fields(args), "--json")...)
		if code != want.code || len(out) != 0 {
			t.Errorf("%s: exit code %d, %s", args, code, out)
			continue
		}
		if p := document(t, errs)["error"].(map[string]any); p["code"] != want.word || p["remedy"] == "" {
			t.Errorf("%s: got %v, want %s", args, p, want.word)
		}
	}
	code, _, errs := local(t, nil, "disk", "read", path, "--offset", "2M")
	if code != 1 || !strings.Contains(errs, "outside of the disk") {
		t.Errorf("read past the end: %d, %s", code, errs)
	}
	if err := os.Truncate(filepath.Join(dir, "x-flat.vmdk"), 1<<19); err != nil {
		t.Fatal(err)
	}
	code, out, errs := local(t, nil, "disk", "check", path)
	if code != 1 || errs != "" || !strings.Contains(string(out), "x-flat.vmdk: offset 524288") {
		t.Errorf("check of a cut disk: %d, %s, %s", code, out, errs)
	}
}

// TestDiskWriteInterrupted leaves a disk that is sound, and says what happened.
func TestDiskWriteInterrupted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.vmdk")
	ok(t, nil, "disk", "create", "--format", "monolithicSparse", "--size", "64M", path)
	ctx, stop := context.WithCancel(t.Context())
	var errs bytes.Buffer
	code := run(ctx, []string{"disk", "write", path, "--offset", "0"}, streams{in: endless{stop}, out: io.Discard, err: &errs}, defaults)
	if code != 1 || !strings.Contains(errs.String(), "interrupted: disk "+path+" is partly written") {
		t.Errorf("exit code %d, %s", code, errs.String())
	}
	ok(t, nil, "disk", "check", path)
	ok(t, strings.NewReader("again"), "disk", "write", path, "--offset", "0")
}

// endless is interrupted when it is read first.
type endless struct{ stop func() }

func (e endless) Read(p []byte) (int, error) {
	e.stop()
	return copy(p, bytes.Repeat([]byte{1}, len(p))), nil
}

func TestParseBytes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "512": 512, "64K": 64 << 10, "512M": 512 << 20, "10G": 10 << 30, "1.5g": 3 << 29, "2TiB": 2 << 40, "10 GB": 10 << 30, "1kb": 1024, "7B": 7, "4P": 4 << 50, "0.5K": 512,
	} {
		if got, err := parseBytes(text); got != want || err != nil {
			t.Errorf("%q: got %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "G", "-1", "1e3", "10X", "0.3", "9E", "1/2", "0x10", "1_000", "i", "1i", "1.2.3", strings.Repeat("9", 40), "1GG"} {
		if got, err := parseBytes(text); err == nil {
			t.Errorf("%q: got %d, want an error", text, got)
		}
	}
	if fmt.Sprint(new(byteCount)) != "0" {
		t.Error("the zero value is not 0")
	}
}
