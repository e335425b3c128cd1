//go:build !amd64

package pagehash

const (
	pairs        = false
	sixteenLeast = Most + 1
)

func two(a, b *[Page]byte) (Sum, Sum) { panic("not here") }

func sixteen([]*Sum, []*[Page]byte) { panic("not here") }
