// Command torture kills a master target again and again, for as long as it is told, and sees whether a point is ever wrong.
//
//	go run ./bench/torture --fs ext4 --kills 250          # as root: it makes and mounts loop volumes
//	go run ./bench/torture --fs xfs --kills 250 --fill    # and fills the volumes at random moments
//	unshare -m go run ./bench/torture --power 10          # and fails their power with every tenth kill
//
// The retention volume and the datastore are file systems of their own, on loop devices. Sources are written sector by sector so that each sector tells what wrote it (workload.Stamped). While cycles
// arrive, disks move back and forth, points are dropped, files are rewritten and points are read, the master target is killed (SIGKILL) at a random moment and started again. Every few kills all stands still, and every listed
// point of every disk is read and held against what its source was when it was cut, as are the disks themselves against the point that they show.
//
// The file system lives on when a process is killed. With --power, some of the kills take the file systems down with it (the shutdown of ext4 and xfs, without a flush of their journals): what is dirty in memory is lost, and they recover by
// their journals when they are mounted again. A device that loses or tears what it was given is not in it; the model test of package retention has that.
package main
