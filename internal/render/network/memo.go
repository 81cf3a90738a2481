package network

import (
	"hash/maphash"
	"sync"
)

// passed remembers what Cilium has taken, by a hash of all of its content:
// Sanitize of every rule in every render would cost as much as the rest of it,
// and most rules of a fleet are the same or were rendered before. Only what
// passed is remembered.
var passed = newMemo(1 << 17)

// memo is a set of bounded size. It forgets what was not asked for since it last
// was half full.
type memo struct {
	// seeds are this process's own, so that nobody can write two contents with one
	// key: 128 bits of them are compared.
	seeds [2]maphash.Seed
	most  int

	mu sync.RWMutex
	// fresh is what was asked for since old was.
	fresh, old map[key]struct{}
}

type key [2]uint64

func newMemo(most int) *memo {
	return &memo{seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}, most: most, fresh: map[key]struct{}{}}
}

// once runs a check of a content unless one of the same content has passed.
func (m *memo) once(content []byte, check func() error) error {
	k := key{maphash.Bytes(m.seeds[0], content), maphash.Bytes(m.seeds[1], content)}
	m.mu.RLock()
	_, fresh := m.fresh[k]
	_, known := m.old[k]
	m.mu.RUnlock()
	if fresh {
		return nil
	}
	if !known {
		if err := check(); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.fresh) >= m.most/2 {
		m.fresh, m.old = make(map[key]struct{}, m.most/2), m.fresh
	}
	m.fresh[k] = struct{}{}
	return nil
}
