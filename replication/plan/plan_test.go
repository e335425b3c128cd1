package plan

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"failback/replication"
)

const good = `
group: erp
os: linux                       # one OS type per group
process_server: ps1
policy: failback
snapshot: "lvcreate -s"
release: lvremove
machines:
  - name: erp-db
    disks:
      - id: os
        source: image:/srv/azure/erp-db-os.raw
        target: /vmfs/volumes/ds1/erp-db/erp-db.vmdk
      - id: 01
        source: image:/dev/disk/by-id/azure-1
        target: /dev/disk/by-id/wwn-0x6000c29
        snapshot: ""
        release: ""
        changes: |
          thin_delta
  - name: erp-app
    release: mine
    disks:
      - {id: os, source: "image:/srv/azure/erp-app-os.raw", target: /vmfs/volumes/ds1/erp-app/erp-app.vmdk, format: monolithicSparse}
`

func mustParse(t *testing.T, text string) *Plan {
	t.Helper()
	p, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestParseGood(t *testing.T) {
	p := mustParse(t, good)
	want := []GroupDisk{
		{No: 0, Name: "erp-db/os", Machine: "erp-db", Disk: Disk{
			ID: "os", Source: "image:/srv/azure/erp-db-os.raw", Target: "/vmfs/volumes/ds1/erp-db/erp-db.vmdk", Snapshot: "lvcreate -s", Release: "lvremove", line: 11}},
		{No: 1, Name: "erp-db/01", Machine: "erp-db", Disk: Disk{
			ID: "01", Source: "image:/dev/disk/by-id/azure-1", Target: "/dev/disk/by-id/wwn-0x6000c29", Changes: "thin_delta", line: 14}},
		{No: 2, Name: "erp-app/os", Machine: "erp-app", Disk: Disk{
			ID: "os", Source: "image:/srv/azure/erp-app-os.raw", Target: "/vmfs/volumes/ds1/erp-app/erp-app.vmdk", Format: "monolithicSparse",
			Snapshot: "lvcreate -s", Release: "mine", line: 24}},
	}
	if got := p.Disks(); !reflect.DeepEqual(got, want) {
		t.Errorf("disks:\ngot  %+v\nwant %+v", got, want)
	}
	if p.Group != "erp" || p.OS != "linux" || p.ProcessServer != "ps1" || p.Policy != failback {
		t.Errorf("got %+v", p)
	}
	if f := p.Findings(); len(f) != 0 {
		t.Errorf("a good plan has findings: %+v", f)
	}
	if got, want := p.Disks()[0].Path(), "/srv/azure/erp-db-os.raw"; got != want {
		t.Errorf("path: got %q want %q", got, want)
	}
}

func TestParsePolicy(t *testing.T) {
	minute := replication.Duration(time.Minute)
	for text, want := range map[string]Policy{
		"policy: failback":             failback,
		"policy:":                      failback,
		"policy: {}":                   failback,
		"policy: {crash_interval: 1h}": {60 * minute, 60 * minute, 1440 * minute, 180 * minute},
		"policy: {crash_interval: 7m}": {7 * minute, 63 * minute, 1440 * minute, 21 * minute},
		"policy: {app_interval: 2m}":   {2 * minute, 2 * minute, 1440 * minute, 15 * minute},
		"policy: {crash_interval: 90s, app_interval: 1h30m, retention: 2d, rpo_alert: 5m}": {minute * 3 / 2, 90 * minute, 2880 * minute, 5 * minute},
	} {
		p := mustParse(t, text)
		if p.Policy != want {
			t.Errorf("%s: got %+v want %+v", text, p.Policy, want)
		}
		for _, f := range p.Findings() {
			if f.Code == CodePolicy {
				t.Errorf("%s: %+v", text, f)
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"Empty":          {"", "it is empty"},
		"UnknownKey":     {"group: a\nproces_server: b\n", `line 2: unknown key "proces_server"; did you mean "process_server"?`},
		"FarKey":         {"colour: red", `line 1: unknown key "colour"; known here: group, os, process_server`},
		"DeepKey":        {"machines:\n- name: a\n  disks:\n  - id: x\n    sorce: y\n", `line 5: unknown key "sorce"; did you mean "source"?`},
		"DiskKeyOnTop":   {"target: /x", `unknown key "target"`},
		"Twice":          {"group: a\ngroup: b\n", `line 2`},
		"NoMapping":      {"- a\n- b\n", "line 1: the document has the wrong form"},
		"NoList":         {"machines: erp\n", "line 1: machines has the wrong form: here stands a list"},
		"NoText":         {"group: [a]\n", "line 1: group has the wrong form: here stands a single value"},
		"NoPolicy":       {"policy: gold\n", `line 1: policy: "gold" is not a policy`},
		"NoUnit":         {"policy:\n  crash_interval: 300\n", `line 2: policy.crash_interval: "300" has no unit: write 300s`},
		"NoDuration":     {"policy: {retention: long}\n", `"long" is not a duration`},
		"Negative":       {"policy: {retention: -5m}\n", `is not a duration`},
		"Tab":            {"group: a\n\tos: b\n", "line "},
		"TwoDocuments":   {"group: a\n---\ngroup: b\n", "line 3: a second document"},
		"NoAnchor":       {"group: *a\n", "line 1: no anchor &a"},
		"AnchorInItself": {"machines: &a [*a]\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(c.text))
			var p *replication.Problem
			if !errors.As(err, &p) {
				t.Fatalf("got %v, want a problem", err)
			}
			if p.Code != Code || !strings.Contains(p.Message, c.want) || p.Remedy == "" {
				t.Errorf("got %+v, want %q", p, c.want)
			}
		})
	}
}

func TestParseTellsAllAtOnce(t *testing.T) {
	_, err := Parse([]byte("gruop: a\nos: linux\npolicy: gold\nmachines:\n- nam: a\n"))
	for _, want := range []string{"line 1", "line 3", "line 5"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not tell of %s", err, want)
		}
	}
}

// planOf returns a plan with one machine whose disks have the given lines of YAML each.
func planOf(top string, disks ...string) string {
	s := top + "\nmachines:\n- name: m\n  disks:\n"
	for _, d := range disks {
		s += "  - {" + d + "}\n"
	}
	return s
}

func TestFindings(t *testing.T) {
	const top = "group: g\nos: linux\nprocess_server: ps"
	const a, b = "id: a, source: 'image:/s/a', target: /t/a", "id: b, source: 'image:/s/b', target: /t/b"
	var many []string
	for i := range 61 {
		many = append(many, fmt.Sprintf("id: d%d, source: 'image:/s/%d', target: /t/%d", i, i, i))
	}
	for name, c := range map[string]struct {
		text string
		want []string // code subject, in order
	}{
		"Good":            {planOf(top, a, b), nil},
		"Nothing":         {"group: g", []string{CodeName + " process_server", CodeOS + " os", CodeNoDisks + " machines"}},
		"BadNames":        {planOf("group: ../x\nos: linux\nprocess_server: 'p s'", a), []string{CodeName + " group", CodeName + " process_server"}},
		"OtherOS":         {planOf("group: g\nos: beos\nprocess_server: ps", a), []string{CodeOS + " os"}},
		"NoDisks":         {planOf(top) + "  - {}\n", []string{CodeName + " m/disks[0] (line 7)", CodeSource + " m/disks[0]", CodeTarget + " m/disks[0]"}},
		"MachineNoDisks":  {top + "\nmachines: [{name: m}]", []string{CodeNoDisks + " m"}},
		"MachineTwice":    {top + "\nmachines: [{name: m, disks: [{" + a + "}]}, {name: m, disks: [{" + b + "}]}]", []string{CodeDuplicate + " m"}},
		"DiskTwice":       {planOf(top, a, "id: a, source: 'image:/s/b', target: /t/b"), []string{CodeDuplicate + " m/a"}},
		"TooMany":         {planOf(top, many...), []string{CodeTooMany + " machines"}},
		"NoScheme":        {planOf(top, "id: a, source: /s/a, target: /t/a"), []string{CodeSource + " m/a"}},
		"OtherScheme":     {planOf(top, "id: a, source: 'azure:/s/a', target: /t/a"), []string{CodeSource + " m/a"}},
		"RelativeSource":  {planOf(top, "id: a, source: 'image:s/a', target: /t/a"), []string{CodeSource + " m/a"}},
		"RelativeTarget":  {planOf(top, "id: a, source: 'image:/s/a', target: t/a"), []string{CodeTarget + " m/a"}},
		"DotDot":          {planOf(top, "id: a, source: 'image:/s/a', target: /t/../a"), []string{CodeTarget + " m/a"}},
		"SameTarget":      {planOf(top, a, "id: b, source: 'image:/s/b', target: /t//./a"), []string{CodeSameTarget + " m/b"}},
		"SameSource":      {planOf(top, a, "id: b, source: 'image:/s/a/', target: /t/b"), []string{CodeSameSource + " m/b"}},
		"SameWindows":     {planOf(top, `id: a, source: 'image:/s/a', target: 'D:\x.vmdk'`, `id: b, source: 'image:/s/b', target: 'd:/X.vmdk'`), []string{CodeSameTarget + " m/b"}},
		"SourceIsTarget":  {planOf(top, "id: a, source: 'image:/s/a', target: /s/a"), []string{CodeSamePath + " m/a"}},
		"OtherFormat":     {planOf(top, a+", format: qcow2"), []string{CodeFormat + " m/a"}},
		"FormatAndName":   {planOf(top, a+", format: vmfs"), []string{CodeFormat + " m/a"}},
		"RawVMDK":         {planOf(top, "id: a, source: 'image:/s/a', target: /t/a.vmdk, format: raw"), []string{CodeFormat + " m/a"}},
		"FlatTarget":      {planOf(top, "id: a, source: 'image:/s/a', target: /t/a-flat.vmdk"), []string{CodeTarget + " m/a"}},
		"SnapshotOnly":    {planOf(top, a+", snapshot: x"), []string{CodeCommands + " m/a"}},
		"ReleaseOnly":     {planOf(top+"\nrelease: x", a), []string{CodeCommands + " m/a"}},
		"ShortInterval":   {planOf(top+"\npolicy: {crash_interval: 500ms}", a), []string{CodePolicy + " policy.crash_interval"}},
		"ZeroInterval":    {planOf(top+"\npolicy: {crash_interval: 0s}", a), []string{CodePolicy + " policy.crash_interval"}},
		"AppBelowCrash":   {planOf(top+"\npolicy: {crash_interval: 1h, app_interval: 5m}", a), []string{CodePolicy + " policy.app_interval"}},
		"AppNoMultiple":   {planOf(top+"\npolicy: {crash_interval: 7m, app_interval: 15m}", a), []string{CodePolicy + " policy.app_interval"}},
		"ShortRetention":  {planOf(top+"\npolicy: {retention: 1m}", a), []string{CodePolicy + " policy.retention"}},
		"AlertEveryPoint": {planOf(top+"\npolicy: {rpo_alert: 1m}", a), []string{CodePolicy + " policy.rpo_alert"}},
		"AllAtOnce":       {planOf("group: g\nos: x\nprocess_server: ps", "id: a, source: x, target: y", "id: a, source: 'image:/s', target: y"), []string{CodeOS + " os", CodeSource + " m/a", CodeTarget + " m/a", CodeDuplicate + " m/a", CodeTarget + " m/a", CodeSameTarget + " m/a"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, f := range mustParse(t, c.text).Findings() {
				got = append(got, f.Code+" "+f.Subject)
				if f.Message == "" || f.Remedy == "" || f.Severity == "" {
					t.Errorf("a finding with something left out: %+v", f)
				}
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("\ngot  %q\nwant %q", got, c.want)
			}
		})
	}
}

func TestCanonicalIsAPlanAndTheSameForTheSame(t *testing.T) {
	p := mustParse(t, good)
	again := mustParse(t, string(p.Canonical()))
	if string(again.Canonical()) != string(p.Canonical()) {
		t.Errorf("got\n%s\nwant\n%s", again.Canonical(), p.Canonical())
	}
	words := strings.Replace(good, "policy: failback", "policy: {retention: 1d, crash_interval: 300s, app_interval: 1h, rpo_alert: 15m}", 1)
	if got := mustParse(t, "# a comment\n"+words).Canonical(); string(got) != string(p.Canonical()) {
		t.Errorf("the same plan in other words: got\n%s", got)
	}
	if got := mustParse(t, strings.Replace(good, "azure-1", "azure-2", 1)).Canonical(); string(got) == string(p.Canonical()) {
		t.Error("another source makes no other plan")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(good)
	f.Add("machines: &a [*a]")
	f.Add("group: !!str x\nmachines: [{<<: {name: a}}]")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse([]byte(text))
		if err != nil {
			return
		}
		p.Findings()
		again, err := Parse(p.Canonical())
		if err != nil {
			t.Fatalf("canonical form can't be read: %v\n%s", err, p.Canonical())
		}
		if string(again.Canonical()) != string(p.Canonical()) {
			t.Fatalf("canonical form changes: %s", p.Canonical())
		}
	})
}
