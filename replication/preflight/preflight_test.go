package preflight

import (
	"slices"
	"strings"
	"testing"
	"time"

	"failback/blockio"
	"failback/replication"
	"failback/replication/link"
	"failback/replication/plan"
	"failback/replication/preflight/machine"
	"failback/retention/policy"
)

// facts are all that was seen before a group is protected.
type facts struct {
	os      string
	host    Host
	worker  Worker
	ours    []replication.Certificate
	theirs  []replication.Certificate
	sources []Source
	hooks   int // machines with quiesce commands

	unquiesced []string // machines without
	cant       []link.Unrunnable
	targets    []Target
	store      Datastore
	journal    Journal
}

var noon = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

const (
	gib    = 1 << 30
	serial = "6000c29812f3a4d5e6f708192a3b4c5d"
)

func disk(machine, id string) plan.GroupDisk {
	return plan.GroupDisk{Disk: plan.Disk{ID: id, Source: "image:/s/" + machine + id, Target: "/ds/" + machine + "/" + id + ".vmdk"}, Name: replication.DiskID(machine + "/" + id), Machine: machine}
}

// good is a group of two machines, with an existing target and one that is to be created, on a master target of VMware's, with nothing to be said against it.
func good() *facts {
	db, web := disk("db", "os"), disk("web", "os")
	month := noon.AddDate(0, 2, 0)
	return &facts{
		os: "linux",
		host: Host{
			Machine:   machine.Machine{Vendor: "VMware, Inc.", Tools: machine.ToolsRunning, Controllers: []machine.Controller{{Name: "host0", Driver: "ata_piix"}, {Name: "host2", Driver: "mptspi"}}, Disks: []machine.Disk{{Name: "sda", Number: "8:0", Serial: serial}}},
			Retention: Place{Subject: "/mnt/retention", What: "retention volume", Path: "/mnt/retention", Number: "8:17", Below: []machine.Layer{{Name: "sdb1"}, {Name: "sdb"}}},
			Targets:   []Place{{Subject: "db/os", What: "target of disk db/os", Path: db.Target, Number: "0:42", Serial: "6000c290000000000000000000000001"}, {Subject: "web/os", What: "target of disk web/os", Path: web.Target, Number: "0:42"}},
		},
		worker:  Worker{Name: "ps1", Seen: true, Connected: true, Since: noon, Ours: link.Version{Major: 1, Program: "v1.4.0"}, Theirs: link.Version{Major: 1, Program: "v1.4.2"}, Skew: time.Second, Dir: "/var/lib/failback", Disks: 80 * gib, Data: 80 * gib, Figures: &replication.Figures{CPU: 0.79, Memory: -1, StateTotal: 100 * gib, StateFree: 50 * gib}},
		ours:    []replication.Certificate{{Name: "master-target", Until: month}, {Name: "CA", Until: month}},
		theirs:  []replication.Certificate{{Name: "process-server", Until: month}, {Name: "CA", Until: month}},
		sources: []Source{{GroupDisk: db, Size: 40 * gib, View: "reflink", OS: "linux", Mark: "ext4"}, {GroupDisk: web, Size: 40 * gib, View: "command"}},
		targets: []Target{
			{GroupDisk: db, SourceSize: 40 * gib, Exists: true, Is: blockio.Description{Path: db.Target, Format: blockio.FormatVMFS, Size: 40 * gib, UUID: "6000c290-0000-0000-0000-000000000001", Extents: []string{"/ds/db/os-flat.vmdk"}}},
			{GroupDisk: web, SourceSize: 40 * gib},
		},
		store:   Datastore{Dir: "/ds", Free: 500 * gib, Created: 40 * gib, Data: 10 * gib, Grown: 20 * gib},
		journal: Journal{Dir: "/mnt/retention", Group: "erp", Total: 1000 * gib, Free: 900 * gib, Limits: policy.DefaultLimits(), Grid: policy.Failback(), Interval: 5 * time.Minute, Disks: 80 * gib},
	}
}

func (f *facts) judged() (all []replication.Finding) {
	all = append(all, JudgeWorker(f.worker)...)
	all = append(all, JudgeSources(f.os, f.sources)...)
	all = append(all, JudgeQuiesce("erp", f.hooks, f.unquiesced, f.cant, f.sources)...)
	var names []string
	var are []blockio.Description
	for _, t := range f.targets {
		all = append(all, JudgeTarget(t)...)
		if t.Exists {
			names, are = append(names, string(t.Name)), append(are, t.Is)
		}
	}
	all = append(all, JudgeTwins(names, are)...)
	all = append(all, JudgeDatastore(f.store)...)
	all = append(all, JudgeJournal(f.journal)...)
	all = append(all, JudgeHost(f.host)...)
	return append(all, JudgeCertificates(f.ours, f.theirs, f.worker.Name, noon)...)
}

