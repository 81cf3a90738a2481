package meaning

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/aetherplatform/aether/internal/review"
)

const newNamespace = `TenantNamespace
metadata: {name: acme-new}
spec: {tenant: acme, size: small`

func TestWhatAChangeMeansIsSaidHighestRiskFirst(t *testing.T) {
	tests := map[string]struct {
		why  string
		base []string
		head []string
		want []string
	}{
		"a role for a team": {
			why:  "who can read Secrets or run a shell is what a reviewer looks for first",
			head: []string{"acme/web.yaml", "spec:\n", "spec:\n  access: [{kind: Group, name: acme-web-team, role: editor}]\n"},
			want: []string{"high RightsGained: Group acme-web-team can now get, create pods/attach, pods/exec and pods/portforward; read, create, delete, deletecollection, patch, update secretsyncs (aetherplatform.cloud); read, create, delete, patch, update Secrets, and 4 more in acme-web"},
		},
		"a role of the profile": {
			why:  "reading Pods is a small thing",
			head: []string{"acme/web.yaml", "spec:\n", "spec:\n  access: [{kind: Group, name: night, role: oncall}]\n"},
			want: []string{"low RightsGained: Group night can now read Pods in acme-web"},
		},
		"a role that a profile widens": {
			why:  "nothing of the tenant's own changes, and yet its Secrets can be read",
			base: []string{"acme/web.yaml", "spec:\n", "spec:\n  access: [{kind: Group, name: night, role: oncall}]\n"},
			head: []string{"_platform/default.yaml", "[pods]", "[pods, secrets]"},
			want: []string{
				"high RightsGained: Group night can now read Secrets in acme-web",
				"low ManyNamespaces: Profile default changes: 3 namespaces of 2 tenants use it",
			},
		},
		"an exception": {
			why: "a tenant is let off a rule: for what, and until when",
			head: []string{"_platform/quay.yaml", "", `TenantException
metadata: {name: quay}
spec: {tenant: acme, namespaces: [acme-web], allow: {registries: [quay.io/acme], exposure: [LoadBalancer]}, owner: platform, reason: until it is mirrored, expires: "2027-03-31T00:00:00Z"}`},
			want: []string{"medium Exception: Exception quay is granted: tenant acme (acme-web) may take images from quay.io/acme and open LoadBalancer until 2027-03-31T00:00:00Z"},
		},
		"an exception that lasts longer": {
			why: "nobody should have to compare dates",
			base: []string{"_platform/quay.yaml", "", `TenantException
metadata: {name: quay}
spec: {tenant: acme, allow: {registries: [quay.io/acme]}, owner: platform, reason: until it is mirrored, expires: "2027-03-31T00:00:00Z"}`},
			head: []string{"_platform/quay.yaml", "2027-03", "2028-03"},
			want: []string{"medium Exception: Exception quay changes: it ends later than 2027-03-31T00:00:00Z; tenant acme may take images from quay.io/acme until 2028-03-31T00:00:00Z"},
		},
		"an exception that is taken back": {
			why: "less is allowed",
			base: []string{"_platform/quay.yaml", "", `TenantException
metadata: {name: quay}
spec: {tenant: acme, allow: {exposure: [ExternalIPs]}, owner: platform, reason: until it is mirrored, expires: "2027-03-31T00:00:00Z"}`},
			head: []string{"_platform/quay.yaml", "", ""},
			want: []string{"low Exception: Exception quay is taken back: tenant acme may no longer open ExternalIPs until 2027-03-31T00:00:00Z"},
		},
		"an exception of a profile": {
			why:  "with the profile come its exceptions",
			head: []string{"_platform/default.yaml", "spec:\n", "spec:\n  exceptions: [{name: lb, tenant: acme, allow: {exposure: [ExternalIPs]}, owner: platform, reason: until it is mirrored, expires: \"2027-03-31T00:00:00Z\"}]\n"},
			want: []string{
				"high Exception: Exception lb of profile default is granted: tenant acme may open ExternalIPs until 2027-03-31T00:00:00Z",
				"low ManyNamespaces: Profile default changes: 3 namespaces of 2 tenants use it",
			},
		},
		"a profile that opens the cluster": {
			why:  "all its namespaces may",
			head: []string{"_platform/default.yaml", "spec:\n", "spec:\n  exposure: [LoadBalancer, NodePort]\n"},
			want: []string{
				"high NetworkOpened: Namespaces of profile default may now open LoadBalancer and NodePort",
				"low ManyNamespaces: Profile default changes: 3 namespaces of 2 tenants use it",
			},
		},
		"an owner leaves": {
			why:  "in all namespaces of the tenant at once, as one finding",
			base: []string{"acme/tenant.yaml", "role: admin}", "role: admin}, {kind: User, name: eve, role: oncall}"},
			head: []string{"acme/tenant.yaml", ", {kind: User, name: eve, role: oncall}", ""},
			want: []string{"low RightsLost: User eve can no longer read Pods in acme-db and acme-web"},
		},
		"who may reach a namespace": {
			why: "another tenant is not one's own, and neither is the world",
			head: []string{"acme/web.yaml", "network:\n", `network:
    ingress: [{from: [{tenant: globex, namespace: globex-billing}, {namespace: acme-db}, {ingressController: true}, {cidr: 0.0.0.0/0}], ports: [{port: 8080}]}]
`},
			want: []string{
				"high NetworkOpened: acme-web can now be reached by namespace globex-billing of tenant globex on 8080/TCP",
				"high NetworkOpened: acme-web can now be reached by the internet on 8080/TCP",
				"medium NetworkOpened: acme-web can now be reached by the ingress controller in ingress-nginx on 8080/TCP",
				"medium NetworkOpened: acme-web can now be reached by the ingress controller on 8080/TCP",
				"low NetworkOpened: acme-web can now be reached by namespace acme-db of its own tenant on 8080/TCP",
			},
		},
		"the internet": {
			why:  "data can leave to anywhere",
			head: []string{"acme/web.yaml", "10.0.0.0/8", "0.0.0.0/0"},
			want: []string{"high NetworkOpened: acme-web can now reach the internet on 443/TCP"},
		},
		"the internet in halves": {
			why:  "what it comes to counts, not how it is written",
			head: []string{"acme/web.yaml", "{cidr: 10.0.0.0/8}", "{cidr: 10.0.0.0/8}, {cidr: 0.0.0.0/1}, {cidr: 128.0.0.0/1}"},
			want: []string{"high NetworkOpened: acme-web can now reach the internet on 443/TCP"},
		},
		"hosts": {
			why:  "a wildcard is more than a name",
			head: []string{"acme/web.yaml", "{cidr: 10.0.0.0/8}", "{cidr: 10.0.0.0/8}, {fqdn: api.stripe.com}, {fqdn: '*.example.com'}"},
			want: []string{
				"medium NetworkOpened: acme-web can now reach any host of *.example.com on 443/TCP",
				"low NetworkOpened: acme-web can now reach api.stripe.com on 443/TCP",
			},
		},
		"a network that closes": {
			why:  "something may stop working",
			head: []string{"acme/web.yaml", "10.0.0.0/8", "10.0.0.0/9"},
			want: []string{"info NetworkClosed: acme-web can no longer reach network 10.128.0.0/9 on 443/TCP"},
		},
		"one port more": {
			why:  "only what is new is told",
			head: []string{"acme/web.yaml", "{port: 443}", "{port: 440, endPort: 450}"},
			want: []string{"medium NetworkOpened: acme-web can now reach network 10.0.0.0/8 on 440-442 and 444-450/TCP"},
		},
		"a peering that ends": {
			why:  "one side's change closes the other's rule",
			base: []string{"acme/web.yaml", "network:\n", "network:\n    ingress: [{from: [{tenant: globex, namespace: globex-billing}], ports: [{port: 80}]}]\n"},
			head: []string{"globex/tenant.yaml", "{tenant: acme}", ""},
			want: []string{
				"low TenantLimits: Limits of tenant globex: peers removed: acme",
				"info NetworkClosed: acme-web can no longer be reached by namespace globex-billing of tenant globex on 80/TCP",
			},
		},
		"Pod Security of one namespace": {
			why:  "privileged Pods own their node",
			head: []string{"acme/db.yaml", "size: small", "size: small, overrides: {podSecurity: privileged}"},
			want: []string{"high PodSecurity: Pod Security is lowered from restricted to privileged in acme-db"},
		},
		"Pod Security of a profile": {
			why:  "alike in many namespaces is one finding",
			head: []string{"_platform/default.yaml", "spec:\n", "spec:\n  podSecurity: baseline\n"},
			want: []string{
				"medium PodSecurity: Pod Security is lowered from restricted to baseline in acme-db, acme-web and globex-billing",
				"low ManyNamespaces: Profile default changes: 3 namespaces of 2 tenants use it",
			},
		},
		"a larger size": {
			why:  "what remains of the budget is the question behind it",
			head: []string{"acme/db.yaml", "small", "large"},
			want: []string{
				"low QuotaMoved: Quota of acme-db: pods 20 → 60, requests.cpu 2 → 6",
				"info QuotaMoved: acme: requests.cpu 4 → 8 of 20, 12 remain",
			},
		},
		"a namespace leaves, kept by default": {
			why:  "nobody may think that its data is gone, or that it keeps running",
			head: []string{"acme/db.yaml", "", ""},
			want: []string{
				"medium SoftDeleted: acme-db leaves Git: cordoned, and kept until a person deletes its TenantNamespace",
				"info QuotaMoved: acme: requests.cpu 4 → 2 of 20, 18 remain",
				"info NameReleased: The name acme-db is free once the namespace is gone",
			},
		},
		"a namespace leaves under the policy of the same commit": {
			why:  "what holds after the merge is what decides",
			head: []string{"acme/db.yaml", "", "", "acme/tenant.yaml", "spec:\n", "spec:\n  deletion: {policy: Delete, retention: 336h}\n"},
			want: []string{
				"high SoftDeleted: acme-db leaves Git: cordoned, kept for 14 days after the merge, then deleted with all its data",
				"high TenantLimits: Limits of tenant acme: deletion: what has left Git is deleted after 14 days, also what left before",
				"info QuotaMoved: acme: requests.cpu 4 → 2 of 20, 18 remain",
				"info NameReleased: The name acme-db is free once the namespace is gone",
			},
		},
		"a namespace leaves and is hardly kept": {
			why:  "nobody has time to notice",
			base: []string{"acme/tenant.yaml", "spec:\n", "spec:\n  deletion: {policy: Delete, retention: 0s}\n"},
			head: []string{"acme/db.yaml", "", ""},
			want: []string{
				"high DataDeleted: acme-db leaves Git: deleted with all its data at once",
				"info QuotaMoved: acme: requests.cpu 4 → 2 of 20, 18 remain",
				"info NameReleased: The name acme-db is free once the namespace is gone",
			},
		},
		"a tenant leaves": {
			why:  "with all that it has",
			head: []string{"globex/tenant.yaml", "", "", "globex/billing.yaml", "", ""},
			want: []string{
				"medium SoftDeleted: Tenant globex leaves Git: kept until none of its namespaces and clusters is left",
				"medium SoftDeleted: globex-billing leaves Git: cordoned, and kept until a person deletes its TenantNamespace",
				`low NameReleased: Names that begin with "globex-" are free once the tenant is gone`,
				"info NameReleased: The name globex-billing is free once the namespace is gone",
			},
		},
		"a cluster skips a minor version": {
			why:  "the API refuses what is merged",
			base: []string{"acme/prod.yaml", "", "WorkloadCluster\nmetadata: {name: acme-prod}\nspec: {tenant: acme, region: dk-1, version: v1.36.3}"},
			head: []string{"acme/prod.yaml", "v1.36.3", "v1.38.0"},
			want: []string{"high CannotChangeInPlace: WorkloadCluster acme-prod cannot go from v1.36.3 to v1.38.0"},
		},
		"a cluster goes back": {
			why:  "only a failed upgrade is taken back",
			base: []string{"acme/prod.yaml", "", "WorkloadCluster\nmetadata: {name: acme-prod}\nspec: {tenant: acme, region: dk-1, version: v1.37.0}"},
			head: []string{"acme/prod.yaml", "v1.37.0", "v1.36.3"},
			want: []string{"medium CannotChangeInPlace: WorkloadCluster acme-prod goes back from v1.37.0 to v1.36.3"},
		},
		"a cluster goes up": {
			why:  "nothing is in the way of it",
			base: []string{"acme/prod.yaml", "", "WorkloadCluster\nmetadata: {name: acme-prod}\nspec: {tenant: acme, region: dk-1, version: v1.36.3}"},
			head: []string{"acme/prod.yaml", "v1.36.3", "v1.37.0"},
			want: []string{},
		},
		"a cluster leaves": {
			why:  "everything in it goes with it",
			base: []string{"acme/prod.yaml", "", "WorkloadCluster\nmetadata: {name: acme-prod}\nspec: {tenant: acme, region: dk-1, version: v1.36.3}"},
			head: []string{"acme/prod.yaml", "", ""},
			want: []string{
				"high DataDeleted: WorkloadCluster acme-prod leaves Git: marked as removed, and what runs there goes too",
				"info NameReleased: The cluster's name acme-prod is free once the cluster is gone",
			},
		},
		"a namespace is born": {
			why:  "nobody has data there, so it is told in short",
			head: []string{"acme/new.yaml", "", newNamespace + "}"},
			want: []string{
				"low NameClaimed: Tenant acme takes the namespace acme-new",
				"info RightsGained: Group acme-admins and ServiceAccount deploy get rights in acme-new, which is new",
				"info QuotaMoved: acme: requests.cpu 4 → 6 of 20, 14 remain",
			},
		},
		"several namespaces are born, and several leave": {
			why:  "it is told once",
			head: []string{"acme/new.yaml", "", newNamespace + "}", "acme/newer.yaml", "", strings.Replace(newNamespace, "acme-new", "acme-newer", 1) + "}", "acme/db.yaml", "", "", "acme/web.yaml", "", ""},
			want: []string{
				"medium SoftDeleted: acme-db and acme-web leave Git: cordoned, and kept until a person deletes their TenantNamespace",
				"low NameClaimed: Tenant acme takes the namespaces acme-new and acme-newer",
				"info RightsGained: Group acme-admins and ServiceAccount deploy get rights in acme-new and acme-newer, which are new",
				"info NameReleased: The names acme-db and acme-web are free once the namespaces are gone",
			},
		},
		"a namespace is born open": {
			why:  "a new namespace can still be the way out",
			head: []string{"acme/new.yaml", "", newNamespace + ", network: {egress: [{to: [{cidr: 0.0.0.0/0}]}]}, overrides: {podSecurity: privileged}}"},
			want: []string{
				"high PodSecurity: Pod Security is privileged, not restricted, in acme-new, which is new",
				"medium NetworkOpened: acme-new can now reach the internet on every port",
				"low NameClaimed: Tenant acme takes the namespace acme-new",
				"info RightsGained: Group acme-admins and ServiceAccount deploy get rights in acme-new, which is new",
				"info QuotaMoved: acme: requests.cpu 4 → 6 of 20, 14 remain",
			},
		},
		"hostnames and limits": {
			why:  "only the platform team grants them",
			head: []string{"acme/tenant.yaml", `"20"`, `"40"`, "acme/tenant.yaml", "*.acme.example.com", "shop.example.com"},
			want: []string{
				"medium TenantLimits: Limits of tenant acme: budget: requests.cpu 20 → 40",
				"medium NameClaimed: Tenant acme may use the hostname shop.example.com",
				"low NameReleased: Tenant acme may no longer use the hostname *.acme.example.com",
				"info QuotaMoved: acme: requests.cpu 4 → 4 of 40, 36 remain",
			},
		},
		"a hostname changes hands": {
			why:  "traffic meant for one tenant would go to another",
			head: []string{"acme/tenant.yaml", `hostnames: ["*.acme.example.com"]`, "", "globex/tenant.yaml", "{network", `{hostnames: ["*.acme.example.com"], network`},
			want: []string{
				"high NameClaimed: Tenant globex may use the hostname *.acme.example.com, which tenant acme had",
				"low NameReleased: Tenant acme may no longer use the hostname *.acme.example.com",
			},
		},
		"a secret from elsewhere": {
			why:  "where it comes from is told; its value is nowhere",
			head: []string{"acme/web.yaml", "web/db", "web/other"},
			want: []string{"medium SecretSourceChanged: Secret db of acme-web is read from web/other instead of web/db"},
		},
		"all secrets from elsewhere": {
			why:  "nothing in any namespace says so",
			head: []string{"acme/tenant.yaml", "spec:\n", "spec:\n  secrets: {path: teams/acme}\n"},
			want: []string{"high SecretSourceChanged: All secrets of tenant acme are read from secret/teams/acme instead of secret/acme in OpenBao: spec.secrets of its Tenant changed"},
		},
		"another application repository": {
			why:  "other people's code would run there",
			base: []string{"acme/web.yaml", "spec:\n", "spec:\n  gitops: {url: 'https://git.example.com/acme/web.git'}\n"},
			head: []string{"acme/web.yaml", "acme/web.git", "mallory/web.git"},
			want: []string{"medium DeploySourceChanged: acme-web is deployed from git.example.com/mallory/web.git branch main path ./ instead of git.example.com/acme/web.git branch main path ./"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			base := edit(t, small(), tt.base...)
			got := found(t, base, edit(t, base, tt.head...))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.why, diff)
			}
		})
	}
}

