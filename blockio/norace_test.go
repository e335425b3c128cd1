//go:build !race

package blockio

const underRace = false
