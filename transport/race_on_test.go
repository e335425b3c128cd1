//go:build race

package transport

// moreSeeds is how many times more seeds a test takes without the race detector than with it.
const moreSeeds = 1