func TestWhatMeansTheSameIsNoFinding(t *testing.T) {
	tests := map[string]struct {
		why        string
		base, head []string
		want       []string
	}{
		"nothing":  {why: "the same files are the same fleet"},
		"comments": {why: "only what is rendered counts", head: []string{"acme/web.yaml", "", "\n# a comment"}},
		"networks in another order, and one twice": {
			why:  "a set has no order",
			base: []string{"acme/web.yaml", "{cidr: 10.0.0.0/8}", "{cidr: 10.0.0.0/8}, {cidr: 192.0.2.0/24}"},
			head: []string{"acme/web.yaml", "{cidr: 10.0.0.0/8}, {cidr: 192.0.2.0/24}", "{cidr: 192.0.2.0/24}, {cidr: 10.0.0.0/8}"},
		},
		"a narrower network beside the open one": {
			why:  "it was reachable before",
			head: []string{"acme/web.yaml", "{cidr: 10.0.0.0/8}", "{cidr: 10.0.0.0/8}, {cidr: 10.1.0.0/16}"},
		},
		"a network in two halves": {
			why:  "together they are what they were",
			head: []string{"acme/web.yaml", "{cidr: 10.0.0.0/8}", "{cidr: 10.0.0.0/9}, {cidr: 10.128.0.0/9}"},
		},
		"a rule for each port": {
			why:  "rules add up",
			base: []string{"acme/web.yaml", "{port: 443}", "{port: 443}, {port: 444}"},
			head: []string{"acme/web.yaml", "ports: [{port: 443}, {port: 444}]}]", "ports: [{port: 443}]}, {to: [{cidr: 10.0.0.0/8}], ports: [{port: 444}]}]"},
		},
		"a host that a wildcard had opened": {
			why:  "it was reachable before",
			base: []string{"acme/web.yaml", "{cidr: 10.0.0.0/8}", "{fqdn: '*.example.com'}"},
			head: []string{"acme/web.yaml", "{fqdn: '*.example.com'}", "{fqdn: '*.example.com'}, {fqdn: api.example.com}"},
		},
		"the same access twice": {
			why:  "an admin who is also a viewer is an admin",
			head: []string{"acme/web.yaml", "spec:\n", "spec:\n  access: [{kind: Group, name: acme-admins, role: viewer}]\n"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			base := edit(t, small(), tt.base...)
			if got := found(t, base, edit(t, base, tt.head...)); len(got) > 0 {
				t.Errorf("%s; got\n%s", tt.why, strings.Join(got, "\n"))
			}
		})
	}
}

