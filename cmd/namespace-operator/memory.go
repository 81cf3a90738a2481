package main

import (
	"errors"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"

	"k8s.io/apimachinery/pkg/api/resource"
)

// quantity is a number of bytes, as Kubernetes writes them: 320Mi.
type quantity int64

// String implements flag.Value.
func (q *quantity) String() string {
	return resource.NewQuantity(int64(*q), resource.BinarySI).String()
}

// Set implements flag.Value.
func (q *quantity) Set(text string) error {
	parsed, err := resource.ParseQuantity(text)
	if err != nil {
		return err
	}
	if parsed.Value() <= 0 {
		return errors.New("use more than nothing, such as 320Mi")
	}
	*q = quantity(parsed.Value())
	return nil
}

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
