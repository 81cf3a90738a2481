package fleet

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/aetherplatform/aether/internal/tenancy"
)

// withOpenBao is the profile default with settings of OpenBao, and "open" as ever.
func withOpenBao(settings string) string {
	return strings.Replace(platform, "  base: {path: profiles/default}\n  labels:", "  base: {path: profiles/default}\n  openBao: "+settings+"\n  labels:", 1)
}

func TestRulesOfSecrets(t *testing.T) {
	cases := map[string]struct {
		why   string
		files map[string]string
		want  []string
	}{
		"what makes no Secret": {
			why: "the API server would refuse it when it is written, and nobody would look there",
			files: map[string]string{
				"acme/web.yaml": namespace("acme-web", `secrets:
- {name: A_B, path: a/b}
- name: ok
  path: a/b
  keys: {"a b": x, "..": y}
  template:
    "c d": x
  labels: {team: not a value}
  rollout: [{kind: Deployment, name: Web}]`),
			},
			want: []string{
				`acme/web.yaml:8: spec.secrets[0].name: "A_B" is no name; use lower-case letters, digits, '-' and '.'`,
				`acme/web.yaml:11: spec.secrets[1].keys[..]: ".." is no key of a Secret; use letters, digits, '-', '_' and '.'`,
				`acme/web.yaml:11: spec.secrets[1].keys[a b]: "a b" is no key of a Secret; use letters, digits, '-', '_' and '.'`,
				`acme/web.yaml:13: spec.secrets[1].template[c d]: "c d" is no key of a Secret; use letters, digits, '-', '_' and '.'`,
				`acme/web.yaml:14: spec.secrets[1].labels.team: "not a value": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character`,
				`acme/web.yaml:15: spec.secrets[1].rollout[0].name: "Web" is no name; use lower-case letters, digits, '-' and '.'`,
			},
		},
		"templates": {
			why: "each is said at its line, and all of them at once",
			files: map[string]string{
				"acme/web.yaml": namespace("acme-web", `secrets:
- name: db
  path: db
  template:
    DSN: postgres://${env.HOME}@db
    tls.crt: ${data.a
    whole: ${data}
    fine: ${data.user}:${data.password}
    deep: ${string([[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]])}`),
			},
			want: []string{
				"acme/web.yaml:11: spec.secrets[0].template[DSN]: ${env.HOME}: undeclared reference to 'env'; there are data",
				`acme/web.yaml:12: spec.secrets[0].template[tls.crt]: "${data.a": the expression is not closed; end it with }`,
				"acme/web.yaml:13: spec.secrets[0].template[whole]: ${data}: a map(string, string) is no text; turn it into a string",
				"acme/web.yaml:15: spec.secrets[0].template[deep]: an expression has 17 brackets; use at most 16, and split it",
			},
		},
		"two of one name": {
			why: "one Secret cannot be both",
			files: map[string]string{
				"acme/web.yaml": namespace("acme-web", `secrets:
- {name: db, path: a}
- {name: db, path: b}`),
			},
			want: []string{
				`acme/web.yaml:9: spec.secrets[1]: Duplicate value: {"name":"db"}`,
			},
		},
		"generated where the profile does not say so": {
			why: "what is written to OpenBao is the platform team's to permit",
			files: map[string]string{
				"acme/web.yaml": namespace("acme-web", `secrets:
- {name: a, path: a}
- name: b
  path: b
  generate: {password: {password: {}}}`),
			},
			want: []string{
				`acme/web.yaml:11: spec.secrets[1].generate: profile "default" lets nothing be made in OpenBao; write the secret there and remove this, or set spec.openBao.generate of the profile`,
			},
		},
		"generated where it does": {
			why: "it is permitted",
			files: map[string]string{
				"_platform/profiles.yaml": withOpenBao("{generate: true}"),
				"acme/web.yaml":           namespace("acme-web", "secrets: [{name: b, path: b, generate: {password: {password: {}}}}]"),
			},
		},
		"a mount that a profile does not have": {
			why: "it would be found when OpenBao is asked, in each namespace",
			files: map[string]string{
				"_platform/profiles.yaml": withOpenBao("{mounts: [kv, secret]}"),
				"acme/tenant.yaml":        tenant("acme", "namespaces: {profiles: [default, open]}\nsecrets: {mount: kv}"),
				"acme/web.yaml":           namespace("acme-web", "secrets: [{name: a, path: a}]"),
				"acme/api.yaml":           namespace("acme-api", "profile: open\nsecrets: [{name: a, path: a}]"),
				"acme/db.yaml":            namespace("acme-db", "profile: open\nsecrets: [{name: a, path: a}]"),
			},
			want: []string{
				`acme/tenant.yaml:7: spec.secrets.mount: "kv" is not open in profile "open", which the tenant has secrets in; use secret`,
			},
		},
		"the default mount, which a profile does not have": {
			why: "a Tenant that says nothing asks for it",
			files: map[string]string{
				"_platform/profiles.yaml": withOpenBao("{mounts: [kv]}"),
				"acme/web.yaml":           namespace("acme-web", "secrets: [{name: a, path: a}]"),
			},
			want: []string{
				`acme/tenant.yaml:4: spec.secrets.mount: "secret" is not open in profile "default", which the tenant has secrets in; use kv`,
			},
		},
		"a mount that no namespace with secrets needs": {
			why: "nothing is read from it",
			files: map[string]string{
				"acme/tenant.yaml": tenant("acme", "secrets: {mount: kv}"),
			},
		},
		"a place below another tenant's": {
			why: "that tenant could read it; its name is its own, and who wrote a path is told",
			files: map[string]string{
				"a/tenant.yaml": tenant("a", "secrets: {path: acme/a}"),
			},
			want: []string{
				`a/tenant.yaml:6: spec.secrets.path: secret/acme/a in OpenBao overlaps with secret/acme of Tenant "acme" (acme/tenant.yaml:1); choose a spec.secrets.path such that neither is at or below the other`,
			},
		},
		"a place above others'": {
			why: "of two that are written the later name has the error",
			files: map[string]string{
				"acme/tenant.yaml":   tenant("acme", "secrets: {path: teams/acme}"),
				"globex/tenant.yaml": tenant("globex", "secrets: {path: teams/globex}"),
				"hooli/tenant.yaml":  tenant("hooli", "secrets:\n  path: teams"),
			},
			want: []string{
				`hooli/tenant.yaml:7: spec.secrets.path: secret/teams in OpenBao overlaps with secret/teams/acme of Tenant "acme" (acme/tenant.yaml:1); choose a spec.secrets.path such that neither is at or below the other`,
			},
		},
		"one place twice": {
			why: "each could read the other's",
			files: map[string]string{
				"acme/tenant.yaml":   tenant("acme", "secrets: {path: teams/one}"),
				"globex/tenant.yaml": tenant("globex", "secrets: {path: teams/one}"),
			},
			want: []string{
				`globex/tenant.yaml:6: spec.secrets.path: secret/teams/one in OpenBao overlaps with secret/teams/one of Tenant "acme" (acme/tenant.yaml:1); choose a spec.secrets.path such that neither is at or below the other`,
			},
		},
		"places beside each other": {
			why: "names that begin alike are other names, and other mounts other engines",
			files: map[string]string{
				"acme/tenant.yaml":   tenant("acme", "secrets: {path: teams/acme}"),
				"globex/tenant.yaml": tenant("globex", "secrets: {path: teams/acme-b}"),
				"hooli/tenant.yaml":  tenant("hooli", "secrets: {path: teams/acme, mount: kv}"),
			},
		},
		"a place of one whose directory has errors": {
			why: "what is not applied takes nothing from others",
			files: map[string]string{
				"acme/tenant.yaml":   tenant("acme", "secrets: {path: teams}\ncolour: red"),
				"globex/tenant.yaml": tenant("globex", "secrets: {path: teams/globex}"),
			},
			want: []string{
				"acme/tenant.yaml:7: spec.colour: no such field; use cordoned, deletion, displayName, hostnames, namespaces, network, nodeSelector, owners, priorityClasses, quota, registries, secrets or storageClasses",
			},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := says(NewParser().Parse(fleetOf(c.files), nil))
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s\n(-want +got):\n%s", c.why, diff)
			}
		})
	}
}

