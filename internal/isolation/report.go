package isolation

import (
	"fmt"
	"slices"

	"github.com/aetherplatform/aether/internal/reach"
)

// State is what became of a check, or of a cell.
type State string

// States. A cell is the worst of its checks, in this order.
const (
	// Opened: it had to be refused and works.
	Opened State = "opened"
	// Closed: it had to work and does not.
	Closed State = "closed"
	// Unproven: nothing can be said, such as when nothing listens there.
	Unproven State = "unproven"
	// Computed: it was not tried; what the rules say.
	Computed State = "computed"
	// Proven: it is as it has to be.
	Proven State = "proven"
)

var worst = []State{Opened, Closed, Unproven, Proven, Computed}

// Seen is what was seen of a check on a cluster.
type Seen struct {
	// Tried says that a connection was made, or tried.
	Tried bool
	// Open says that it passed. With several Pods at the ends: that any did.
	Open bool
	// Some is how many passed, and how many were tried.
	Passed, All int
	// Unproven says why it tells nothing.
	Unproven string
}

// Report is the matrix with what was seen.
type Report struct {
	// Digest of the rendered fleet, as TenantSource reports it.
	Digest string `json:"digest,omitempty"`
	// Cluster is the context of the kubeconfig; empty for a plan.
	Cluster string  `json:"cluster,omitempty"`
	Rows    []*End  `json:"rows"`
	Columns []*End  `json:"columns"`
	Summary Summary `json:"summary"`
	// Differences from what the fleet says, in the order of the rows.
	Differences []Difference `json:"differences"`
	Cells       []Cell       `json:"cells"`
	// Notes are what a reader has to know about what was not proven.
	Notes []string `json:"notes,omitempty"`
}

// Summary counts checks.
type Summary struct {
	Namespaces int `json:"namespaces"`
	Checks     int `json:"checks"`
	// Allowed and Refused are proven.
	Allowed  int `json:"allowed"`
	Refused  int `json:"refused"`
	Opened   int `json:"opened"`
	Closed   int `json:"closed"`
	Unproven int `json:"unproven"`
	Computed int `json:"computed"`
	// Seconds that it took.
	Seconds float64 `json:"seconds,omitempty"`
}

// Cell is a row and a column.
type Cell struct {
	From string `json:"from"`
	To   string `json:"to"`
	// Open is the ports on which the rules let it through: "8443/TCP"; "" for none.
	Open   string   `json:"open"`
	State  State    `json:"state"`
	Checks []Result `json:"checks"`
}

// Result is what became of one check.
type Result struct {
	Port    string `json:"port"`
	Allowed bool   `json:"allowed"`
	// Doubt: it depends on labels of Pods, or on something that is not known.
	Doubt bool  `json:"doubt,omitempty"`
	State State `json:"state"`
	// Egress and Ingress are what decides at both ends.
	Egress  string `json:"egress"`
	Ingress string `json:"ingress"`
	Note    string `json:"note,omitempty"`
}

// Difference is a connection that is not as the fleet says.
type Difference struct {
	From  string `json:"from"`
	To    string `json:"to"`
	Port  string `json:"port"`
	State State  `json:"state"`
	Cause
}

// String is "default reaches acme-web on 443/TCP, which the fleet refuses".
func (d *Difference) String() string {
	if d.State == Opened {
		return fmt.Sprintf("%s reaches %s on %s, which the fleet refuses", d.From, d.To, d.Port)
	}
	return fmt.Sprintf("%s does not reach %s on %s, which the fleet allows", d.From, d.To, d.Port)
}

// Failed says whether anything differs.
func (r *Report) Failed() bool { return len(r.Differences) > 0 }

