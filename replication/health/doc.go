// Package health judges what is measured: facts go in, alerts come out. It has no clock, no I/O and no goroutine; what it remembers between two looks is a value (Watch).
//
// Each rule reads a level out of the facts (healthy, warning, critical), for each subject: a process server, a group, a disk. A level is told when it has held for the rule's time, and taken back when it has not held for
// the rule's clearing time. In between a reading is compared with two thresholds: one that it must pass to count, and an easier one that it must fall below again to count no more. So what swings around a threshold raises
// one alert, and what dips below it for a moment does not begin its quarter of an hour anew. The worst level wins.
//
// An alert is over when that is seen, and not before: while a group is being opened, or what a rule reads has not been measured again since a restart, what was told stays. rpo and schedule are over when points have come
// in time for two intervals, or for an hour.
//
//	rule             code   of what                                  warning                        critical                      held for
//	heartbeat        806    process server                                                          not connected                 15 min
//	cpu                     process server's machine                 80 %                           95 %                          15 min
//	memory                  process server's machine                 80 %                           95 %                          15 min
//	cache                   free on the volume of its state          below 30 %                     below 25 %                    15 min; below 20 % at once
//	clock                   process server's clock, less ours        1 min off                                                    15 min
//	frozen                  machines that were frozen for a point                                   could not be thawed            at once
//	backlog          78188  time until a cycle of changes is sent    30 min                         45 min                        5 min
//	rpo              78169  age of the last point                    rpo_alert                      twice that                    at once
//	schedule                points that were due and not begun       one                                                          at once
//	app              78144  application-consistent points            the last failed, or is older than twice app_interval         at once
//	stopped                 group with a problem                     15 min                         in state error: 1 min
//	churn-link       78188  changes beside what is sent in the time  80 % of it                     all of it, or more            3 cycles
//	churn-disks      78188  changes beside what disks are moved by   80 % of it, and they lag       all of it, and they lag       15 min
//	slow-progress           disk of a cycle                          a quarter of its best rate, on the wire too, by no limit     15 min
//	no-progress             disk of a cycle                                                         nothing                       15 min
//	retention               replication is held back for space                                      at once
//	damage                  the journal                              parts in quarantine            bytes that points need lost   at once
//	silent                  group whose facts are asked for                                         it does not answer            1 min
//
// Thresholds and codes of the rules up to cache, of backlog, rpo and progress are those of the product that this one replaces. Its "services not running for 15 min" is the rule stopped here: a process server is one
// program, and what of it can't work shows as a group's problem. That the master target itself is gone (78022) can be told from outside only: see observe/ for the rule of Prometheus.
package health