func TestATenantThatIsAppliedKeepsItsPlaceInOpenBao(t *testing.T) {
	const overlap = `%s in OpenBao overlaps with %s of Tenant %q%s; choose a spec.secrets.path such that neither is at or below the other`
	cases := map[string]struct {
		why        string
		globex     string // spec of Tenant globex; Tenant acme says nothing of secrets
		incumbents map[string]tenancy.Holding
		want       []string
	}{
		"a newcomer whose name is an incumbent's path": {
			why:        "the incumbent's secrets are there already",
			globex:     "secrets: {path: acme}",
			incumbents: at(applied("globex"), "globex", "acme"),
			want:       []string{`acme/tenant.yaml:3: metadata.name: ` + fmt.Sprintf(overlap, "secret/acme", "secret/acme", "globex", " (globex/tenant.yaml:1)")},
		},
		"a newcomer whose name an incumbent's path begins with": {
			why:        "it could read the incumbent's",
			globex:     "secrets: {path: acme/globex}",
			incumbents: at(applied("globex"), "globex", "acme/globex"),
			want:       []string{`acme/tenant.yaml:3: metadata.name: ` + fmt.Sprintf(overlap, "secret/acme", "secret/acme/globex", "globex", " (globex/tenant.yaml:1)")},
		},
		"two incumbents at one path": {
			why:        "one of them can have it, and it is not who wrote it",
			globex:     "secrets: {path: acme}",
			incumbents: at(applied("acme", "globex"), "globex", "acme"),
			want:       []string{`globex/tenant.yaml:6: spec.secrets.path: ` + fmt.Sprintf(overlap, "secret/acme", "secret/acme", "acme", " (acme/tenant.yaml:1)")},
		},
		"an incumbent that moves onto another's": {
			why:        "it is a newcomer there",
			globex:     "secrets: {path: teams/hooli}",
			incumbents: at(applied("globex", "hooli"), "hooli", "teams/hooli"),
			want:       []string{`globex/tenant.yaml:6: spec.secrets.path: ` + fmt.Sprintf(overlap, "secret/teams/hooli", "secret/teams/hooli", "hooli", "")},
		},
		"an incumbent that moves above another's of a later name": {
			why:        "neither its name nor that it is applied elsewhere gives it what is below",
			globex:     "secrets: {path: teams}",
			incumbents: at(applied("globex", "zorg"), "zorg", "teams/zorg"),
			want:       []string{`globex/tenant.yaml:6: spec.secrets.path: ` + fmt.Sprintf(overlap, "secret/teams", "secret/teams/zorg", "zorg", "")},
		},
		"a place that an incumbent leaves": {
			why:        "it is there until what it asks for instead is applied",
			globex:     "secrets: {path: elsewhere}",
			incumbents: at(applied("globex"), "globex", "acme"),
			want:       []string{`acme/tenant.yaml:3: metadata.name: ` + fmt.Sprintf(overlap, "secret/acme", "secret/acme", "globex", " (globex/tenant.yaml:1)")},
		},
		"its own": {
			why:        "a tenant may move below where it is",
			globex:     "secrets: {path: globex/new}",
			incumbents: applied("acme", "globex"),
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := says(NewParser().Parse(fleetOf(map[string]string{"globex/tenant.yaml": tenant("globex", c.globex)}), c.incumbents))
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s\n(-want +got):\n%s", c.why, diff)
			}
		})
	}
}

// TestHostileTemplatesAreReadInTime: tenants write templates, and what CEL takes to
// check one is not in proportion to its length.
func TestHostileTemplatesAreReadInTime(t *testing.T) {
	slow := "${string([1]" + strings.Repeat(".map(x,[x])", 700) + ")}" // minutes, by itself
	var many strings.Builder
	many.WriteString("secrets:\n")
	for i := range 64 {
		fmt.Fprintf(&many, "- {name: s%d, path: s, template: {a: '%s', b: '%s'}}\n", i, slow, strings.Repeat("${data.a}", 800))
	}
	begin := time.Now()
	got := says(NewParser().Parse(fleetOf(map[string]string{"acme/web.yaml": namespace("acme-web", many.String())}), nil))
	if took := time.Since(begin); took > 20*time.Second { // a second, on a quiet machine
		t.Errorf("it took %s", took)
	}
	for _, want := range []string{"an expression has 1402 brackets", "above 4000 ${…}"} {
		if !strings.Contains(strings.Join(got, "\n"), want) {
			t.Errorf("nothing says %q:\n%s", want, strings.Join(got, "\n"))
		}
	}
}
