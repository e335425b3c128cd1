// Package plan reads the operator's plan file: which disks of which machines come home, from where, to where, and how often a point is made.
//
// The file is YAML, one per group:
//
//	group: erp
//	os: linux                       # linux or windows; one per group
//	process_server: ps1
//	policy: failback                # or a mapping, see below
//	retention: {soft: 70%, hard: 90%, reserve: 2%}   # optional
//	priority: 10                    # optional, 1 to 100: its part where groups share a limit of the link
//	keep_original: true             # optional
//	copy_order: largest             # optional: the largest disk is copied first; given (the default): as they stand here
//	machines:
//	  - name: erp-db
//	    quiesce: {freeze: ssh erp-db /opt/freeze, thaw: ssh erp-db /opt/thaw, timeout: 30s}   # optional
//	    disks:
//	      - id: os
//	        source: image:/srv/azure/erp-db-os.raw
//	        target: /vmfs/volumes/ds1/erp-db/erp-db.vmdk
//	        format: vmfs            # optional; see package blockio
//
// The policy failback is the mapping {crash_interval: 5m, app_interval: 60m, retention: 24h, rpo_alert: 15m, head_lag: 30s}. While cycles come one after another, the disks may be so far behind the
// last point that catching up would take head_lag, by estimate; 0s has them follow each point at once. With resync_window, such as 18:00-06:00 (package throttle, Window), a resync begins by itself only then. Its retention says which points are kept, in one of these forms (see package
// retention/policy for what they mean):
//
//	retention: failback             # the same as 24h
//	retention: 7d                   # all points of the last 2h; then, up to 1d, one an hour; up to 7d one every two hours; with more, one every four hours after the seventh day; 0d: the last 2h
//	retention: all for 2h, every 1h for 22h, every 4h for 6d
//	retention:                      # the same
//	  - {for: 2h, every: all}       # all, or 0
//	  - {for: 22h, every: 1h}
//	  - {for: 6d, every: 4h}        # from step to step a multiple
//
// The group's retention says how much of the retention volume its journal may take, as shares of the volume or as sizes (500GiB): above soft, copies that only save reading go; above hard, history is
// thinned; reserve is left free on the volume, and replication is held back before it is taken.
//
// keep_original keeps the disks as they were before the first cycle, as point 0, pinned: what the first cycle overwrites is saved on the retention volume before. It has to be said when a group is
// protected for the first time.
//
// snapshot, release and changes are commands of the operator's that make a stable view of a source, let go of it, and print what changed. They
// stand with a disk, or with a machine or the group as the default for the disks below; an empty string at a disk takes the default away.
//
// quiesce are commands that keep a machine still while the disks of the whole group are cut, with a machine, or with the group as the default for all of them; an empty one at a machine takes the default away. With them, a scheduled point
// is application-consistent every app_interval; without, all points are crash-consistent. timeout (default 30s) is how long the machine may be frozen, of which the shortest of the group counts, and how long thaw may take. The rules for such
// commands are in package source.
//
// Parse refuses what is not a plan (a key that is not known, a value of the wrong form). Findings judges a plan from its text alone and tells all
// that is wrong at once. Neither looks at the world: whether a path exists is for the two ends to find out.
package plan
