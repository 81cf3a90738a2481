package live

import (
	"flag"
	"path"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/aetherplatform/aether/test/bench/sample"
)

var (
	fleetSize = flag.Int("live.namespaces", 200, "namespaces of the fleet that BenchmarkLive compares")
	everyOne  = flag.Bool("live.every", false, "ask about every object, however many there are")
)

// BenchmarkLive compares a fleet with a cluster that is as it should be, but for a
// namespace whose quota someone changed, on a real API server on the same machine.
func BenchmarkLive(b *testing.B) {
	w := newWorld(b)
	w.files = fstest.MapFS{}
	for name, file := range sample.Fleet("t", *fleetSize) {
		w.files[path.Join("tenants", name)] = &fstest.MapFile{Data: file.Data, Mode: 0o444}
	}
	w.operate()
	w.patch(quotas, "t0000-ns3", "quota", `{"spec":{"hard":{"pods":"999"}}}`)
	var sent atomic.Int64
	var peak uint64
	for b.Loop() {
		sent.Store(0)
		debug.FreeOSMemory()
		stop := watchHeap(&peak)
		r := w.report(func(o *Options) {
			o.Config = counting(o.Config, &sent)
			o.every = 1
			if *everyOne {
				o.every = 1 << 30
			}
		})
		stop()
		if len(r.Changes) != 1 || r.Changes[0].Kind != "ResourceQuota" {
			b.Fatalf("%d changes, want one", len(r.Changes))
		}
	}
	b.ReportMetric(float64(sent.Load()), "dry-runs/op")
	b.ReportMetric(float64(peak>>20), "MiB-heap")
}

// watchHeap notes the most that the heap holds until it is stopped.
func watchHeap(peak *uint64) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				metrics.Read(heap)
				*peak = max(*peak, heap[0].Value.Uint64())
			}
		}
	}()
	return func() { close(done); <-ended }
}
