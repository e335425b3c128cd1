// Package block is the unit of replicated content: at most 64 KiB of one disk, possibly scattered over several extents, compressed on its own, with a checksum
// made when the source was read.
//
// A block is encoded once, by the process server, and stays as it came off the wire: the same header fields and the same payload
// bytes travel in a frame and rest in a segment or save file. Each reader (arrival, move, export) checks it by decoding (I9): the checksum is CRC-32C over
// the raw bytes, extents in rising order one after another.
//
// A repeat is the exception: it travels instead of content that the target holds elsewhere, and is resolved on arrival. The content that is found there is believed by a
// cryptographic hash of 128 bits (I9), and enters the journal as an ordinary data block.
//
// So are the parts of a stream. Where the target keeps nothing of what came off the wire, as its content is written through to a disk, blocks may come as the parts of one zstd stream for each lane: each
// stands on those before it, up to StreamWindow back, and the wire carries a quarter less. A part decodes by itself as soon as it is there, after those before it on the same attempt of the lane, to exactly
// its block's content, which has its checksum as ever. A lane's next attempt begins another stream.
//
// Codecs: none (raw bytes), LZ4 block format, S2 block format, one Zstandard frame without dictionary; and, on lanes only, parts of a stream. Each decoder is told the exact raw length beforehand and never
// writes more than that, so a payload that lies cannot make it allocate.
package block
