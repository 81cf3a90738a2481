package doctor

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/version"
)

// Versions of Kubernetes: the oldest with all that Aether relies on, and the newest that
// the tests run with. ValidatingAdmissionPolicy at v1 is of 1.30, CEL's functions for
// networks are of 1.31.
var (
	oldest = version.MajorMinor(1, 31)
	newest = version.MajorMinor(1, 36)
)

func (c *cluster) checkVersion(context.Context) []Finding {
	name := c.version.GitVersion
	v, err := version.ParseGeneric(name)
	if err != nil {
		return one(warning("", "", "the API server says it is %q, which is no version", name))
	}
	minor := version.MajorMinor(v.Major(), v.Minor())
	switch {
	case minor.LessThan(oldest):
		return one(failed("", "upgrade the cluster", "%s is too old: Aether needs Kubernetes %s or newer, for its admission policies and the rules in its CRDs", name, oldest))
	case newest.LessThan(minor):
		return one(ok("%s, which is newer than what Aether is tested with (%s)", name, newest))
	case minor.LessThan(newest):
		return one(ok("%s; Aether runs with %s and newer, and is tested with %s", name, oldest, newest))
	default:
		return one(ok("%s, which Aether is tested with", name))
	}
}

// Clocks: what a difference does not matter below, and what tokens and certificates do
// not bear. The API server's date is to the second.
const (
	clockTolerance = 5 * time.Second
	clockLimit     = 5 * time.Minute
)

func (c *cluster) checkClock(context.Context) []Finding {
	if !c.dated {
		return one(unchecked("the API server's answer carries no date"))
	}
	apart := c.ahead.Abs().Round(time.Second)
	order := "behind"
	if c.ahead < 0 {
		order = "ahead of"
	}
	const advice = "set the clock of whichever is wrong: `timedatectl status` on both, and run chrony or systemd-timesyncd"
	switch {
	case apart <= clockTolerance:
		return one(ok("this machine and the API server are at most %s apart", clockTolerance))
	case apart <= clockLimit:
		return one(warning("", advice, "this machine is %s %s the API server: ages and times that it shows are wrong by as much", duration.HumanDuration(apart), order))
	default:
		return one(failed("", advice, "this machine is %s %s the API server: tokens and certificates are taken for expired, or not yet valid", duration.HumanDuration(apart), order))
	}
}