// said are the findings as "severity code", without those that only inform.
func said(all []replication.Finding) (list []string) {
	for _, f := range all {
		if f.Severity != replication.Info {
			list = append(list, string(f.Severity)+" "+f.Code)
		}
	}
	return list
}

var severities = map[replication.Severity]int{replication.Info: 0, replication.Warning: 1, replication.Error: 2}

// TestNumber: a fault has the code of Azure Site Recovery's beside ours, what only informs has not.
func TestNumber(t *testing.T) {
	all := []replication.Finding{{Code: CodeRPO, Severity: replication.Info}, {Code: CodeRPO, Severity: replication.Warning}, {Code: CodeLVM, Severity: replication.Warning}, {Code: "other", Severity: replication.Error}}
	Number(all)
	if all[0].ASR != "" || all[1].ASR != "78169" || all[2].ASR != "" || all[3].ASR != "" {
		t.Errorf("got %+v", all)
	}
}

// places returns n targets that are files.
func places(n int) []Place {
	return slices.Repeat([]Place{{What: "target of disk x/y of group crm"}}, n)
}

// TestEachFaultIsFound stages one fault at a time, and sees that finding, and no other.
func TestEachFaultIsFound(t *testing.T) {
	for name, c := range map[string]struct {
		stage func(*facts)
		want  string   // severity and code; "": none
		words []string // of message and remedy
	}{
		"Good": {func(*facts) {}, "", nil},

		"ProcessServerNeverCame": {func(f *facts) { f.worker.Seen, f.worker.Connected = false, false }, "error " + CodeNeverSeen, []string{"ps1", "--name ps1"}},
		"ProcessServerRefused": {func(f *facts) {
			f.worker.Connected, f.worker.Came = false, time.Date(2026, 11, 27, 13, 0, 0, 0, time.UTC)
			f.worker.Refused = &replication.Problem{Code: "protocol-version", Message: "it speaks 2.0", Remedy: "upgrade it"}
		}, "error " + CodeTurnedAway, []string{"ps1", "2026-11-27 13:00:00", "it speaks 2.0", "upgrade it"}},
		"ProcessServerGone":        {func(f *facts) { f.worker.Connected = false }, "error " + CodeAway, []string{"ps1", "2026-11-27 12:00:00"}},
		"MasterTargetNewer":        {func(f *facts) { f.worker.Ours.Program = "v1.5.0" }, "error " + CodeNewer, []string{"v1.5.0", "v1.4.2"}},
		"ClockFast":                {func(f *facts) { f.worker.Skew = -61 * time.Second }, "warning " + CodeSkew, []string{"1m1s", "NTP"}},
		"NoRoomForTables":          {func(f *facts) { f.worker.Figures.StateFree = 600 << 20 }, "error " + CodeCache, []string{"629 MB free", "671 MB", "/var/lib/failback"}},
		"RoomUnlessHolesAreFilled": {func(f *facts) { f.worker.Figures.StateFree, f.worker.Data = 600<<20, 40*gib }, "warning " + CodeCache, []string{"629 MB free", "671 MB"}},
		"LittleRoomAfterTables":    {func(f *facts) { f.worker.Figures.StateFree = 30 * gib }, "warning " + CodeCache, []string{"29 %", "below 30 %"}},
		"SpaceNotTold":             {func(f *facts) { f.worker.Figures.StateTotal, f.worker.Figures.StateFree = 0, 0 }, "", nil},
		"NoFigures":                {func(f *facts) { f.worker.Figures = nil }, "", nil},
		"CoresBusy":                {func(f *facts) { f.worker.Figures.CPU = 0.8 }, "warning " + CodeBusy, []string{"80 % of the cores", "ps1"}},
		"MemoryShort":              {func(f *facts) { f.worker.Figures.Memory = 0.97 }, "warning " + CodeBusy, []string{"97 % of the memory"}},

		"OursExpires":   {func(f *facts) { f.ours[0].Until = noon.AddDate(0, 0, 29) }, "warning " + CodeExpires, []string{"master-target", "29d00h"}},
		"TheirsExpires": {func(f *facts) { f.theirs[0].Until = noon.Add(time.Hour) }, "warning " + CodeExpires, []string{`"process-server"`, "1h00m"}},
		"TheirsExpired": {func(f *facts) { f.theirs[0].Until = noon }, "warning " + CodeExpired, []string{`"process-server"`, "2026-11-27 12:00:00"}},
		"CAExpires": {func(f *facts) { // of both: told once
			f.ours[1].Until = noon.AddDate(0, 0, 3)
			f.theirs[1].Until = f.ours[1].Until
		}, "warning " + CodeExpires, []string{`"CA"`, "3d00h"}},

		"SourceGone": {func(f *facts) {
			f.sources[1] = Source{GroupDisk: f.sources[1].GroupDisk, Problem: &replication.Problem{Code: CodeSource, Message: "disk web/os: source /s/webos: no such file", Remedy: "bring it back"}}
		}, "error " + CodeSource, []string{"/s/webos", "bring it back"}},
		"SourceEmpty":       {func(f *facts) { f.sources[0].Size = 0 }, "error " + CodeSourceSize, []string{"0 bytes", "512"}},
		"SourceOdd":         {func(f *facts) { f.sources[0].Size++ }, "error " + CodeSourceSize, []string{"42949672961"}},
		"SourceLarge":       {func(f *facts) { f.sources[0].Size = replication.MaxDiskSize + 512 }, "error " + CodeSourceSize, []string{"64 TiB"}},
		"NoSnapshot":        {func(f *facts) { f.sources[0].View = "none" }, "warning " + CodeNoSnapshot, []string{"db/os"}},
		"MachinesAreFrozen": {func(f *facts) { f.hooks = 2 }, "", nil},
		"OneIsNotFrozen":    {func(f *facts) { f.hooks, f.unquiesced = 1, []string{"web"} }, "warning " + CodeNoApp, []string{"web"}},
		"NoFreezeCommand": {func(f *facts) {
			f.hooks, f.cant = 2, []link.Unrunnable{{Machine: "db", Command: "freeze", Why: "there is no program x here"}}
		}, "warning " + CodeQuiesce, []string{"machine db", "freeze", "no program x"}},
		"WindowsAmongLinux": {func(f *facts) {
			f.sources[1].OS, f.sources[1].Mark = "windows", "a partition of the type Microsoft reserved"
		}, "error " + CodeOSDiffers,
			[]string{"machine web", "windows", "Microsoft reserved", "run linux"}},
		"MachineOfBoth": {func(f *facts) {
			data := f.sources[0]
			data.OS = "windows"
			f.sources = append(f.sources, data)
		}, "", nil},

		"DatastoreSilent": {func(f *facts) { f.targets[0] = Target{GroupDisk: f.targets[0].GroupDisk, Silent: true} }, "error " + CodeDatastore, []string{"does not answer"}},
		"NoDirectory":     {func(f *facts) { f.targets[1].NoDirectory = true }, "error " + CodeDatastore, []string{"/ds/web,", "mount the datastore"}},
		"NoDevice":        {func(f *facts) { f.targets[1].IsDevice = true }, "error " + CodeMissing, []string{"never created"}},
		"TargetNeeded":    {func(f *facts) { f.targets[1].Needed = true }, "error " + CodeMissing, []string{"journal needs it"}},
		"MachineThere":    {func(f *facts) { f.targets[1].VM = "/ds/web/web.vmx" }, "warning " + CodeVMThere, []string{"/ds/web/web.vmx"}},
		"InRetention":     {func(f *facts) { f.targets[0].Retention = "/mnt/retention" }, "error " + CodeInRetention, []string{"/mnt/retention"}},
		"OfAnotherGroup":  {func(f *facts) { f.targets[0].Holder = "crm" }, "error " + CodeInUse, []string{"crm"}},
		"HasSnapshot":     {func(f *facts) { f.targets[0].Is.TargetRefusal = "snapshots depend on it" }, "error " + CodeRefused, []string{"snapshots depend on it"}},
		"CannotBeRead": {func(f *facts) {
			f.targets[1].Problem = &replication.Problem{Code: CodeTarget, Message: "target x", Remedy: "mend"}
		}, "error " + CodeTarget, []string{"mend"}},
		"Locked": {func(f *facts) {
			f.targets[0].Problem = &replication.Problem{Code: CodeInUse, Message: "target x", Remedy: "stop"}
		}, "error " + CodeInUse, []string{"stop"}},
		"ActivatedByLVM": {func(f *facts) {
			f.targets[0].LVM = []string{"vg0-root", "vg0-swap"}
			f.targets[0].Problem = &replication.Problem{Code: CodeInUse}
		}, "error " + CodeActive, []string{"vg0-root, vg0-swap", "vgchange -an"}},
		"SizesDiffer":       {func(f *facts) { f.targets[0].Is.Size -= 512 }, "error " + CodeSizeDiffers, []string{"42949672960", "42949672448"}},
		"AnotherFormat":     {func(f *facts) { f.targets[0].Format = "monolithicSparse" }, "warning " + CodeFormat, []string{"vmfs", "monolithicSparse"}},
		"TargetIsSource":    {func(f *facts) { f.targets[0].SourceOf = "web/os" }, "error " + CodeIsSource, []string{"source of disk web/os"}},
		"TargetsAreOneDisk": {func(f *facts) { f.targets[1].Exists, f.targets[1].Is = true, f.targets[0].Is }, "error " + CodeTwice, []string{"/ds/db/os-flat.vmdk"}},
		"TargetByKernelName": {func(f *facts) {
			f.host.Targets[1] = Place{Subject: "web/os", What: "target of disk web/os", Path: "/dev/sdc", Number: "8:32", Device: true}
		}, "warning " + CodeTargetName,
			[]string{"/dev/sdc", "by-id"}},

		"DatastoreTooSmall":      {func(f *facts) { f.store.Free = 9 * gib }, "warning " + CodeTargetSpace, []string{"first point does not fit", "64.4 GB", "42.9 GB", "10.7 GB", "21.5 GB"}},
		"DatastoreMayFill":       {func(f *facts) { f.store.Free = 59 * gib }, "warning " + CodeTargetSpace, []string{"may write later"}},
		"JournalFillsByDefault":  {func(f *facts) { f.journal.Free, f.journal.Total = 3*gib, 4*gib }, "warning " + CodeJournalSpace, []string{"assumed: 5 % of the disks in a day", "4.29 GB", "3.14 GB", "back 17h3"}},
		"JournalFillsAsTold":     {func(f *facts) { f.journal.Churn = 20e6 }, "warning " + CodeJournalSpace, []string{"1.73 TB", "20 MB/s (as --churn says)"}},
		"JournalTakesNoCycle":    {func(f *facts) { f.journal.Churn, f.journal.Free = 20e6, 30*gib }, "error " + CodeJournalSpace, []string{"6 GB twice", "held back"}},
		"JournalOfASharedVolume": {func(f *facts) { f.journal.Others, f.journal.Churn = 2, 20e6 }, "warning " + CodeJournalSpace, []string{"2 groups besides"}},
		"HotDisks": {func(f *facts) { // each point takes all disks at most
			f.journal.Churn, f.journal.Disks, f.journal.Total, f.journal.Free = 100e6, gib, 100*gib, 98*gib
		}, "", nil},
		"OriginalDoesNotFit": {func(f *facts) { f.journal.Original, f.journal.Holds = true, 2000*gib; f.journal.Disks = 0 }, "warning " + CodeOriginalSpace, []string{"2214592512000"}},

		"TooManyDisks": {func(f *facts) { f.host.Held = places(58) }, "error " + CodeCrowd, []string{"61 disks", "1 that are attached", "58 more", "2 of this plan"}},
		"SixtyDisks":   {func(f *facts) { f.host.Held = places(57) }, "", nil},
		"AttachedOnce": {func(f *facts) { f.host.Held = slices.Repeat([]Place{{Device: true, Number: "8:0"}}, 60) }, "", nil},
		"Paravirtual": {func(f *facts) {
			f.host.Controllers = append(f.host.Controllers, machine.Controller{Name: "host3", Driver: "vmw_pvscsi"})
		}, "warning " + CodePVSCSI, []string{"1 controller of the kind Paravirtual", "1 of LSI"}},
		"OnlyParavirtual":  {func(f *facts) { f.host.Controllers = []machine.Controller{{Name: "host3", Driver: "vmw_pvscsi"}} }, "warning " + CodePVSCSI, []string{"0 of LSI"}},
		"NoLSILogic":       {func(f *facts) { f.host.Controllers = f.host.Controllers[:1] }, "warning " + CodeNoLSI, nil},
		"LSILogicSAS":      {func(f *facts) { f.host.Controllers[1].Driver = "mptsas" }, "", nil},
		"ToolsStopped":     {func(f *facts) { f.host.Tools = machine.ToolsStopped }, "warning " + CodeTools, []string{"stopped", "open-vm-tools"}},
		"ToolsAbsent":      {func(f *facts) { f.host.Tools = machine.ToolsAbsent }, "warning " + CodeTools, []string{"absent"}},
		"NoUUIDs":          {func(f *facts) { f.host.Disks[0].Serial = "" }, "warning " + CodeEnableUUID, []string{"sda", "disk.EnableUUID"}},
		"NoUUIDsOfTargets": {func(f *facts) { f.host.Disks[0].Serial = ""; f.host.Targets[1].Device = true }, "error " + CodeEnableUUID, nil},
		"RetentionOnLVM": {func(f *facts) {
			f.host.Retention.Below = []machine.Layer{{Name: "dm-0", LVM: "vg0-ret"}, {Name: "sdb"}}
		}, "warning " + CodeLVM, []string{"vg0-ret", "/mnt/retention (retention volume)"}},
		"TargetsOnLVM": {func(f *facts) { // one volume, told once
			for i := range f.host.Targets {
				f.host.Targets[i].Below = []machine.Layer{{Name: "dm-1", LVM: "vg0-ds"}}
			}
		}, "warning " + CodeLVM, []string{"db/os", "web/os"}},
		"TargetIsAttached": {func(f *facts) { f.host.Targets[0].Serial = serial }, "error " + CodeUUID, []string{"/dev/sda", serial, "db/os"}},
		"AttachedCopies": {func(f *facts) {
			f.host.Disks = append(f.host.Disks, machine.Disk{Name: "sdb", Number: "8:16", Serial: serial})
		}, "error " + CodeUUID, []string{"/dev/sda and /dev/sdb"}},
		"NoMachineOfVMwares": {func(f *facts) { f.host.Machine = machine.Machine{Vendor: "QEMU", Disks: []machine.Disk{{Name: "vda"}}} }, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := good()
			c.stage(f)
			all := f.judged()
			if got := strings.Join(said(all), ", "); got != c.want {
				t.Fatalf("got %q, want %q", got, c.want)
			}
			text := ""
			for _, x := range all {
				if x.Message == "" || x.Remedy == "" || x.Subject == "" || strings.Contains(x.Message, "%!") {
					t.Errorf("a finding with something left out: %+v", x)
				}
				if r, ok := Explain(x.Code); !ok || severities[x.Severity] > severities[r.Worst] {
					t.Errorf("not as in the list: %+v", x)
				}
				if c.want == string(x.Severity)+" "+x.Code {
					text = x.Message + "\n" + x.Remedy
				}
			}
			for _, w := range c.words {
				if !strings.Contains(text, w) {
					t.Errorf("%q is not in:\n%s", w, text)
				}
			}
		})
	}
}

