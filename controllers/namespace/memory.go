package namespace

import (
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// memory is what this process has done for one namespace and cannot read back
// yet. Losing it costs some applies that change nothing. One reconcile of a
// namespace runs at a time, so it needs no lock.
type memory struct {
	uid types.UID
	// version of the TenantNamespace after our last write of it.
	version string
	// applied entries that the status does not have yet, by ID.
	applied map[string]v1alpha1.InventoryEntry
	// since when only our own writes are waited for; zero when nothing is.
	since time.Time
	// repairs are when an object was put back lately, by ID.
	repairs map[string][]time.Time
	// working is set while something was applied and it was not Ready since.
	working bool
	// looked is when its exceptions were looked at last.
	looked time.Time
	// counted is the generation whose way to Ready was measured.
	counted int64
}

// remember keeps an entry until the status has it.
func (m *memory) remember(e v1alpha1.InventoryEntry) {
	if m.applied == nil {
		m.applied = map[string]v1alpha1.InventoryEntry{}
	}
	m.applied[e.ID] = e
}

// An object that is changed again and again is put back so often in so long, and
// then left for a while: two controllers that fight at the speed of watches harm
// the API server more than the change does.
const (
	mostRepairs  = 10
	repairWindow = time.Minute
)

// fight counts a repair, and returns how long to leave the object instead.
func (m *memory) fight(id string, now time.Time) time.Duration {
	recent := slices.DeleteFunc(m.repairs[id], func(at time.Time) bool { return now.Sub(at) >= repairWindow })
	if len(recent) >= mostRepairs {
		m.repairs[id] = recent
		return repairWindow - now.Sub(recent[0])
	}
	if m.repairs == nil {
		m.repairs = map[string][]time.Time{}
	}
	m.repairs[id] = append(recent, now)
	return 0
}

// memories are those of all namespaces.
type memories struct {
	mu     sync.Mutex
	byName map[string]*memory
}

func (m *memories) of(tn *v1alpha1.TenantNamespace) *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.byName == nil {
		m.byName = map[string]*memory{}
	}
	if known := m.byName[tn.Name]; known != nil && known.uid == tn.UID {
		return known
	}
	m.byName[tn.Name] = &memory{uid: tn.UID}
	return m.byName[tn.Name]
}

func (m *memories) forget(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.byName, name)
}
