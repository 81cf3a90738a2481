package source

import (
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/artifact"
	"github.com/aetherplatform/aether/internal/render"
	"github.com/aetherplatform/aether/internal/tenancy"
)

// memory is what is remembered of one TenantSource, so that a push costs what it
// changes. Losing it costs a fetch, a render and a comparison, never a write.
type memory struct {
	// The first part belongs to the one reconcile that runs at a time.

	fetcher  artifact.Fetcher
	renderer *render.Renderer
	// result is what was rendered from inputs; files is how many there were.
	result *render.Result
	inputs inputs
	files  int
	// units by name, as they were last made of a result.
	units map[string]*unit
	// baseError is why a base could not be fetched.
	baseError error
	// settled is, by unit, the digest that is in place.
	settled map[string]string
	// checked is when everything was last compared, and requested the
	// reconcile.fluxcd.io/requestedAt that was acted on.
	checked   time.Time
	requested string
	// late is the part of its interval by which a source is later than that: many that
	// began together shall not all compare at the same time.
	late float64
	// warned is what was told as an event: the informer may lag behind the status
	// that says so.
	warned map[string]bool
	// notReady is the reason that the metrics give; empty while it is Ready.
	notReady string
	// approved is, for one revision, how many removals its commit approves.
	approved map[string]int

	// The second part is shared with event handlers.

	mu sync.Mutex
	// objects are what is to be in place.
	objects map[key]*object
	// contested objects are wanted and someone else's, by key: the unit.
	contested map[key]string
	// dirty units have an object that someone changed.
	dirty map[string]bool
	// baseRefs are the sources of bases that profiles name.
	baseRefs []v1alpha1.BaseSourceRef
}

// inputs are what a render depends on.
type inputs struct {
	digest, path, bases string
	incumbents          map[string]tenancy.Holding
}

func (i inputs) equal(other inputs) bool {
	return i.digest == other.digest && i.path == other.path && i.bases == other.bases &&
		maps.Equal(i.incumbents, other.incumbents)
}

// latest is the greatest memory.late.
const latest = 0.1

// interval is how long after a comparison of everything the next is due.
func (m *memory) interval(ts *v1alpha1.TenantSource) time.Duration {
	every := 10 * time.Minute
	if ts.Spec.Interval != nil && ts.Spec.Interval.Duration > 0 {
		every = ts.Spec.Interval.Duration
	}
	return every + time.Duration(m.late*float64(every))
}

// due is when everything is to be compared again.
func (m *memory) due(ts *v1alpha1.TenantSource, now time.Time) time.Duration {
	if m.checked.IsZero() {
		return m.interval(ts)
	}
	return max(m.checked.Add(m.interval(ts)).Sub(now), time.Second)
}

// refresh makes this reconcile compare everything, when one is asked for or due.
func (m *memory) refresh(ts *v1alpha1.TenantSource, now time.Time) {
	requested := ts.Annotations[meta.ReconcileRequestAnnotation]
	if m.settled != nil && requested == m.requested && now.Sub(m.checked) < m.interval(ts) {
		return
	}
	m.settled, m.checked, m.requested = map[string]string{}, now, requested
}

// wanted is what was to be in place until now.
func (m *memory) wanted() map[key]*object {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.objects)
}

// want sets what is to be in place from now on.
func (m *memory) want(objects map[key]*object, contested map[key]string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.objects, m.contested = objects, contested
}

// accept replaces a wanted object.
func (m *memory) accept(o *object) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.objects[o.key] = o
}

// stained takes the dirty units, to be compared now; what gets dirty meanwhile is
// for the next reconcile.
func (m *memory) stained() map[string]bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	dirty := m.dirty
	m.dirty = nil
	return dirty
}

// stain makes units dirty again that could not be put right.
func (m *memory) stain(units map[string]bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dirty == nil {
		m.dirty = map[string]bool{}
	}
	maps.Copy(m.dirty, units)
}

func (m *memory) use(refs []v1alpha1.BaseSourceRef) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.baseRefs = refs
}

// uses reports whether a profile's base is in a Flux source.
func (m *memory) uses(kind, name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Contains(m.baseRefs, v1alpha1.BaseSourceRef{Kind: kind, Name: name})
}

// seen takes note of a live object, or of its end, and reports whether there is
// something to do.
func (m *memory) seen(live client.Object, gone bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := keyOf(live)
	o, unit := m.objects[k], m.contested[k]
	switch {
	case unit != "":
	case o == nil:
		return false
	case gone && o.removed != nil:
		delete(m.objects, k) // it was to go; its Tenant may go too
		return true
	case !gone && o.inPlace(live):
		return false
	default:
		unit = o.tenant
	}
	if m.dirty == nil {
		m.dirty = map[string]bool{}
	}
	m.dirty[unit] = true
	return true
}

// memories are those of all TenantSources.
type memories struct {
	mu sync.Mutex
	by map[client.ObjectKey]*memory
}

func (m *memories) of(k client.ObjectKey) *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.by == nil {
		m.by = map[client.ObjectKey]*memory{}
	}
	if m.by[k] == nil {
		m.by[k] = &memory{approved: map[string]int{}, late: rand.Float64() * latest} //nolint:gosec // to spread, not to hide
	}
	return m.by[k]
}

func (m *memories) forget(k client.ObjectKey) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.by, k)
}

// all is a copy, by key.
func (m *memories) all() map[client.ObjectKey]*memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.by)
}

// incumbents are the tenants of the cluster and what they have to themselves, as they
// were last found. All sources find the same, and remember one map of them.
type incumbents struct {
	mu   sync.Mutex
	last map[string]tenancy.Holding
}

// shared is the map to remember in place of an equal one. It must not be changed.
func (i *incumbents) shared(found map[string]tenancy.Holding) map[string]tenancy.Holding {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.last == nil || !maps.Equal(i.last, found) {
		i.last = found
	}
	return i.last
}

// claims settle which of two TenantSources gets a tenant, when both ask for one
// that is not in the cluster yet, or not yet in the informers.
type claims struct {
	mu sync.Mutex
	by map[string]claim
}

type claim struct {
	source  string
	holding tenancy.Holding
}

// hold claims tenants, by name with what they have to themselves, in place of all
// that the source has claimed before. It returns those that another source holds, and
// which.
func (c *claims) hold(source string, tenants map[string]tenancy.Holding) map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by == nil {
		c.by = map[string]claim{}
	}
	maps.DeleteFunc(c.by, func(tenant string, held claim) bool {
		_, kept := tenants[tenant]
		return held.source == source && !kept
	})
	taken := map[string]string{}
	for tenant, holding := range tenants {
		if held, ok := c.by[tenant]; ok && held.source != source {
			taken[tenant] = held.source
			continue
		}
		c.by[tenant] = claim{source, holding}
	}
	return taken
}

// others are the tenants that other sources hold, with what they have to themselves.
func (c *claims) others(source string) map[string]tenancy.Holding {
	c.mu.Lock()
	defer c.mu.Unlock()
	tenants := map[string]tenancy.Holding{}
	for tenant, held := range c.by {
		if held.source != source {
			tenants[tenant] = held.holding
		}
	}
	return tenants
}
