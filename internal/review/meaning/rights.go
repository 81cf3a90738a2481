package meaning

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/fields"
	"github.com/aetherplatform/aether/internal/prose"
	"github.com/aetherplatform/aether/internal/review"
)

const rbacGroup = "rbac.authorization.k8s.io"

// right is one thing that may be done. Wildcards stay what they are.
type right struct {
	verb, group, resource string
	// name of the one object that may be touched; "" is every one.
	name string
	// role stands alone: all that a role allows which is not rendered here.
	role string
}

// maxRights bounds what a Role is expanded to. One that goes beyond is named.
const maxRights = 20_000

// builtin are the roles of Kubernetes, each allowing what those before it do.
var builtin = []string{"view", "edit", "admin", "cluster-admin"}

// rightsMemory keeps what has been worked out: most namespaces have the same
// roles, and thousands of them differ in the same way.
type rightsMemory struct {
	byList  map[listKey]int
	byText  map[string]int
	rules   []map[right]bool
	changes map[string]rightsChange
}

// listKey tells lists of rules apart without reading them: renders of one template
// share them.
type listKey struct {
	first *any
	n     int
}

// rightsChange is what one subject gains and loses.
type rightsChange struct{ gained, lost phrases }

func newRightsMemory() *rightsMemory {
	return &rightsMemory{byList: map[listKey]int{}, byText: map[string]int{}, changes: map[string]rightsChange{}}
}

// intern returns a number for a list of rules.
func (m *rightsMemory) intern(rules []any) int {
	if len(rules) == 0 {
		return m.put("", nil)
	}
	k := listKey{&rules[0], len(rules)}
	if id, ok := m.byList[k]; ok {
		return id
	}
	text, err := json.Marshal(rules)
	if err != nil { // no JSON, so not what an API server would take: like nothing else
		text = fmt.Appendf(nil, "unreadable %d", len(m.rules))
	}
	id := m.put(string(text), rules)
	m.byList[k] = id
	return id
}

func (m *rightsMemory) named(role string) int {
	id, ok := m.byText["role "+role]
	if !ok {
		id = len(m.rules)
		m.byText["role "+role] = id
		m.rules = append(m.rules, map[right]bool{{role: role}: true})
	}
	return id
}

func (m *rightsMemory) put(text string, rules []any) int {
	id, ok := m.byText[text]
	if !ok {
		id = len(m.rules)
		m.byText[text] = id
		m.rules = append(m.rules, expand(rules))
	}
	return id
}

// expand turns rules into single rights.
func expand(rules []any) map[right]bool {
	out := map[right]bool{}
	for _, rule := range rules {
		names := fields.Texts(rule, "resourceNames")
		if len(names) == 0 {
			names = []string{""}
		}
		verbs, groups, resources, urls := fields.Texts(rule, "verbs"), fields.Texts(rule, "apiGroups"), fields.Texts(rule, "resources"), fields.Texts(rule, "nonResourceURLs")
		if len(verbs)*(len(groups)*len(resources)*len(names)+len(urls)) > maxRights || len(out) > maxRights {
			out[right{role: "a Role with more rights than can be compared"}] = true
			continue
		}
		for _, verb := range verbs {
			for _, group := range groups {
				for _, resource := range resources {
					for _, name := range names {
						out[right{verb: verb, group: group, resource: resource, name: name}] = true
					}
				}
			}
			for _, url := range urls {
				out[right{verb: verb, group: "url", resource: url}] = true
			}
		}
	}
	return out
}

// covers says whether a right is among others, by itself or by a wildcard.
func covers(all map[right]bool, r right) bool {
	if all[r] {
		return true
	}
	if all[right{role: "ClusterRole cluster-admin"}] {
		return true
	}
	if r.role != "" {
		i := slices.Index(builtin, strings.TrimPrefix(r.role, "ClusterRole "))
		if i < 0 {
			return false
		}
		for _, wider := range builtin[i:] {
			if all[right{role: "ClusterRole " + wider}] {
				return true
			}
		}
		return all[right{verb: "*", group: "*", resource: "*"}]
	}
	resources := []string{r.resource, "*"}
	if _, sub, ok := strings.Cut(r.resource, "/"); ok {
		resources = append(resources, "*/"+sub)
	}
	for _, verb := range []string{r.verb, "*"} {
		for _, group := range []string{r.group, "*"} {
			for _, resource := range resources {
				if all[right{verb: verb, group: group, resource: resource}] || all[right{verb: verb, group: group, resource: resource, name: r.name}] {
					return true
				}
			}
		}
	}
	return false
}