func TestATenantThatWouldNotBeAppliedHasNoFindings(t *testing.T) {
	base, head := sideOf(t, small()), sideOf(t, edit(t, small(), "acme/db.yaml", "size: small", "size: none"))
	if len(head.Tenants["acme"].Errors) == 0 {
		t.Fatal("head has no error")
	}
	if got := lines(Find(base, head, &review.Report{})); len(got) > 0 {
		t.Errorf("got %q, though nothing of it would be applied", got)
	}
	// The other way round nothing is known of base, so nothing is taken for granted.
	got := lines(Find(head, base, &review.Report{}))
	for _, want := range []string{
		"high RightsGained: Group acme-admins can now",
		"medium NetworkOpened: acme-web can now reach network 10.0.0.0/8 on 443/TCP",
		"medium IsolationEroded: What tenant acme has now cannot be told",
	} {
		if !slices.ContainsFunc(got, func(line string) bool { return strings.HasPrefix(line, want) }) {
			t.Errorf("no finding %q among\n%s", want, strings.Join(got, "\n"))
		}
	}
}

func TestFourHundredNamespacesAreOneFinding(t *testing.T) {
	base := small()
	base["_platform/default.yaml"] = strings.Replace(base["_platform/default.yaml"], "spec:\n", "spec:\n  podSecurity: restricted\n", 1)
	for i := range 400 {
		tenant := fmt.Sprintf("t%03d", i/4)
		base[tenant+"/tenant.yaml"] = fmt.Sprintf("Tenant\nmetadata: {name: %s}\nspec: {owners: [{kind: Group, name: %[1]s-admins, role: oncall}]}", tenant)
		base[fmt.Sprintf("%s/%d.yaml", tenant, i)] = fmt.Sprintf("TenantNamespace\nmetadata: {name: %s-n%d}\nspec: {tenant: %[1]s, size: small}", tenant, i)
	}
	head := edit(t, base, "_platform/default.yaml", "podSecurity: restricted", "podSecurity: privileged", "_platform/default.yaml", "[pods]", "[pods, secrets]")

	b, h := sideOf(t, base), sideOf(t, head)
	findings := Find(b, h, &review.Report{})
	want := []string{
		"high RightsGained: 100 subjects can now read Secrets in t000-n0, t000-n1, t000-n2, t000-n3, t001-n4 and 395 more",
		"high PodSecurity: Pod Security is lowered from restricted to privileged in acme-db, acme-web, globex-billing, t000-n0, t000-n1 and 398 more",
		"medium ManyNamespaces: Profile default changes: 403 namespaces of 102 tenants use it",
	}
	if diff := cmp.Diff(want, lines(findings)); diff != "" {
		t.Fatalf("-want +got:\n%s", diff)
	}
	if got := findings[0].Details; len(got) != maxDetails+1 || got[0] != "Group t000-admins: t000-n0, t000-n1, t000-n2 and t000-n3" || got[maxDetails] != "and 88 more" {
		t.Errorf("who has which is not told, or not bounded: %q", got)
	}
	if len(findings[0].Namespaces) != 400 || len(findings[0].Tenants) != 100 {
		t.Errorf("got %d namespaces of %d tenants", len(findings[0].Namespaces), len(findings[0].Tenants))
	}
}

