package blockio

import (
	"container/list"
	"sync"
)

// lru keeps the values that were used last, up to a number of bytes. Safe for concurrent use; values are never changed.
type lru[K comparable, V any] struct {
	limit int64

	mu      sync.Mutex
	used    int64
	entries map[K]*list.Element
	order   list.List // of lruEntry[K, V], the one used last in front
}

type lruEntry[K comparable, V any] struct {
	key   K
	value V
	bytes int64
}

func newLRU[K comparable, V any](limit int64) *lru[K, V] {
	return &lru[K, V]{limit: limit, entries: map[K]*list.Element{}}
}

func (c *lru[K, V]) get(key K) (value V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[key]
	if e == nil {
		return value, false
	}
	c.order.MoveToFront(e)
	return e.Value.(lruEntry[K, V]).value, true
}

func (c *lru[K, V]) put(key K, value V, bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries[key] != nil {
		return // somebody else was as quick
	}
	c.entries[key] = c.order.PushFront(lruEntry[K, V]{key, value, bytes})
	for c.used += bytes; c.used > c.limit && c.order.Len() > 1; {
		oldest := c.order.Remove(c.order.Back()).(lruEntry[K, V])
		delete(c.entries, oldest.key)
		c.used -= oldest.bytes
	}
}
