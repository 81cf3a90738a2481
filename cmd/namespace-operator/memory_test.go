package main

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

func TestTheCollectorHasRoomHoweverMuchIsAlive(t *testing.T) {
	const target = 320 << 20
	for alive, want := range map[int64]int64{
		0:         target,
		100 << 20: target,
		200 << 20: 350 << 20,
		400 << 20: 700 << 20,
	} {
		if got := limit(target, alive); got != want {
			t.Errorf("%d MiB alive: %d MiB, want %d", alive>>20, got>>20, want>>20)
		}
	}
}

func TestTheLimitFollowsWhatIsAlive(t *testing.T) {
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	before := debug.SetGCPercent(100)
	defer func() {
		debug.SetGCPercent(before)
		debug.SetMemoryLimit(1 << 62)
	}()
	const target = 1 << 20
	keepWithin(target)
	deadline := time.Now().Add(time.Minute)
	for debug.SetMemoryLimit(-1) <= target { // a Go program holds more than that
		if time.Now().After(deadline) {
			t.Fatal("the limit stays where the collector has no room")
		}
		runtime.GC()
	}
}

func TestWhoSetALimitIsLeftAlone(t *testing.T) {
	t.Setenv("GOMEMLIMIT", "1GiB")
	const theirs = 77
	before := debug.SetGCPercent(theirs)
	keepWithin(1 << 20)
	if after := debug.SetGCPercent(before); after != theirs {
		t.Errorf("GOGC is %d, not %d", after, theirs)
	}
}
