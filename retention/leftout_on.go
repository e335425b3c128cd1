//go:build mutation

package retention

// leaveOut is the rule that is left out now. Only tests set it.
var leaveOut rule

func leftOut(r rule) bool { return r == leaveOut && r != ruleNone }
