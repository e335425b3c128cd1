// Package plan reads the operator's plan file: which disks of which machines come home, from where, to where, and how often a point is made.
//
// The file is YAML, one per group:
//
//	group: erp
//	os: linux                       # linux or windows; one per group
//	process_server: ps1
//	policy: failback                # or a mapping: crash_interval, app_interval, retention, rpo_alert
//	machines:
//	  - name: erp-db
//	    disks:
//	      - id: os
//	        source: image:/srv/azure/erp-db-os.raw
//	        target: /vmfs/volumes/ds1/erp-db/erp-db.vmdk
//	        format: vmfs            # optional; see package blockio
//
// snapshot, release and changes are commands of the operator's that make a stable view of a source, let go of it, and print what changed. They
// stand with a disk, or with a machine or the group as the default for the disks below; an empty string at a disk takes the default away.
//
// Parse refuses what is not a plan (a key that is not known, a value of the wrong form). Findings judges a plan from its text alone and tells all
// that is wrong at once. Neither looks at the world: whether a path exists is for the two ends to find out.
package plan