// TestWhatOnlyInforms: what a group takes and stands on is told also where nothing is wrong.
func TestWhatOnlyInforms(t *testing.T) {
	f := good()
	f.journal.Original, f.journal.Holds = true, 32<<20
	f.targets[0].Is.Notices = []string{"it is thick"}
	var got []string
	for _, x := range f.judged() {
		got = append(got, x.Code)
	}
	if want := []string{CodeTarget, CodeTargetSpace, CodeOriginal, CodeJournalSpace, CodeMachine}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestAllFaultsAreFoundAtOnce: none hides another.
func TestAllFaultsAreFoundAtOnce(t *testing.T) {
	f := good()
	f.worker.Skew, f.worker.Figures.StateFree = time.Hour, 0
	f.sources[0].View, f.sources[1].OS = "none", "windows"
	f.targets[0].Is.Size, f.targets[1].NoDirectory = 512, true
	f.store.Free, f.journal.Free = 0, 0
	f.host.Held, f.host.Tools, f.host.Controllers, f.host.Disks[0].Serial = places(60), "", nil, ""
	f.ours[0].Until = noon
	want := []string{"warning clock-skew", "error process-server-space", "warning no-snapshot", "error os-differs", "error size-differs", "error datastore", "warning target-space", "warning journal-space",
		"error too-many-disks", "warning no-lsi-logic", "warning vmware-tools", "warning disk-enable-uuid", "error certificate-expired"}
	if got := said(f.judged()); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