// holders is who has which roles in a namespace: subject to numbers of rules.
func (w *world) holders(s *scope, side func(*scope) *[classes][]*review.Rendered) map[string][]int {
	roles := map[string]int{}
	collect := func(from *scope) {
		if from == nil {
			return
		}
		for _, o := range side(from)[classRights] {
			if o.Kind == "Role" || o.Kind == "ClusterRole" {
				roles[o.Kind+" "+o.Name] = w.memory.intern(fields.List(o.Content, "rules"))
				if fields.At(o.Content, "aggregationRule") != nil {
					roles[o.Kind+" "+o.Name] = w.memory.named("aggregated " + o.Kind + " " + o.Name)
				}
			}
		}
	}
	collect(w.byKey[scopeKey{cluster: s.cluster}])
	collect(s)

	out := map[string][]int{}
	for _, o := range side(s)[classRights] {
		if o.Kind != "RoleBinding" && o.Kind != "ClusterRoleBinding" {
			continue
		}
		ref := fields.Text(o.Content, "roleRef", "kind") + " " + fields.Text(o.Content, "roleRef", "name")
		id, ok := roles[ref]
		if !ok {
			id = w.memory.named(ref)
		}
		for _, subject := range fields.List(o.Content, "subjects") {
			name := subjectName(subject)
			if name != "" && !slices.Contains(out[name], id) {
				out[name] = append(out[name], id)
			}
		}
	}
	return out
}

func subjectName(v any) string {
	kind, name := fields.Text(v, "kind"), fields.Text(v, "name")
	if name == "" {
		return ""
	}
	if kind == "ServiceAccount" {
		return "ServiceAccount " + prose.Plain(fields.Text(v, "namespace")) + "/" + prose.Plain(name)
	}
	return prose.Plain(kind) + " " + prose.Plain(name)
}

// rights finds who can now do what, and who no longer can.
func (w *world) rights(f *facts, s *scope) {
	cluster := w.byKey[scopeKey{cluster: s.cluster}]
	if s.same(classRights) && (cluster == nil || cluster.same(classRights)) || s.gone() {
		return
	}
	base := w.holders(s, func(s *scope) *[classes][]*review.Rendered { return &s.base })
	head := w.holders(s, func(s *scope) *[classes][]*review.Rendered { return &s.head })

	if s.new && s.namespace != "" {
		w.rightsOfNew(f, s, head)
		return
	}
	subjects := maps.Clone(base)
	maps.Copy(subjects, head)
	for _, who := range slices.Sorted(maps.Keys(subjects)) {
		if who == "ServiceAccount "+s.namespace+"/"+v1alpha1.SecretSyncAccount && w.memory.syncsOnly(base[who]) && w.memory.syncsOnly(head[who]) {
			continue // it is the platform's, comes and goes with secrets, and does no more than it is for
		}
		change := w.memory.change(base[who], head[who])
		said := strings.ReplaceAll(who, "ServiceAccount "+s.namespace+"/", "ServiceAccount ")
		one := fact{who: said, noun: "subjects", tenant: s.tenant, scope: s.scopeKey, place: s.place(classRights)}
		if change.gained.any() {
			gained := one
			gained.risk, gained.category = change.gained.risk, review.RightsGained
			if s.namespace == "" {
				gained.risk = review.High
			}
			gained.text = markWho + " can now " + change.gained.short() + " in " + markWhere
			gained.detail = change.gained.long()
			f.add(gained)
		}
		if change.lost.any() {
			lost := one
			lost.risk, lost.category = review.Low, review.RightsLost
			lost.text = markWho + " can no longer " + change.lost.short() + " in " + markWhere
			lost.detail = change.lost.long()
			f.add(lost)
		}
	}
}

