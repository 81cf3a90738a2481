package secret

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/openbao"
	"github.com/aetherplatform/aether/internal/openbao/access"
)

// memory is what this process knows of one SecretSync and has written nowhere.
// Losing it costs some reads. One reconcile of a SecretSync runs at a time, so only
// what is read beside one needs the lock of memories.
type memory struct {
	uid types.UID
	// version of the SecretSync after our last write of it.
	version string
	// secretVersion is the resource version of the Secret that was found in order
	// last, for a generation of the SecretSync.
	secretVersion string
	generation    int64
	// wrote is set from a write of the Secret until the status says so.
	wrote bool
	// asked is when OpenBao was last found to have what the Secret holds.
	asked time.Time
	// failures in a row, and when to try again.
	failures int
	retry    time.Time
	// owned is when the Namespace was last seen to be the tenant's, and its UID.
	owned     time.Time
	namespace types.UID
	// subject that a session was made for last.
	subject access.Subject
	// hurry: something else has changed, so that it is due now.
	hurry bool

	// For metrics, which are read beside a reconcile: guarded by memories.
	tenant    string
	failing   bool
	confirmed time.Time
}

// ownedFor is how long it is taken for granted whose a Namespace is, while nothing is
// written.
const ownedFor = 5 * time.Minute

// memories are those of all SecretSyncs.
type memories struct {
	mu     sync.Mutex
	byName map[types.NamespacedName]*memory
	// hurried are those that are due now, whatever their memory says.
	hurried map[types.NamespacedName]bool
}

func (m *memories) of(ss *v1alpha1.SecretSync) *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	name := types.NamespacedName{Namespace: ss.Namespace, Name: ss.Name}
	known := m.byName[name]
	if known == nil || known.uid != ss.UID {
		if m.byName == nil {
			m.byName = map[types.NamespacedName]*memory{}
		}
		known = &memory{uid: ss.UID}
		m.byName[name] = known
	}
	if m.hurried[name] {
		delete(m.hurried, name)
		known.hurry, known.owned = true, time.Time{}
	}
	return known
}

// hurry makes a SecretSync due.
func (m *memories) hurry(name types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.hurried == nil {
		m.hurried = map[types.NamespacedName]bool{}
	}
	m.hurried[name] = true
}

// each calls f for all; it must not keep what it is given.
func (m *memories) each(f func(*memory)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, one := range m.byName {
		f(one)
	}
}

func (m *memories) measured(of *memory, tenant string, failing bool, confirmed time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	of.tenant, of.failing, of.confirmed = tenant, failing, confirmed
}

// forget returns the subject of what is forgotten; none where there was no session.
func (m *memories) forget(name types.NamespacedName) (subject access.Subject) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if known := m.byName[name]; known != nil {
		subject = known.subject
	}
	delete(m.byName, name)
	delete(m.hurried, name)
	return subject
}

// outages are the OpenBaos that are away: while one is, it is asked by one after
// another and not by ten thousand at once.
type outages struct {
	mu   sync.Mutex
	away map[openbao.Connection]*outage
}

type outage struct {
	err   error
	until time.Time
	// tries since it began: requests that were under way then are none.
	tries int
}

// Bounds of the time between tries of an OpenBao that is away.
const (
	minOutage = 500 * time.Millisecond
	maxOutage = 15 * time.Second
)

// check is the outage that is not over; whoever comes first after that tries.
func (o *outages) check(connection openbao.Connection, now time.Time) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := o.away[connection]
	if out == nil {
		return nil
	}
	if now.Before(out.until) {
		return out.err
	}
	out.tries++
	out.until = now.Add(out.pause())
	return nil
}

// note what a try to sync with the connection came to.
func (o *outages) note(connection openbao.Connection, err error, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if openbao.KindOf(err) != openbao.Unavailable {
		delete(o.away, connection)
		return
	}
	if out := o.away[connection]; out != nil {
		out.err = err
		return
	}
	if o.away == nil {
		o.away = map[openbao.Connection]*outage{}
	}
	out := &outage{err: err}
	out.until = now.Add(out.pause())
	o.away[connection] = out
}

func (o *outage) pause() time.Duration {
	return min(minOutage<<min(o.tries, 8), maxOutage)
}
