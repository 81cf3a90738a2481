package config

import "time"

// LeaderElection is who of several replicas works.
type LeaderElection struct {
	// Enabled has a replica work only while it holds the lease. Default: false.
	Enabled bool `yaml:"enabled"`
	// LeaseDuration is how long a leader that is not heard of keeps the lease.
	// Default: 15s.
	LeaseDuration Duration `yaml:"leaseDuration"`
	// RenewDeadline is how long a leader tries to renew the lease before it ends.
	// Default: 10s.
	RenewDeadline Duration `yaml:"renewDeadline"`
	// RetryPeriod is how often the lease is renewed, or asked for. Default: 2s.
	RetryPeriod Duration `yaml:"retryPeriod"`
}

// Metrics are how metrics are served.
type Metrics struct {
	// BindAddress is [host]:port; "0" for none. Default: :8080.
	BindAddress string `yaml:"bindAddress"`
	// Pprof serves /debug/pprof/ beside the metrics. Default: false.
	Pprof bool `yaml:"pprof"`
}

// Health is how probes are served.
type Health struct {
	// BindAddress is [host]:port; "0" for none. Default: :8081.
	BindAddress string `yaml:"bindAddress"`
}

// DefaultLeaderElection is LeaderElection without a file: client-go's own times.
func DefaultLeaderElection() LeaderElection {
	return LeaderElection{
		LeaseDuration: Duration{Duration: 15 * time.Second},
		RenewDeadline: Duration{Duration: 10 * time.Second},
		RetryPeriod:   Duration{Duration: 2 * time.Second},
	}
}

// DefaultMetrics are Metrics without a file.
func DefaultMetrics() Metrics { return Metrics{BindAddress: ":8080"} }

// DefaultHealth is Health without a file.
func DefaultHealth() Health { return Health{BindAddress: ":8081"} }

// jitter is how much client-go stretches the retry period at the most.
const jitter = 1.2

// Validate wants a leader to end before another may begin, and to have tried to renew
// before it ends.
func (l LeaderElection) Validate(p *Problems) {
	tries := Duration{Duration: time.Duration(jitter * float64(l.RetryPeriod.Duration))}
	switch {
	case l.LeaseDuration.Duration <= l.RenewDeadline.Duration:
		p.Add("leaderElection.leaseDuration", "%s is too short; use more than %s, the renew deadline", l.LeaseDuration, l.RenewDeadline)
	case l.LeaseDuration.Duration < time.Second:
		p.Add("leaderElection.leaseDuration", "%s is too short; use at least 1s, since a Lease counts in seconds", l.LeaseDuration)
	}
	if l.RenewDeadline.Duration <= tries.Duration {
		p.Add("leaderElection.renewDeadline", "%s is too short; use more than %s, which is %.1f times the retry period", l.RenewDeadline, tries, jitter)
	}
	if l.RetryPeriod.Duration <= 0 {
		p.Add("leaderElection.retryPeriod", "%s is too short; use more than 0s", l.RetryPeriod)
	}
}

// Validate adds what is wrong with it, which is the field metrics.
func (m Metrics) Validate(p *Problems) { p.MayListen("metrics.bindAddress", m.BindAddress) }

// Validate adds what is wrong with it, which is the field health.
func (h Health) Validate(p *Problems) { p.MayListen("health.bindAddress", h.BindAddress) }