// Judge holds what was seen against what is expected. Seen is nil for a plan. Live
// is what the cluster has, for saying what is to blame; nil when it is not known.
func (p *Plan) Judge(seen map[*Check]Seen, live *reach.Model) *Report {
	r := &Report{Rows: p.Rows, Columns: p.Columns, Differences: []Difference{}, Cells: []Cell{}}
	for _, row := range p.Rows {
		if row.Kind == Namespace {
			r.Summary.Namespaces++
		}
	}
	var cell *Cell
	for _, c := range p.Checks {
		if cell == nil || cell.From != c.From.Name || cell.To != c.To.Name {
			open, _ := p.Model.Open(c.From.Endpoint, c.To.Endpoint)
			r.Cells = append(r.Cells, Cell{From: c.From.Name, To: c.To.Name, Open: open.Told(), State: Computed, Checks: []Result{}})
			cell = &r.Cells[len(r.Cells)-1]
		}
		one := Result{
			Port: c.Port.String(), Allowed: c.Verdict.Allowed, Doubt: c.Verdict.Doubt, State: Computed,
			Egress: Told(c.Verdict.Egress), Ingress: Told(c.Verdict.Ingress),
		}
		s := seen[c]
		one.State, one.Note = c.state(s)
		if !s.Tried && live != nil && !c.Verdict.Doubt {
			// Not tried, but the cluster's own policies can be read.
			if now := live.May(c.From.Endpoint, c.To.Endpoint, c.Port); now.Allowed != c.Verdict.Allowed && !now.Doubt {
				one.State, one.Note = Closed, "by the policies of the cluster; it was not tried"
				if now.Allowed {
					one.State = Opened
				}
			}
		}
		r.count(one)
		if one.State == Opened || one.State == Closed {
			r.Differences = append(r.Differences, Difference{
				From: c.From.Name, To: c.To.Name, Port: one.Port, State: one.State, Cause: p.blame(live, c, one.State == Opened),
			})
		}
		if slices.Index(worst, one.State) < slices.Index(worst, cell.State) {
			cell.State = one.State
		}
		cell.Checks = append(cell.Checks, one)
	}
	return r
}

func (c *Check) state(s Seen) (state State, note string) {
	switch {
	case s.Unproven != "":
		return Unproven, s.Unproven
	case !s.Tried:
		return Computed, ""
	case c.Verdict.Doubt:
		return Unproven, fmt.Sprintf("the rules leave it open; %d of %d connections passed", s.Passed, s.All)
	case c.Verdict.Allowed && s.Passed == s.All, !c.Verdict.Allowed && s.Passed == 0:
		return Proven, ""
	case c.Verdict.Allowed:
		state = Closed
	default:
		state = Opened
	}
	if s.Passed > 0 && s.Passed < s.All {
		note = fmt.Sprintf("%d of %d connections passed", s.Passed, s.All)
	}
	return state, note
}

func (r *Report) count(one Result) {
	r.Summary.Checks++
	switch one.State {
	case Opened:
		r.Summary.Opened++
	case Closed:
		r.Summary.Closed++
	case Unproven:
		r.Summary.Unproven++
	case Computed:
		r.Summary.Computed++
	case Proven:
		if one.Allowed {
			r.Summary.Allowed++
		} else {
			r.Summary.Refused++
		}
	}
}

// Verdict is the report in a sentence.
func (r *Report) Verdict() string {
	switch s := r.Summary; {
	case r.Cluster == "":
		return "What the fleet says of who may reach whom"
	case len(r.Differences) == 1:
		return "One path is not as the fleet says"
	case r.Failed():
		return fmt.Sprintf("%d paths are not as the fleet says", len(r.Differences))
	case s.Allowed+s.Refused == 0:
		return "Nothing could be proven"
	}
	return "Every path that was tried is as the fleet says"
}

// Paths are the cells in which something is open that a namespace of a tenant
// decides about, beside what each of them has: itself and DNS.
func (r *Report) Paths() []*Cell {
	kinds := map[string]Kind{}
	for _, ends := range [][]*End{r.Columns, r.Rows} {
		for _, e := range ends {
			kinds[e.Name] = e.Kind
		}
	}
	var out []*Cell
	for i := range r.Cells {
		c := &r.Cells[i]
		if c.Open != "" && c.From != c.To && kinds[c.To] != DNS && (kinds[c.From] == Namespace || kinds[c.To] == Namespace) {
			out = append(out, c)
		}
	}
	return out
}

// Unproven is what nothing can be said of, by reason.
func (r *Report) Unproven() []string {
	paths := map[string][]string{}
	var order []string
	for i := range r.Cells {
		c := &r.Cells[i]
		for _, check := range c.Checks {
			if check.State != Unproven {
				continue
			}
			if paths[check.Note] == nil {
				order = append(order, check.Note)
			}
			paths[check.Note] = append(paths[check.Note], c.From+" to "+c.To+" on "+check.Port)
		}
	}
	var out []string
	for _, why := range order {
		some := paths[why]
		text := why + ": " + some[0]
		if len(some) > 1 {
			text = fmt.Sprintf("%s: %d connections, such as %s", why, len(some), some[0])
		}
		out = append(out, text)
	}
	return out
}

// Doubtful says whether all that is allowed in a cell is in doubt.
func (c *Cell) Doubtful() bool {
	out := false
	for _, check := range c.Checks {
		if check.Allowed && !check.Doubt {
			return false
		}
		out = out || check.Doubt
	}
	return out
}

// Allows says whether anything of what is tried in a cell is allowed. More may be open.
func (c *Cell) Allows() bool {
	return slices.ContainsFunc(c.Checks, func(r Result) bool { return r.Allowed })
}
