package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// lazily is GOGC while there is plenty of memory: half as much work for the
// garbage collector as Go's default.
const lazily = 200

// keepWithin collects garbage seldom while the heap is small, and more often the
// nearer it comes to target bytes: a fleet that grows then needs little more
// memory than one that stays. Where a fleet needs more, it gets more, since a
// collector without room would use the processor up.
//
// Who has set GOGC or GOMEMLIMIT knows better, and is left alone.
func keepWithin(target int64) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	debug.SetGCPercent(lazily)
	debug.SetMemoryLimit(target)
	afterCollections(func() { debug.SetMemoryLimit(limit(target, live())) })
}

// limit leaves the collector room of three quarters of what is alive.
func limit(target, alive int64) int64 { return max(target, alive+alive/4*3) }

// live is how many bytes the last collection found in use.
func live() int64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return int64(sample[0].Value.Uint64())
}

// afterCollections calls f after each one, from now on.
func afterCollections(f func()) {
	type garbage struct{ _ [64]byte }
	runtime.AddCleanup(new(garbage), func(f func()) {
		f()
		afterCollections(f)
	}, f)
}
