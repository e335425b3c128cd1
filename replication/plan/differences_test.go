package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"failback/replication"
)

const before = `
group: erp
os: linux
process_server: ps1
machines:
  - name: db
    disks:
      - {id: os, source: "image:/a/os", target: /t/os.vmdk}
      - {id: data, source: "image:/a/data", target: /t/data.vmdk}
  - name: web
    disks:
      - {id: os, source: "image:/a/web", target: /t/web.vmdk}
`

func TestDifferences(t *testing.T) {
	was, err := Parse([]byte(before))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		edit []string
		want []string // subject, key, and ! where it is refused
	}{
		"nothing":                         {nil, nil},
		"said in full":                    {[]string{"os: linux", "os: linux\npolicy: failback\npriority: 10\nkeep_original: false"}, nil},
		"interval":                        {[]string{"os: linux", "os: linux\npolicy: {crash_interval: 10m}"}, []string{"erp policy.crash_interval", "erp policy.rpo_alert"}},
		"grid and lag":                    {[]string{"os: linux", "os: linux\npolicy: {retention: 3d, head_lag: 0s}"}, []string{"erp policy.retention", "erp policy.head_lag"}},
		"limits":                          {[]string{"os: linux", "os: linux\nretention: {hard: 50%}"}, []string{"erp retention"}},
		"copy order":                      {[]string{"os: linux", "os: linux\ncopy_order: largest"}, []string{"erp copy_order"}},
		"order in full":                   {[]string{"os: linux", "os: linux\ncopy_order: given"}, nil},
		"priority":                        {[]string{"os: linux", "os: linux\npriority: 20"}, []string{"erp priority"}},
		"point 0":                         {[]string{"os: linux", "os: linux\nkeep_original: true"}, []string{"erp keep_original !"}},
		"OS":                              {[]string{"os: linux", "os: windows"}, []string{"erp os !"}},
		"process server":                  {[]string{"ps1", "ps2"}, []string{"erp process_server !"}},
		"source":                          {[]string{"/a/data", "/a/other"}, []string{"db/data source !"}},
		"target":                          {[]string{"/t/data", "/t/other"}, []string{"db/data target !"}},
		"commands":                        {[]string{"target: /t/web.vmdk", "target: /t/web.vmdk, snapshot: s, release: r, changes: c"}, []string{"web/os snapshot", "web/os release", "web/os changes"}},
		"quiesce":                         {[]string{"name: db", "name: db\n    quiesce: {freeze: f, thaw: t}"}, []string{"db quiesce"}},
		"a disk more":                     {[]string{"      - {id: data", "      - {id: logs, source: \"image:/a/logs\", target: /t/logs.vmdk}\n      - {id: data"}, []string{"db/logs disk"}},
		"a disk less":                     {[]string{"      - {id: data, source: \"image:/a/data\", target: /t/data.vmdk}\n", ""}, []string{"db/data disk"}},
		"renamed":                         {[]string{"id: data", "id: stuff"}, []string{"db/stuff disk", "db/data disk"}},
		"another machine":                 {[]string{"  - name: web", "  - name: mail\n    disks: [{id: os, source: \"image:/a/mail\", target: /t/mail.vmdk}]\n  - name: web"}, []string{"mail/os disk"}},
		"another machine's":               {[]string{"name: web", "name: www"}, []string{"www/os disk", "web machine", "web/os disk"}},
		"a machine less":                  {[]string{"  - name: web\n    disks:\n      - {id: os, source: \"image:/a/web\", target: /t/web.vmdk}\n", ""}, []string{"web machine", "web/os disk"}},
		"all others":                      {[]string{"name: web", "name: www", "name: db", "name: dbs"}, []string{"dbs/os disk", "dbs/data disk", "www/os disk", "db machine", "web machine", "db/os disk !", "db/data disk !", "web/os disk !"}},
		"moved, and a disk less":          {[]string{"ps1", "ps2", "      - {id: data, source: \"image:/a/data\", target: /t/data.vmdk}\n", ""}, []string{"erp process_server", "db/data disk !"}},
		"moved":                           {[]string{"ps1", "ps2"}, []string{"erp process_server"}},
		"moved with a source":             {[]string{"ps1", "ps2", "/a/data", "/b/data"}, []string{"erp process_server", "db/data source"}},
		"moved with commands":             {[]string{"ps1", "ps2", "target: /t/web.vmdk", "target: /t/web.vmdk, snapshot: s, release: r, changes: c"}, []string{"erp process_server", "web/os snapshot", "web/os release", "web/os changes"}},
		"moved, and other things":         {[]string{"ps1", "ps2\npriority: 20", "/t/data", "/t/other"}, []string{"erp process_server", "erp priority !", "db/data target !"}},
		"moved, and a disk more":          {[]string{"ps1", "ps2", "      - {id: data", "      - {id: logs, source: \"image:/a/logs\", target: /t/logs.vmdk}\n      - {id: data"}, []string{"erp process_server", "db/logs disk !"}},
		"moved to where it is already":    {[]string{"/a/data", "/b/data"}, []string{"db/data source !"}},
		"moved already, and other things": {[]string{"os: linux", "os: linux\npriority: 20", "name: db", "name: db\n    quiesce: {freeze: f, thaw: t}"}, []string{"erp priority !", "db quiesce"}},
		"resync window":                   {[]string{"os: linux", "os: linux\npolicy: {resync_window: 18:00-06:00}"}, []string{"erp policy.resync_window"}},
	} {
		now, err := Parse([]byte(strings.NewReplacer(c.edit...).Replace(before)))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var got []string
		for _, d := range Differences(was, now, strings.HasPrefix(name, "moved")) {
			s := d.Subject + " " + d.Key
			if d.Refused {
				s += " !"
			}
			got = append(got, s)
			if d.Was == d.Now || d.Effect == "" || d.Refused != (d.Remedy != "") {
				t.Errorf("%s: %+v", name, d)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// TestNumber: disks keep the numbers that they have, wherever those that join stand.
func TestNumber(t *testing.T) {
	p, err := Parse([]byte(strings.Replace(before, "      - {id: data", "      - {id: logs, source: \"image:/a/logs\", target: /t/logs.vmdk}\n      - {id: data", 1)))
	if err != nil {
		t.Fatal(err)
	}
	show := func() (s string) {
		for i, d := range p.Disks() {
			if int(d.No) != i {
				t.Errorf("disk %s in place %d has number %d", d.Name, i, d.No)
			}
			s += string(d.Name) + " "
		}
		return s
	}
	if got, want := show(), "db/os db/logs db/data web/os "; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	text := string(p.Canonical())
	p.Number([]replication.DiskID{"db/os", "db/data", "web/os"})
	if got, want := show(), "db/os db/data web/os db/logs "; got != want {
		t.Errorf("numbered %q, want %q", got, want)
	}
	if string(p.Canonical()) != text || fmt.Sprint(p.Names()) != "[db/os db/data web/os db/logs]" {
		t.Errorf("numbers are part of the canonical form, or names are %v", p.Names())
	}
}
