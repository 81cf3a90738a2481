package secret

import (
	"hash/fnv"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// DefaultRefresh is how often OpenBao is asked where a SecretSync does not say.
const DefaultRefresh = 5 * time.Minute

// RefreshInterval of a source.
func RefreshInterval(source *v1alpha1.SecretSource) time.Duration {
	if d := source.RefreshInterval; d != nil && d.Duration > 0 {
		return d.Duration
	}
	return DefaultRefresh
}

// NextRefresh is when a SecretSync is due after a time. Each has a place of its own in
// the interval, which follows from its UID alone: ten thousand of them ask OpenBao
// evenly, after a restart too, and who knows the object knows when, with nothing
// written down.
func NextRefresh(uid types.UID, interval time.Duration, after time.Time) time.Time {
	h := fnv.New64a()
	_, _ = h.Write([]byte(uid)) // never fails
	place := time.Duration(h.Sum64() % uint64(interval))
	passed := time.Duration(after.UnixNano()-int64(place)) % interval
	return after.Add(interval - passed)
}
