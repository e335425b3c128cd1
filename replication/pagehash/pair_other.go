//go:build !amd64

package pagehash

const pairs = false

func two(a, b *[Page]byte) (Sum, Sum) { return One(a[:]), One(b[:]) }
