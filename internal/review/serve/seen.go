package serve

import (
	"container/list"
	"crypto/sha256"
	"sync"
)

// seen remembers deliveries, the newest of them: by the name that the forge gave
// them, and by their content, since a signature does not cover the name.
type seen struct {
	mu    sync.Mutex
	limit int
	order *list.List
	at    map[[sha256.Size]byte]*list.Element
}

func newSeen(limit int) *seen {
	return &seen{limit: limit, order: list.New(), at: map[[sha256.Size]byte]*list.Element{}}
}

// keys of a delivery. What is hashed tells names and contents apart.
func keys(name string, body []byte) [][sha256.Size]byte {
	all := [][sha256.Size]byte{sha256.Sum256(append([]byte("body\x00"), body...))}
	if name != "" {
		all = append(all, sha256.Sum256([]byte("name\x00"+name)))
	}
	return all
}

// first is whether none of the keys was seen; from now on they are.
func (s *seen) first(keys [][sha256.Size]byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range keys {
		if s.at[k] != nil {
			return false
		}
	}
	for _, k := range keys {
		s.at[k] = s.order.PushBack(k)
	}
	for s.order.Len() > s.limit {
		oldest := s.order.Front()
		s.order.Remove(oldest)
		k, _ := oldest.Value.([sha256.Size]byte)
		delete(s.at, k)
	}
	return true
}

// forget makes a delivery one that may come again.
func (s *seen) forget(keys [][sha256.Size]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range keys {
		if e := s.at[k]; e != nil {
			s.order.Remove(e)
			delete(s.at, k)
		}
	}
}
