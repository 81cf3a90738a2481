package isolation

import (
	"fmt"

	"github.com/aetherplatform/aether/internal/reach"
)

// Cause is what a difference comes from.
type Cause struct {
	// Policy that opened or closed it; nil when no policy explains it.
	Policy *reach.Policy `json:"policy,omitempty"`
	// Path of the rule in the policy.
	Path string `json:"path,omitempty"`
	// Why is the cause for people.
	Why string `json:"why"`
}

// blame names the policy that made a connection other than the fleet says: first
// that of the end which decides otherwise than it should, egress before ingress.
func (p *Plan) blame(live *reach.Model, c *Check, opened bool) Cause {
	if live == nil {
		return decider(c.Verdict, opened, "the cluster's policies could not be read; by the fleet it is decided by ")
	}
	now := live.May(c.From.Endpoint, c.To.Endpoint, c.Port)
	for _, side := range []struct {
		word        string
		should, now reach.Side
	}{{"egress of " + c.From.Name, c.Verdict.Egress, now.Egress}, {"ingress of " + c.To.Name, c.Verdict.Ingress, now.Ingress}} {
		switch {
		case side.should.Allowed == side.now.Allowed || side.now.Allowed != opened:
		case opened && side.now.Rule != nil:
			return p.rule(side.now.Rule, "it opens the "+side.word)
		case opened && side.should.Policy != nil && live.Has(side.should.Policy):
			return Cause{Policy: side.should.Policy, Why: fmt.Sprintf("%s is changed in the cluster: it no longer refuses the %s", side.should.Policy, side.word)}
		case opened && side.should.Policy != nil:
			return Cause{Policy: side.should.Policy, Why: fmt.Sprintf("%s is not in the cluster, and nothing else refuses the %s", side.should.Policy, side.word)}
		case opened && side.should.Rule != nil: // it denied
			return p.gone(live, side.should.Rule, "it no longer denies the "+side.word)
		case side.now.Rule != nil:
			return p.rule(side.now.Rule, "it denies the "+side.word)
		case side.should.Rule != nil:
			return p.gone(live, side.should.Rule, "it no longer opens the "+side.word)
		case side.now.Policy != nil:
			return p.named(side.now.Policy, "", "it closes the "+side.word)
		}
	}
	return decider(now, opened, "the policies of the cluster say what the fleet says, and are not enforced so: it is decided by ")
}

// rule blames a rule that is in the cluster.
func (p *Plan) rule(r *reach.Rule, does string) Cause { return p.named(r.Policy, r.Path, does) }

func (p *Plan) named(policy *reach.Policy, path, does string) Cause {
	why := policy.String()
	if path != "" {
		why += " " + path
	}
	why += ": " + does
	switch {
	case !p.Model.Has(policy):
		why += "; the fleet has no such policy"
	case policy.Place != "":
		why += "; it is changed in the cluster, the fleet has it from " + policy.Place
	default:
		why += "; it is changed in the cluster"
	}
	return Cause{Policy: policy, Path: path, Why: why}
}

// gone blames a rule of the fleet that is not in the cluster.
func (p *Plan) gone(live *reach.Model, r *reach.Rule, does string) Cause {
	why := r.String() + ": " + does + "; it is changed in the cluster"
	if !live.Has(r.Policy) {
		why = r.String() + ": " + does + "; the policy is not in the cluster"
	}
	if r.Policy.Place != "" {
		why += ", the fleet has it from " + r.Policy.Place
	}
	return Cause{Policy: r.Policy, Path: r.Path, Why: why}
}

// decider names what decides by the policies themselves.
func decider(v reach.Verdict, opened bool, because string) Cause {
	for _, side := range []reach.Side{v.Egress, v.Ingress} {
		switch {
		case side.Allowed == opened: // not what should have decided otherwise
		case side.Rule != nil:
			return Cause{Policy: side.Rule.Policy, Path: side.Rule.Path, Why: because + side.Rule.String()}
		case side.Policy != nil:
			return Cause{Policy: side.Policy, Why: because + side.Policy.String()}
		}
	}
	return Cause{Why: because + "no policy"}
}
