package plan

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"failback/replication"
	"failback/replication/throttle"
	"failback/retention/policy"
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
	if p.Group != "erp" || p.OS != "linux" || p.ProcessServer != "ps1" || !reflect.DeepEqual(p.Policy, failback) || p.Retention != policy.DefaultLimits() || p.KeepOriginal {
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
	day, own := policy.Failback(), policy.Grid{{For: time.Hour}, {For: 5 * time.Hour, Every: 30 * time.Minute}, {For: 72 * time.Hour, Every: 2 * time.Hour}}
	for text, want := range map[string]Policy{
		"policy: failback":                                    failback,
		"policy:":                                             failback,
		"policy: {}":                                          failback,
		"policy: {crash_interval: 1h}":                        {60 * minute, 60 * minute, day, 180 * minute, minute / 2, throttle.Window{}},
		"policy: {crash_interval: 7m}":                        {7 * minute, 63 * minute, day, 21 * minute, minute / 2, throttle.Window{}},
		"policy: {app_interval: 2m}":                          {2 * minute, 2 * minute, day, 15 * minute, minute / 2, throttle.Window{}},
		"policy: {crash_interval: 2d}":                        {2880 * minute, 2880 * minute, policy.Reaching(48 * time.Hour), 8640 * minute, minute / 2, throttle.Window{}},
		"policy: {retention: failback}":                       failback,
		"policy: {retention: 0d}":                             {5 * minute, 60 * minute, policy.Grid{{For: 2 * time.Hour}}, 15 * minute, minute / 2, throttle.Window{}},
		"policy: {retention: 15d}":                            {5 * minute, 60 * minute, policy.Reaching(15 * 24 * time.Hour), 15 * minute, minute / 2, throttle.Window{}},
		"policy: {retention: 'all for 2h, every 1h for 22h'}": failback,
		"policy:\n  retention:\n  - {for: 2h, every: all}\n  - {for: 22h, every: 1h}\n":                  failback,
		"policy: {retention: [{for: 1h, every: 0}, {for: 5h, every: 30m}, {for: 3d, every: 2h}]}":        {5 * minute, 60 * minute, own, 15 * minute, minute / 2, throttle.Window{}},
		"policy: {crash_interval: 90s, app_interval: 1h30m, retention: 2d, rpo_alert: 5m, head_lag: 0s}": {minute * 3 / 2, 90 * minute, policy.Reaching(48 * time.Hour), 5 * minute, 0, throttle.Window{}},
	} {
		p := mustParse(t, text)
		if !reflect.DeepEqual(p.Policy, want) {
			t.Errorf("%s: got %+v want %+v", text, p.Policy, want)
		}
		for _, f := range p.Findings() {
			if f.Code == CodePolicy {
				t.Errorf("%s: %+v", text, f)
			}
		}
	}
}

