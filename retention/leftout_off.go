//go:build !mutation

package retention

// leftOut is false: every rule is kept.
func leftOut(rule) bool { return false }
