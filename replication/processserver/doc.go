// Package processserver is the worker's engine: it cuts points, finds what changed, packs it into frames and ships them over lanes.
//
// Ship, the heart of it, runs from left to right; every stage is bounded, and a slow one holds back those before it:
//
//	scan (one goroutine a disk; of disks of baselines and resyncs, at most Config.Disks of all groups at once: queue.go)
//	  what may differ, region by region: told by the master target's hashes (compare), or by the source (changes)
//	→ workers (Config.Workers)
//	  read, hash, decide, compress into frames
//	→ the line (inOrder)
//	  frames of earlier jobs first, whatever the number of workers: in the order of the disk, which streams live on
//	→ lanes (at most Config.Lanes)
//	  one connection each; a lane takes the next frame when it has sent its last: one that stalls holds only what it carries
//
// There are as many lanes as help (laneCount): while the link is what binds, more are tried, and kept if the rate rises by it. A lane's connection that breaks is replaced
// by a new attempt, which ends the earlier one at the master target. When all lanes have come to their ends, what broken ones may have lost is looked for in what is durable, and
// what is missing is found and sent again (shipment.all).
//
// Compression follows what is scarce (ladder, estimate, mix). Samples of the very data say what each level costs and gives; how idle the machine is, what all else costs, here and for what others on the machine do with each byte that is sent (others); what
// leaves while frames wait, what the link takes. The mix of levels follows that has the highest rate; where several have, the one that sends least. Where the kernel tells that the network
// often has nothing of ours to carry (link.Strained), it is the cores that bind, and levels are tried: none, and those that might pay (estimate.try). All begins in streams, or compressed well, as a slow link would have to carry
// for long what was sent with less care; but uncompressed where the round trip is that of one room (ladder.reaches). One ladder serves all shipments of a process. The encoders themselves give up early on what
// does not compress.
//
// What is written through to the disks rests nowhere as it came, and may go in streams (block.Stream; link.Shipment.Streams): blocks then wait uncompressed for a lane, which makes them the next parts of its own stream. What
// a stream gains is what lies near on the disk, so that all goes over one lane as long as more do not give more than they cost (laneCount.streams: by an earlier revision, of two ext4 images .29 and .32 is left over one lane, .34 and
// .36 over four, .39 and .43 block by block); where that lane's socket moves nothing, another has its turn (laneUse.feel). A stream takes one core: where the link takes more than that, blocks alone are quicker; where it waits for the link, six times the work leaves a sixteenth less (estimate.deepen). What it costs and
// gives can't be tried on samples: it is seen where it is used, beside the same blocks alone (estimate.streamed), and thought before (think). What all of it
// took and came to corrects what samples say of every level: they are of few blocks, and taken cold (estimate.correct).
//
// Content that the master target holds elsewhere is sent as a reference (repeats.go; block.Repeat): found by the hashes that are made anyway, through an index that forgets
// (contents.go), and checked against the base's tables, or what this cycle has sent, before it is believed. The unit is a page and runs of two or more of them: files of one template lie at other
// offsets, so that hardly anything of it repeats in aligned 64 KiB (4 % of two ext4 images with half their files in common, where pages find 47 %). In a cycle of changes references are to the
// base's point, which stays as it is; in a comparison, to what was found equal; in a first baseline also to what this cycle sends by value, after that has arrived. A disk whose changes are told has no
// table: nothing refers to it after the baseline, and it is hashed only where another disk of its group has one, and in a baseline only while the link binds. What is not
// as was thought comes back as "by value": the master target's coverage tells what, and it is sent again as data, before the cycle is finished. That is why nothing that is durable already is sent by reference.
//
// Memory for it is bounded: the index by Config.Repeats, 16 bytes for each page of the disks at most, with every 2^n-th page in it where that is not enough; runs that wait, 64 Ki of 48 bytes a
// shipment; and in a comparison one more replication.Pages.
//
// What is found grows with the cycle, not with what is under way: as replication.Pages, once for what is durable and once for what the cycle covers.
//
// What is already durable on the master target is asked for first, unless the order says that nothing is, and not sent again. When all lanes have been flushed, the totals of what the cycle
// covers go to the master target, which lists the point only if exactly that is durable.
//
// What the engine needs after a restart is in package source's directories and at the master target. Of its own it keeps one note for each group, in
// .instances: the name of the protection that the group's state belongs to, so that what is left of an earlier one is let go of.
package processserver