// syncing is what an account of Aether's may do that keeps Secrets equal to OpenBao's:
// nobody else can act as it.
var syncing = func() map[right]bool {
	all := map[right]bool{}
	for _, verb := range []string{"get", "create", "patch", "update"} {
		all[right{verb: verb, resource: "secrets"}] = true
	}
	for _, resource := range []string{"daemonsets", "deployments", "statefulsets"} {
		all[right{verb: "patch", group: "apps", resource: resource}] = true
	}
	all[right{verb: "patch", group: v1alpha1.GroupVersion.Group, resource: "secretsyncs"}] = true
	return all
}()

// syncsOnly is whether rules allow no more than syncing takes.
func (m *rightsMemory) syncsOnly(rules []int) bool {
	return len(without(m.union(rules), syncing)) == 0
}

// rightsOfNew is one fact for a namespace in which nobody had data.
func (w *world) rightsOfNew(f *facts, s *scope, head map[string][]int) {
	if len(head) == 0 {
		return
	}
	worst := review.Info
	for _, ids := range head {
		for _, id := range ids {
			for r := range w.memory.rules[id] {
				if r.role != "" || r.verb == "*" || r.resource == "*" || r.group == "*" {
					worst = review.Low
				}
			}
		}
	}
	// Its own service accounts go by their names alone, as in every other namespace.
	who := slices.Sorted(maps.Keys(head))
	for i := range who {
		who[i] = strings.ReplaceAll(who[i], "ServiceAccount "+s.namespace+"/", "ServiceAccount ")
	}
	f.add(fact{
		risk: worst, category: review.RightsGained,
		text: prose.List(who) + " get rights in " + markWhere + ", which " + markIs + " new",
		who:  "", tenant: s.tenant, scope: s.scopeKey, place: s.place(classRights),
	})
}

func (m *rightsMemory) change(base, head []int) rightsChange {
	slices.Sort(base)
	slices.Sort(head)
	key := numbers(base) + "|" + numbers(head)
	if c, ok := m.changes[key]; ok {
		return c
	}
	before, after := m.union(base), m.union(head)
	c := rightsChange{gained: newPhrases(without(after, before)), lost: newPhrases(without(before, after))}
	m.changes[key] = c
	return c
}

func numbers(ids []int) string {
	var b []byte
	for _, id := range ids {
		b = strconv.AppendInt(b, int64(id), 10)
		b = append(b, ' ')
	}
	return string(b)
}

func (m *rightsMemory) union(ids []int) map[right]bool {
	if len(ids) == 1 {
		return m.rules[ids[0]]
	}
	out := map[right]bool{}
	for _, id := range ids {
		maps.Copy(out, m.rules[id])
	}
	return out
}

func without(all, others map[right]bool) []right {
	var out []right
	for r := range all {
		if !covers(others, r) {
			out = append(out, r)
		}
	}
	return out
}

// risk of a right.
func (r right) risk() review.Risk {
	resource, sub, _ := strings.Cut(r.resource, "/")
	reads := r.verb == "get" || r.verb == "list" || r.verb == "watch"
	is := func(group string, names ...string) bool { return r.group == group && slices.Contains(names, resource) }
	switch {
	case r.role == "ClusterRole view":
		return review.Low
	case r.role != "",
		r.verb == "*", r.group == "*", resource == "*",
		slices.Contains([]string{"escalate", "bind", "impersonate", "approve", "sign"}, r.verb),
		is("", "secrets", "nodes"), is("", "serviceaccounts") && sub == "token":
		return review.High
	case is("", "pods", "services") && slices.Contains([]string{"exec", "attach", "portforward", "proxy", "ephemeralcontainers", "binding"}, sub):
		return review.High
	case reads:
		return review.Low
	case r.group == rbacGroup, r.group == "aetherplatform.cloud", r.group == "admissionregistration.k8s.io", r.group == "certificates.k8s.io",
		r.group == "cilium.io", is("networking.k8s.io", "networkpolicies"), is("", "resourcequotas", "limitranges", "namespaces", "persistentvolumes", "endpoints"),
		is("discovery.k8s.io", "endpointslices"):
		return review.High // what confines the namespace
	}
	return review.Medium
}