// TestParseQuiesce: the group's is the default of its machines.
func TestParseQuiesce(t *testing.T) {
	p := mustParse(t, "quiesce: {freeze: 'f $FAILBACK_MACHINE', thaw: t}\nmachines:\n- {name: a}\n- {name: b, quiesce: {}}\n- {name: c, quiesce: {freeze: x, thaw: y, timeout: 10s}}\n")
	want := []replication.Quiesce{{Machine: "a", Freeze: "f $FAILBACK_MACHINE", Thaw: "t", Timeout: 30 * time.Second}, {Machine: "c", Freeze: "x", Thaw: "y", Timeout: 10 * time.Second}}
	if got := p.Quiesced(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if again := mustParse(t, string(p.Canonical())); !reflect.DeepEqual(again.Quiesced(), want) {
		t.Errorf("read again: %+v", again.Quiesced())
	}
	if _, err := Parse([]byte("quiesce: {freze: x}")); err == nil || !strings.Contains(err.Error(), `did you mean "freeze"?`) {
		t.Errorf("got %v", err)
	}
}

func TestParseRetention(t *testing.T) {
	for text, want := range map[string]policy.Limits{
		"os: linux":                 policy.DefaultLimits(),
		"retention: {}":             policy.DefaultLimits(),
		"retention: {hard: 50%}":    {Soft: policy.Percent(38), Hard: policy.Percent(50), Reserve: policy.Percent(2)},
		"retention: {hard: 0.1%}":   {Soft: policy.Percent(0.1 / 9 * 7), Hard: policy.Percent(0.1), Reserve: policy.Percent(2)},
		"retention: {hard: 900GiB}": {Soft: policy.Bytes(700 << 30), Hard: policy.Bytes(900 << 30), Reserve: policy.Percent(2)},
		"retention: {soft: 80%}":    {Soft: policy.Percent(80), Hard: policy.Percent(90), Reserve: policy.Percent(2)},
		"retention: {soft: 1TiB}":   {Soft: policy.Bytes(1 << 40), Hard: policy.Percent(90), Reserve: policy.Percent(2)},
		"retention:\n  soft: 1GiB\n  hard: 2GiB\n  reserve: 512MiB\n": {Soft: policy.Bytes(1 << 30), Hard: policy.Bytes(2 << 30), Reserve: policy.Bytes(512 << 20)},
	} {
		p := mustParse(t, text)
		if p.Retention != want {
			t.Errorf("%s: got %v want %v", text, p.Retention, want)
		}
		for _, f := range p.Findings() {
			if f.Code == CodeRetention {
				t.Errorf("%s: %+v", text, f)
			}
		}
	}
	for text, want := range map[string]bool{"os: linux": false, "keep_original: true": true, "keep_original: false": false, "keep_original:": false} {
		if p := mustParse(t, text); p.KeepOriginal != want {
			t.Errorf("%s: got %v", text, p.KeepOriginal)
		}
	}
}

func TestPolicyGridHasAPointInEachSlot(t *testing.T) {
	p := mustParse(t, "policy: {crash_interval: 6h}").Policy
	if got, want := p.Grid().String(), "all for 2h, every 6h for 22h"; got != want {
		t.Errorf("got %s want %s", got, want)
	}
	if got, want := p.Retention.String(), "24h"; got != want {
		t.Errorf("got %s want %s", got, want)
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
		"NoGrid":         {"policy: {retention: all}\n", `line 1: policy.retention: "all" is not a duration`},
		"GridStep":       {"policy:\n  retention: every 1h\n", `line 2: policy.retention: "every 1h" is not a duration`},
		"GridList":       {"policy:\n  retention:\n  - for: 2h\n    every: all\n  - for: 2h\n    evry: 1h\n", `line 6: unknown key "evry"; did you mean "every"?`},
		"GridFor":        {"policy:\n  retention:\n  - every: all\n", `line 3: policy.retention[0]: for: "" is not a duration`},
		"GridFalls":      {"policy:\n  retention:\n  - {for: 4h, every: 2h}\n  - {for: 4h, every: 1h}\n", `from step to step it becomes a multiple, such as 4h`},
		"GridEmpty":      {"policy: {retention: []}\n", `a grid has 1 to 8 steps, not 0`},
		"LimitUnit":      {"retention: {soft: 70}\n", `line 1: retention.soft: "70" has no unit`},
		"LimitKey":       {"retention: {sotf: 70%}\n", `unknown key "sotf"; did you mean "soft"?`},
		"LimitText":      {"retention: 70%\n", `retention has the wrong form: here stand keys: soft, hard, reserve`},
		"Flag":           {"keep_original: yes\n", `keep_original: "yes" is neither true nor false`},
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
		"FreezeOnly":      {planOf(top+"\nquiesce: {freeze: x}", a), []string{CodeQuiesce + " m"}},
		"ThawOnly":        {planOf(top+"\nquiesce: {thaw: x}", a), []string{CodeQuiesce + " m"}},
		"FrozenTooLong":   {planOf(top+"\nquiesce: {freeze: x, thaw: y, timeout: 1h}", a), []string{CodeQuiesce + " m"}},
		"NotFrozen":       {planOf(top+"\nquiesce: {}", a), nil},
		"ShortInterval":   {planOf(top+"\npolicy: {crash_interval: 500ms}", a), []string{CodePolicy + " policy.crash_interval"}},
		"ZeroInterval":    {planOf(top+"\npolicy: {crash_interval: 0s}", a), []string{CodePolicy + " policy.crash_interval"}},
		"AppBelowCrash":   {planOf(top+"\npolicy: {crash_interval: 1h, app_interval: 5m}", a), []string{CodePolicy + " policy.app_interval"}},
		"AppNoMultiple":   {planOf(top+"\npolicy: {crash_interval: 7m, app_interval: 15m}", a), []string{CodePolicy + " policy.app_interval"}},
		"ShortRetention":  {planOf(top+"\npolicy: {retention: 1m}", a), []string{CodePolicy + " policy.retention"}},
		"OwnShortGrid":    {planOf(top+"\npolicy: {crash_interval: 3h, retention: all for 2h}", a), []string{CodePolicy + " policy.retention"}},
		"ManyPoints":      {planOf(top+"\npolicy: {retention: all for 8d}", a), []string{CodePolicy + " policy.retention"}},
		"AWeekOfPoints":   {planOf(top+"\npolicy: {retention: all for 5d}", a), nil},
		"SoftAboveHard":   {planOf(top+"\nretention: {soft: 95%}", a), []string{CodeRetention + " retention"}},
		"SoftIsHard":      {planOf(top+"\nretention: {soft: 1GiB, hard: 1GiB}", a), []string{CodeRetention + " retention"}},
		"HardAndReserve":  {planOf(top+"\nretention: {hard: 99%}", a), []string{CodeRetention + " retention"}},
		"LagsForEver":     {planOf(top+"\npolicy: {head_lag: 2h}", a), []string{CodePolicy + " policy.head_lag"}},
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
	if got := mustParse(t, "keep_original: false\nretention: {hard: 90%, reserve: 2%}\n"+words).Canonical(); string(got) != string(p.Canonical()) {
		t.Errorf("the same plan with its defaults: got\n%s", got)
	}
	for _, other := range []string{"keep_original: true\n", "retention: {hard: 80%}\n", "retention: {reserve: 1GiB}\n"} {
		q := mustParse(t, other+good)
		if string(q.Canonical()) == string(p.Canonical()) {
			t.Errorf("%s makes no other plan", other)
		}
		if again := mustParse(t, string(q.Canonical())); !reflect.DeepEqual(again.Retention, q.Retention) || again.KeepOriginal != q.KeepOriginal {
			t.Errorf("%s is read again as %+v", other, again)
		}
	}
	if got := mustParse(t, strings.Replace(good, "azure-1", "azure-2", 1)).Canonical(); string(got) == string(p.Canonical()) {
		t.Error("another source makes no other plan")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("keep_original: true\nretention: {hard: 0.1%, reserve: 1B}\npolicy: {retention: [{for: 1h, every: 0}, {for: 1d, every: 7m}]}")
	f.Add(good)
	f.Add(strings.Replace(good, "machines:", "policy: {resync_window: \"18:00-06:00;\"}\nmachines:", 1))
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
