package explain

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/aetherplatform/aether/internal/cli"
)

// print tells the report to a person.
func (o *Options) print(r *Report) {
	o.printHead(r)
	o.printObjects(r)
	o.printSecrets(r)
	o.printQuota(r)
	o.printAccess(r)
	o.printNetwork("May be reached by", r.Ingress)
	o.printNetwork("May reach", r.Egress)
	o.printExceptions(r)
}

func (o *Options) printHead(r *Report) {
	tenant := r.Tenant
	if r.DisplayName != "" {
		tenant += " (" + r.DisplayName + ")"
	}
	built := fmt.Sprintf("profile %s, size %s", r.Profile, r.Size)
	if r.PodSecurity != "" {
		built += ", Pod Security " + r.PodSecurity
	}
	state := cli.Cell{Text: "ready", Style: cli.Good}
	if !r.Ready {
		state = cli.Cell{Text: "not ready (" + orUnknown(r.Reason) + ")", Style: cli.Bad}
	}

	t := cli.NewTable()
	row := func(name, text string) {
		if text != "" {
			t.Add(cli.Text(name), cli.Text(text))
		}
	}
	row("Namespace", r.Namespace)
	row("Tenant", tenant)
	row("Asked for", place(r.Source))
	row("Built from", built)
	row("Placed on", strings.Join(r.Clusters, ", "))
	row("GitOps", r.GitOps)
	t.Add(cli.Text("State"), state)
	if r.Removed == nil { // said below, in full
		row("", r.Message)
	}
	isolated := r.Isolated
	if r.IsolatedMessage != "" {
		isolated += ": " + r.IsolatedMessage
	}
	row("Isolated", isolated)
	if r.SecretsSynced != "" && r.SecretsSynced != "True" {
		row("Secrets", "not synced: "+r.SecretsSyncedMessage)
	}
	if r.Removed != nil {
		text := "left Git at " + r.Removed.At
		if r.Removed.In != "" {
			text += " in " + cli.ShortRevision(r.Removed.In)
		}
		row("Removed", text+"; put its file back to restore it")
		if r.Removed.Until != "" {
			row("", "kept until "+r.Removed.Until+", then deleted with all that is in it")
		} else {
			row("", "kept until a person deletes it: kubectl delete tenantnamespace "+r.Namespace)
		}
	}
	for _, note := range r.Notes {
		row("Note", note)
	}
	t.Print(o.Out, o.Color)
}

func (o *Options) printObjects(r *Report) {
	if len(r.Objects) == 0 {
		return
	}
	fmt.Fprintln(o.Out)
	t := cli.NewTable("OBJECT", "STATE", "MADE BY", "ASKED FOR AT", "IN")
	for _, obj := range r.Objects {
		style := cli.Good
		switch obj.State {
		case Drifted:
			style = cli.Wait
		case Missing:
			style = cli.Bad
		}
		t.Add(cli.Text(obj.Kind+"/"+obj.Name), cli.Cell{Text: obj.State, Style: style}, cli.Text(orDash(obj.Component)),
			cli.Text(orDash(obj.Source.Path)), cli.Text(orDash(cli.ShortRevision(obj.Source.Revision))))
	}
	t.Print(o.Out, o.Color)
}

func (o *Options) printQuota(r *Report) {
	if len(r.Quota) == 0 {
		return
	}
	fmt.Fprintln(o.Out)
	t := cli.NewTable("QUOTA", "USED", "HARD", "TENANT'S BUDGET")
	for _, q := range r.Quota {
		budget := "not bounded"
		if q.TenantHard != "" {
			budget = fmt.Sprintf("%s of %s given out", orZero(q.TenantUsed), q.TenantHard)
		}
		t.Add(cli.Text(q.Resource), cli.Text(orDash(q.Used)), cli.Text(q.Hard), cli.Text(budget))
	}
	t.Print(o.Out, o.Color)
}

func (o *Options) printAccess(r *Report) {
	fmt.Fprintln(o.Out)
	t := cli.NewTable("WHO HAS ACCESS", "ROLE", "GRANTED BY")
	for _, a := range r.Access {
		t.Add(cli.Text(a.Who), cli.Text(a.Role), cli.Text(a.From))
	}
	if len(r.Access) == 0 {
		t.Add(cli.Text("nobody"))
	}
	t.Print(o.Out, o.Color)
}

func (o *Options) printNetwork(title string, list []Connection) {
	fmt.Fprintln(o.Out)
	t := cli.NewTable(strings.ToUpper(title), "ON", "OPENED BY", "")
	for _, c := range list {
		blocked := cli.Cell{}
		if c.Blocked != "" {
			blocked = cli.Cell{Text: "but " + c.Blocked, Style: cli.Wait}
		}
		t.Add(cli.Text(c.Peer), cli.Text(c.Ports), cli.Text(c.From), blocked)
	}
	t.Print(o.Out, o.Color)
}

func (o *Options) printExceptions(r *Report) {
	if len(r.Exceptions) == 0 {
		return
	}
	fmt.Fprintln(o.Out)
	t := cli.NewTable("EXCEPTION", "ALLOWS", "UNTIL", "OWNER", "REASON", "ASKED FOR AT")
	for _, e := range r.Exceptions {
		until := cli.Cell{Text: e.Until, Style: cli.Wait}
		if e.Ended {
			until = cli.Cell{Text: "ended " + e.Until}
		}
		t.Add(cli.Text(e.Name), cli.Text(strings.Join(e.Allows, ", ")), until, cli.Text(e.Owner), cli.Text(e.Reason), cli.Text(orDash(e.Source.Path)))
	}
	t.Print(o.Out, o.Color)
}

func place(s Source) string {
	switch {
	case s.Path == "":
		return ""
	case s.Revision == "":
		return s.Path
	default:
		return s.Path + " at " + s.Revision
	}
}

// quantity is a resource's amount, or nothing where the list does not name it.
func quantity(list corev1.ResourceList, name corev1.ResourceName) string {
	q, ok := list[name]
	if !ok {
		return ""
	}
	return q.String()
}

func orDash(s string) string    { return or(s, "-") }
func orZero(s string) string    { return or(s, "0") }
func orUnknown(s string) string { return or(s, "not looked at yet") }

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
