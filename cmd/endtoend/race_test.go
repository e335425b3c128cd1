//go:build race

package endtoend

func init() { buildFlags = append(buildFlags, "-race") }