func TestAGroupOfChangesIsToldWithItsExtent(t *testing.T) {
	report := &review.Report{
		Changes: []review.Change{{
			Object: review.Object{Kind: "CiliumNetworkPolicy", Name: "tenant-rules", Namespace: "acme-web"}, Action: review.Changed,
			Fields: []review.Field{{Path: "spec.egress[0].toPorts"}},
		}},
		Groups: []review.Group{{Cause: "base/namespace/network", Tenants: []string{"acme", "globex"}, Namespaces: []string{"acme-web", "globex-api", "globex-web"}}},
	}
	got := Find(nil, nil, report)
	want := []review.Finding{{
		Risk: review.Low, Category: review.BlastRadius,
		Title:   "base/namespace/network changes: CiliumNetworkPolicy tenant-rules is changed in 3 namespaces of 2 tenants",
		Details: []string{"For example in acme-web: spec.egress[0].toPorts"},
		Tenants: []string{"acme", "globex"}, Namespaces: []string{"acme-web", "globex-api", "globex-web"},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestAGroupIsToldWithItsExceptions(t *testing.T) {
	change := func(namespace, group string, paths ...string) review.Change {
		c := review.Change{Object: review.Object{APIVersion: "v1", Kind: "ResourceQuota", Name: "quota", Namespace: namespace}, Action: review.Changed, Group: group}
		for _, p := range paths {
			c.Fields = append(c.Fields, review.Field{Path: p})
		}
		return c
	}
	report := &review.Report{
		Changes: []review.Change{
			change("acme-api", "g", "spec.hard.pods"), change("acme-web", "g", "spec.hard.pods"),
			change("n1", "", "spec.hard.pods", "spec.hard.cpu"), change("n2", ""), change("n3", ""), change("n4", ""), change("n5", ""),
		},
		Groups: []review.Group{{
			Key: "g", Cause: "tenants/_platform/p.yaml", Tenants: []string{"acme"}, Namespaces: []string{"acme-api", "acme-web"},
			Otherwise: []string{"n1", "n2", "n3", "n4", "n5"}, Unchanged: []string{"acme-own"},
		}},
	}
	got := Find(nil, nil, report)
	want := []string{
		"For example in acme-api: spec.hard.pods",
		"Otherwise in n1, where it is changed: spec.hard.pods and spec.hard.cpu",
		"Otherwise in n2, where it is changed",
		"Otherwise in n3, where it is changed",
		"Otherwise in n4 and n5",
		"Not in acme-own: nothing changes there",
	}
	if len(got) != 1 {
		t.Fatalf("%d findings, want one: %v", len(got), lines(got))
	}
	if diff := cmp.Diff(want, got[0].Details); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestGroupsThatCountTheSameAreToldApart(t *testing.T) {
	change := func(namespace, path string) review.Change {
		return review.Change{Object: review.Object{Kind: "Namespace", Name: namespace, Namespace: namespace}, Action: review.Changed, Fields: []review.Field{{Path: path}}}
	}
	report := &review.Report{
		Changes: []review.Change{change("acme-web", "metadata.labels[a]"), change("acme-db", "metadata.labels[b]")},
		Groups: []review.Group{
			{Key: "a", Tenants: []string{"acme"}, Namespaces: []string{"acme-web", "acme-api"}},
			{Key: "b", Tenants: []string{"acme"}, Namespaces: []string{"acme-db", "acme-queue"}, Representative: 1},
		},
	}
	findings := Find(nil, nil, report)
	want := []string{
		"low ManyNamespaces: Namespace is changed in 2 namespaces of 1 tenant",
		"low ManyNamespaces: Namespace is changed in 2 namespaces of 1 tenant",
	}
	if diff := cmp.Diff(want, lines(findings)); diff != "" {
		t.Fatalf("-want +got:\n%s", diff)
	}
	for _, f := range findings {
		if len(f.Namespaces) != 2 || len(f.Details) != 1 {
			t.Errorf("one is told as %+v", f)
		}
	}
}

// Ten thousand namespaces that all change must not keep a reviewer waiting.
func TestTenThousandNamespacesTakeSeconds(t *testing.T) {
	if testing.Short() {
		t.Skip("-short leaves out what renders ten thousand namespaces")
	}
	one, other := small(), edit(t, small(), "_platform/default.yaml", "[pods]", "[pods, secrets]")
	maps.DeleteFunc(one, func(name, _ string) bool { return strings.HasPrefix(name, "globex/") })
	maps.DeleteFunc(other, func(name, _ string) bool { return strings.HasPrefix(name, "globex/") })
	many := func(files map[string]string) map[string]string {
		for i := range 1000 {
			tenant := fmt.Sprintf("t%04d", i)
			files[tenant+"/tenant.yaml"] = fmt.Sprintf("Tenant\nmetadata: {name: %s}\nspec: {owners: [{kind: Group, name: %[1]s-admins, role: admin}, {kind: Group, name: %[1]s-night, role: oncall}], network: {egress: [{to: [{cidr: 192.0.2.0/24}]}]}}", tenant)
			var all []string
			for j := range 10 {
				all = append(all, fmt.Sprintf("TenantNamespace\nmetadata: {name: %s-n%d}\nspec: {tenant: %[1]s, size: small}", tenant, j))
			}
			files[tenant+"/all.yaml"] = strings.Join(all, "\n---\n"+header)
		}
		return files
	}
	base, head := sideOf(t, many(one)), sideOf(t, many(other))
	for _, tenant := range head.Tenants {
		for i := range tenant.Objects {
			tenant.Objects[i].Digest += "x" // as if everything had changed
		}
	}
	start := time.Now()
	findings := Find(base, head, &review.Report{})
	took := time.Since(start)
	t.Logf("%d findings in %v", len(findings), took)
	if len(findings) == 0 || took > 10*time.Second { // three on an idle machine
		t.Errorf("%d findings took %v", len(findings), took)
	}
}