// phrases say what a set of rights comes to, riskiest first.
type phrases struct {
	risk  review.Risk
	lines []phrase
}

type phrase struct {
	risk review.Risk
	text string
}

func (p phrases) any() bool { return len(p.lines) > 0 }

// short is for a title, long for the details when that is not all.
func (p phrases) short() string {
	const most = 3
	var texts []string
	for _, l := range p.lines[:min(most, len(p.lines))] {
		texts = append(texts, l.text)
	}
	if n := len(p.lines) - most; n > 0 {
		return fmt.Sprintf("%s, and %d more", strings.Join(texts, "; "), n)
	}
	return strings.Join(texts, " and ")
}

func (p phrases) long() []string {
	if len(p.lines) <= 3 {
		return nil
	}
	var out []string
	for _, l := range p.lines {
		out = append(out, l.text)
	}
	return out
}

// newPhrases joins verbs of one resource, then resources with the same verbs.
func newPhrases(rights []right) phrases {
	type target struct{ group, resource, name, role string }
	verbs := map[target][]string{}
	risks := map[target]review.Risk{}
	for _, r := range rights {
		t := target{r.group, r.resource, r.name, r.role}
		verbs[t] = append(verbs[t], r.verb)
		if worse := r.risk(); risks[t] == "" || worse.Weight() < risks[t].Weight() {
			risks[t] = worse
		}
	}
	type did struct {
		risk  review.Risk
		verbs string
	}
	things := map[did][]string{}
	var out phrases
	out.risk = review.Info
	for t, v := range verbs {
		if t.role != "" {
			out.lines = append(out.lines, phrase{risks[t], "do all that " + prose.Plain(t.role) + " allows"})
			continue
		}
		k := did{risks[t], verbsText(v)}
		things[k] = append(things[k], thingText(t.group, t.resource, t.name))
	}
	for k, names := range things {
		slices.Sort(names)
		out.lines = append(out.lines, phrase{k.risk, k.verbs + " " + prose.List(names)})
	}
	slices.SortFunc(out.lines, func(a, b phrase) int {
		if d := a.risk.Weight() - b.risk.Weight(); d != 0 {
			return d
		}
		return strings.Compare(a.text, b.text)
	})
	if len(out.lines) > 0 {
		out.risk = out.lines[0].risk
	}
	return out
}

func verbsText(verbs []string) string {
	slices.Sort(verbs)
	verbs = slices.Compact(verbs)
	var reads, others []string
	for _, v := range verbs {
		switch v {
		case "get", "list", "watch":
			reads = append(reads, v)
		case "*":
			return "do anything with"
		default:
			others = append(others, prose.Plain(v))
		}
	}
	if len(reads) == 3 {
		reads = []string{"read"}
	}
	return strings.Join(slices.Concat(reads, others), ", ")
}

// thingText names a resource as people do: "Deployments (apps)", "pods/exec".
func thingText(group, resource, name string) string {
	text, known := map[string]string{
		"secrets": "Secrets", "configmaps": "ConfigMaps", "pods": "Pods", "services": "Services", "serviceaccounts": "ServiceAccounts",
		"persistentvolumeclaims": "PersistentVolumeClaims", "deployments": "Deployments", "statefulsets": "StatefulSets",
		"daemonsets": "DaemonSets", "replicasets": "ReplicaSets", "jobs": "Jobs", "cronjobs": "CronJobs", "ingresses": "Ingresses",
		"roles": "Roles", "rolebindings": "RoleBindings", "networkpolicies": "NetworkPolicies", "nodes": "Nodes", "*": "every resource",
	}[resource]
	if !known {
		text = prose.Plain(resource)
	}
	if name != "" {
		text = fmt.Sprintf("%s %q", text, prose.Plain(name))
	}
	switch group {
	case "":
		return text
	case "*":
		return text + " (every API group)"
	}
	return text + " (" + prose.Plain(group) + ")"
}
