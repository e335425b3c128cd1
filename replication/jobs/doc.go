// Package jobs keeps what operators asked for: what runs, how far it is, and how it ended, over restarts of the master target.
//
// A Keeper stands between the operator's calls and the engine that does them, and adds nothing to what they do: a job begins when a call does, and ends when the engine says so, whether or not the one who asked is still
// there. What a job was is on disk before the engine is asked (of a reprotect and a resync, as soon as they were accepted), and how it ended afterwards. Of a job that was running when the master target ended, the group's status tells how it goes on: the engine takes up moves and
// cutovers by itself.
package jobs
