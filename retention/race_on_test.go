//go:build race

package retention

// slow is how many times fewer seeds a test takes under the race detector.
const slow = 10
