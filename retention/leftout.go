package retention

// rule is one of the rules that the journal stands on. A build with the tag mutation can leave each out on purpose: the model test must find every one that is missing.
type rule int

const (
	ruleNone                 rule = iota
	ruleSecondLook                // what was read from a disk is not believed when a move began meanwhile
	ruleOutward                   // extents begin and end at pages (I13)
	ruleSave                      // what only the disks hold is saved before it is written over (I4)
	ruleRecord                    // a move is recorded before its first write (I2)
	ruleProgressSynced            // progress is recorded with the disks synced
	ruleMoveSynced                // the disks are synced before a move is committed
	ruleTurnFromStart             // a move that is turned begins at zero
	ruleSaveNameDurable           // a save's name is durable before a record says it
	rulePackNameDurable           // likewise a pack's
	ruleSaveLabel                 // what is saved has the version that the disks show, not that of the head
	ruleSparesStill               // spares are left out only if no move was recorded since
	ruleSparesLock                // and none is being prepared
	ruleBaseContradicted          // what the oldest point needs is left out only where no other file tells of it
	ruleGoneStays                 // what a file tells of without content is kept
	ruleClassNotBefore            // a version belongs to the oldest point that is not before it: a live version is none of the point before
	ruleClassOldest               // a dead one is none of the point after
	ruleContentAbove              // of equal versions the one with content stands above
	ruleLaterWins                 // of what was appended twice the later counts
	ruleCutOne                    // of a file of several versions, an entry that stands below says nothing of the next
	ruleCatalogKeepsFiles         // files stay while a catalog in use names them
	ruleEndsStay                  // the head and the ends of a move stay listed (I11)
	rulePinned                    // what is pinned stays listed
	ruleSettled                   // a search ends when no file that is left could say more
	ruleEndMark                   // what is durable of the log is marked
	ruleLogSynced                 // a record is durable before what relies on it
	rulePadding                   // what was acknowledged shares no sector with what comes
	ruleScanPadding               // a scan goes on behind padding
	ruleEntriesFirst              // entries are durable before an index tells of them
	ruleLeftovers                 // files of a dropped cycle go before its number is used again
	ruleSweep                     // a file that no record names goes when the journal is opened
	ruleRegionFiles               // what was looked up in some files is not believed of others
	ruleExact                     // a point is listed when exactly what was sent is durable (I1)
	ruleLostAboveGone             // what is lost is not looked for on a disk that held it once
	ruleLostStays                 // that something is lost stays told when its file is rewritten
	ruleLostBuried                // content above what is lost is not given up as spare
	ruleMendShown                 // what was lost is taken from the disks only where they show it
	ruleOwner                     // a journal of another master target is not opened (I7)
	ruleStillOurs                 // nothing is written once another has taken the journal over (I7)
	ruleBegun                     // a file of a generation before the open cycle was begun is none of it
	ruleOriginal                  // what the first baseline writes over is saved before, where point 0 is kept (I4)
	ruleOriginalOnce              // and once: what was written over since is never saved
	ruleOriginalDurable           // and durable before the write
	ruleOriginalOver              // the first segment tells of all extents that were saved: the disks hold them
	ruleSentBuried                // nor content above what an earlier attempt or round sent of the same point
	ruleLostOfAttempts            // what is lost of a later attempt is not served from an earlier one
	ruleProgressWritten           // progress is recorded when all that lies before it was written, too
	ruleBirth                     // of a disk that joined later, no reader gets anything before its birth
	ruleBornWhole                 // and it is born when all of it is durable
	ruleSaveKnowsDamage           // a move is recorded by what is known of damage then, not by what was when it saved
	ruleOriginalAcknowledged      // what was acknowledged of point 0, and can't be read, is not taken for torn
	ruleDoubt                     // what a file that can't be read may have had is not taken from elsewhere
	ruleDoubtWrittenOver          // nor from a disk that shows a newer version
	ruleDoubtNoSpare              // nor is anything given up that the disks are taken to hold as well
	ruleDoubtUnchanged            // nor is what the disks hold since before it taken for a version that it may have had
	ruleCommitted                 // nothing is read from disks that a machine may run on, and nothing relies on what they hold
	ruleLeftKept                  // what the journal has of a disk that left is not given up for what its target holds
	lastRule                 = ruleLeftKept
)
