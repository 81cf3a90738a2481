package meaning

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aetherplatform/aether/internal/review"
)

const (
	entry    = "{name: db, path: web/db, keys: {PASSWORD: password}}"
	profiled = "low ManyNamespaces: Profile default changes: 3 namespaces of 2 tenants use it"
)

// entryWith is the entry of small with more fields.
func entryWith(more string) string {
	return "{name: db, path: web/db, keys: {PASSWORD: password}, " + more + "}"
}

func TestWhatBecomesOfSecretsIsTold(t *testing.T) {
	tests := map[string]struct {
		why        string
		base, head []string
		want       []string
	}{
		"a new one": {
			why:  "a Pod may read it from now on",
			head: []string{"acme/web.yaml", entry, entry + ", {name: stripe, path: web/stripe}"},
			want: []string{"low SecretSourceChanged: Secret stripe of acme-web is new, read from web/stripe"},
		},
		"one that is taken out": {
			why:  "what reads it fails",
			head: []string{"acme/web.yaml", entry, ""},
			want: []string{"medium SecretSourceChanged: Secret db of acme-web is deleted: what reads it fails"},
		},
		"the first one, and more for the account that syncs it": {
			why:  "the account is the platform's own, but may do no more than it is for",
			base: []string{"acme/web.yaml", entry, ""},
			head: []string{"acme/web.yaml", "secrets: []", "secrets: [" + entry + "]", "acme/web.yaml", "size: small", "size: small\n  access: [{kind: ServiceAccount, name: aether-secret-sync, namespace: acme-web, role: oncall}]"},
			want: []string{
				"high RightsGained: ServiceAccount aether-secret-sync can now get, create, patch, update Secrets; patch secretsyncs (aetherplatform.cloud); patch DaemonSets (apps), Deployments (apps) and StatefulSets (apps), and 1 more in acme-web",
				"low SecretSourceChanged: Secret db of acme-web is new, read from web/db",
			},
		},
		"the first one": {
			why:  "the account that syncs it is the platform's own",
			base: []string{"acme/web.yaml", entry, ""},
			head: []string{"acme/web.yaml", "secrets: []", "secrets: [" + entry + "]"},
			want: []string{"low SecretSourceChanged: Secret db of acme-web is new, read from web/db"},
		},
		"one that is taken out and retained": {
			why:  "nothing fails, and nothing is kept current",
			base: []string{"acme/web.yaml", entry, entryWith("onDelete: retain")},
			head: []string{"acme/web.yaml", entryWith("onDelete: retain"), ""},
			want: []string{"low SecretSourceChanged: Secret db of acme-web is left to the team as it is: nothing keeps it equal to OpenBao's any more"},
		},
		"pinned": {
			why:  "a rotation in OpenBao no longer arrives",
			head: []string{"acme/web.yaml", entry, entryWith("version: 3")},
			want: []string{"low SecretSourceChanged: Secret db of acme-web is pinned to version 3, and no longer follows OpenBao"},
		},
		"pinned to another": {
			why:  "an old password may come back",
			base: []string{"acme/web.yaml", entry, entryWith("version: 3")},
			head: []string{"acme/web.yaml", "version: 3", "version: 2"},
			want: []string{"medium SecretSourceChanged: Secret db of acme-web is pinned to version 2 instead of 3"},
		},
		"unpinned": {
			why:  "it changes when this is merged, and from then on by itself",
			base: []string{"acme/web.yaml", entry, entryWith("version: 3")},
			head: []string{"acme/web.yaml", entryWith("version: 3"), entry},
			want: []string{"medium SecretSourceChanged: Secret db of acme-web follows the latest version in OpenBao, and is no longer pinned to 3"},
		},
		"other keys and another template": {
			why:  "a program finds something else under the name that it reads",
			base: []string{"acme/web.yaml", entry, entryWith(`template: {DSN: "${data.a}"}`)},
			head: []string{"acme/web.yaml", "password}", "admin}", "acme/web.yaml", "data.a", "data.b"},
			want: []string{
				"medium SecretSourceChanged: Secret db of acme-web is made otherwise of what OpenBao has",
				"medium SecretSourceChanged: Secret db of acme-web takes other keys from web/db",
			},
		},
		"another type": {
			why:  "the API server refuses it, and with it all else that changes in the namespace",
			head: []string{"acme/web.yaml", entry, entryWith("type: example.com/db")},
			want: []string{"high CannotChangeInPlace: Secret db of acme-web cannot change its type from Opaque to example.com/db: the cluster refuses the whole namespace's change"},
		},
		"how it is kept": {
			why:  "each of them is somebody's surprise later",
			head: []string{"acme/web.yaml", entry, entryWith("onDelete: retain, immutable: true, refreshInterval: 1h, rollout: [{kind: Deployment, name: web}]")},
			want: []string{
				"medium SecretSourceChanged: Secret db of acme-web becomes immutable: nothing new in OpenBao reaches it under this name",
				"low SecretSourceChanged: Secret db of acme-web restarts Deployment/web when it changes",
				"low SecretSourceChanged: Secret db of acme-web stays in the namespace when it is taken out of spec.secrets (onDelete: retain)",
				"info SecretSourceChanged: Secret db of acme-web is compared with OpenBao's every 1h0m0s instead of 5m0s",
			},
		},
		"how it is kept, taken back": {
			why:  "so is the way back",
			base: []string{"acme/web.yaml", entry, entryWith("onDelete: retain, immutable: true, rollout: [{kind: Deployment, name: web}]")},
			head: []string{"acme/web.yaml", ", onDelete: retain, immutable: true, rollout: [{kind: Deployment, name: web}]", ""},
			want: []string{
				"medium SecretSourceChanged: Secret db of acme-web is deleted when it is taken out of spec.secrets (onDelete: delete)",
				"low SecretSourceChanged: Secret db of acme-web is no longer to be immutable: the cluster keeps it so until it is deleted",
				"low SecretSourceChanged: Secret db of acme-web no longer restarts Deployment/web when it changes",
			},
		},
		"what is made in OpenBao": {
			why:  "something is written there",
			base: []string{"_platform/default.yaml", "spec:\n", "spec:\n  openBao: {generate: true}\n"},
			head: []string{"acme/web.yaml", entry, entryWith("generate: {password: {password: {}}}")},
			want: []string{"medium SecretSourceChanged: Secret db of acme-web is made in OpenBao at web/db where there is none"},
		},
		"defaults that are written out": {
			why:  "nothing changes",
			head: []string{"acme/web.yaml", entry, entryWith("onDelete: delete, type: Opaque, refreshInterval: 300s"), "acme/tenant.yaml", "spec:\n", "spec:\n  secrets: {mount: secret, path: acme}\n", "_platform/default.yaml", "spec:\n", "spec:\n  openBao: {mounts: [secret]}\n"},
			want: []string{profiled},
		},
		"another OpenBao": {
			why:  "somebody else says what Secrets hold",
			head: []string{"_platform/default.yaml", "spec:\n", "spec:\n  openBao: {address: 'https://bao.example.com', namespace: prod, caBundle: x}\n"},
			want: []string{
				"high SecretSourceChanged: Secrets of namespaces of profile default come from https://bao.example.com, namespace prod instead of the operator's OpenBao",
				"medium SecretSourceChanged: OpenBao's certificate is checked against other authorities for namespaces of profile default",
				profiled,
			},
		},
		"what of OpenBao is open": {
			why:  "a tenant could move there",
			base: []string{"_platform/default.yaml", "spec:\n", "spec:\n  openBao: {mounts: [secret, old]}\n"},
			head: []string{"_platform/default.yaml", "mounts: [secret, old]", "mounts: [secret, kv], authMount: dk-1, generate: true"},
			want: []string{
				"high SecretSourceChanged: Namespaces of profile default log in to OpenBao at auth/dk-1 instead of the operator's mount",
				"high SecretSourceChanged: Tenants with namespaces of profile default may now have their secrets in mount kv of OpenBao",
				"medium SecretSourceChanged: Namespaces of profile default may now have secrets made in OpenBao (generate)",
				"low SecretSourceChanged: Tenants with namespaces of profile default may no longer have their secrets in mount old of OpenBao",
				profiled,
			},
		},
		"a profile with another OpenBao": {
			why: "the namespace's own line says nothing of it",
			base: []string{"_platform/other.yaml", "", `NamespaceProfile
metadata: {name: other}
spec:
  base: {path: profiles/default}
  openBao: {address: "https://bao.example.com"}
  sizes: {small: {quota: {requests.cpu: "2", pods: "20"}}}`, "acme/tenant.yaml", "spec:\n", "spec:\n  namespaces: {profiles: [default, other]}\n"},
			head: []string{"acme/web.yaml", "size: small", "size: small\n  profile: other"},
			want: []string{
				"high SecretSourceChanged: The secrets of acme-web are read from https://bao.example.com instead of the operator's OpenBao, with profile other",
			},
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

func TestAPathIsHeldAgainstTheTenantsOwn(t *testing.T) {
	base := edit(t, small(), "_platform/default.yaml", "spec:\n", "spec:\n  openBao: {mounts: [secret, kv]}\n")
	for name, tt := range map[string]struct {
		head []string
		want []string
	}{
		"a path that changes": {
			head: []string{"acme/web.yaml", "web/db", "web/other"},
			want: []string{"secret/acme/web/other stays below the tenant's own path in OpenBao, secret/acme/: permitted by its policy"},
		},
		"a tenant that moves": {
			head: []string{"acme/tenant.yaml", "spec:\n", "spec:\n  secrets: {mount: kv, path: teams/acme}\n"},
			want: []string{
				"OpenBao refuses it until the place is the tenant's: its policy there is changed once no other tenant has the place, nor had it",
				"What is synced keeps what it holds until then",
				"db of acme-web: kv/teams/acme/web/db",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			findings := Find(sideOf(t, base), sideOf(t, edit(t, base, tt.head...)), &review.Report{})
			if len(findings) != 1 {
				t.Fatalf("got %q", lines(findings))
			}
			if diff := cmp.Diff(tt.want, findings[0].Details); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
