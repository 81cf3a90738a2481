package v1alpha1_test

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/aetherplatform/aether/internal/testenv"
)

// One valid object a kind; each case below changes one thing in it.
var valid = map[string]string{
	"Tenant": `
apiVersion: aetherplatform.cloud/v1alpha1
kind: Tenant
metadata: {name: acme}
spec:
  displayName: Acme Corp
  owners: [{kind: Group, name: acme-admins, role: admin}]
  namespaces: {max: 10, prefix: acme-, profiles: [default]}
  quota: {hard: {requests.cpu: "32", requests.memory: 128Gi}}
  network:
    egress: [{to: [{cidr: 203.0.113.0/24}], ports: [{port: 443}]}]
    peers: [{tenant: globex}]
  registries: [registry.example.com/acme]
  hostnames: ["*.acme.example.com"]
  secrets: {path: teams/acme}
`,
	"TenantNamespace": `
apiVersion: aetherplatform.cloud/v1alpha1
kind: TenantNamespace
metadata: {name: acme-payments}
spec:
  tenant: acme
  size: small
  labels: {example.com/team: payments}
  access:
  - {kind: User, name: dev@example.com, role: editor}
  - {kind: ServiceAccount, namespace: acme-ci, name: runner, role: oncall}
  network:
    ingress:
    - from: [{ingressController: true}, {namespace: acme-web}, {tenant: globex, namespace: globex-billing}, {cidr: 198.51.100.0/24}]
      ports: [{port: 8443, protocol: TCP}]
    egress:
    - to: [{fqdn: api.stripe.com}, {fqdn: "*.example.com"}, {cidr: 203.0.113.0/24}, {namespace: acme-ledger}]
      ports: [{port: 8000, endPort: 8010}]
  secrets:
  - {name: db, path: payments/db, keys: {PASSWORD: password}, refreshInterval: 5m}
  gitops: {url: https://git.example.com/acme/payments.git, branch: main, path: ./deploy, secretName: git-credentials}
`,
	"NamespaceProfile": `
apiVersion: aetherplatform.cloud/v1alpha1
kind: NamespaceProfile
metadata: {name: default}
spec:
  base: {path: profiles/default}
  sizes:
    small: {quota: {requests.cpu: "2"}, limits: [{type: Container, defaultRequest: {cpu: 50m}}]}
  roles:
    oncall: [{apiGroups: [""], resources: [pods/exec], verbs: [create]}]
  overridable: [quota]
`,
	"TenantSource": `
apiVersion: aetherplatform.cloud/v1alpha1
kind: TenantSource
metadata: {name: fleet, namespace: default}
spec:
  sourceRef: {kind: GitRepository, name: fleet}
  path: ./tenants
  interval: 10m
  prune: {enabled: true, max: 10%}
`,
	"SecretSync": `
apiVersion: aetherplatform.cloud/v1alpha1
kind: SecretSync
metadata: {name: db, namespace: default}
spec:
  path: payments/db
  keys: {PASSWORD: password}
  template: {DSN: "postgres://${data.username}:${data.password}@${data.host}/app"}
  labels: {example.com/team: payments}
  refreshInterval: 1m
  rollout: [{kind: Deployment, name: web}]
  generate: {password: {password: {length: 24}}, key: {privateKey: {algorithm: Ed25519}}}
`,
	"WorkloadCluster": `
apiVersion: aetherplatform.cloud/v1alpha1
kind: WorkloadCluster
metadata: {name: acme-prod}
spec:
  tenant: acme
  region: dk-1
  version: v1.36.3
  controlPlane: {replicas: 2, etcd: {replicas: 3, storage: 8Gi}}
  network: {podCIDR: 10.100.0.0/16, serviceCIDR: 10.101.0.0/16}
  endpoint: {public: {enabled: true, authorizedNetworks: [198.51.100.0/24]}}
  nodePools: [{name: general, replicas: 3, machine: {type: medium}, labels: {pool: general}}]
`,
}

func TestSchemaRefusesAndSaysWhatToWrite(t *testing.T) {
	cases := []struct {
		kind, path string
		value      any
		want       string
	}{
		{"Tenant", "metadata.name", strings.Repeat("a", 41), "metadata.name: a tenant's name has at most 40 characters, so that its namespaces' names have room"},
		{"Tenant", "metadata.name", "a.b", "metadata.name: a tenant's name begins with a letter and holds lower-case letters, digits and '-' only, since its namespaces' names begin with it"},
		{"Tenant", "metadata.name", "kube", "metadata.name: this name is reserved for the system; choose another"},
		{"Tenant", "spec.namespaces.prefix", "acme", "a prefix begins with a letter, holds lower-case letters, digits and '-', and ends with '-', such as acme-"},
		{"Tenant", "spec.namespaces.prefix", "kube-", "this prefix is reserved for the system; choose another, such as <tenant>-"},
		{"Tenant", "spec.namespaces.max", -1, "spec.namespaces.max in body should be greater than or equal to 0"},
		{"Tenant", "spec.quota.hard", map[string]any{}, `name 1 to 64 resources, such as requests.cpu: "4"`},
		{"Tenant", "spec.owners.0.name", "system:masters", "names that begin with 'system:' belong to Kubernetes; name a user or group of your identity provider"},
		{"Tenant", "spec.owners.0.namespace", "acme-web", "namespace is required for kind ServiceAccount and must be left out for User and Group"},
		{"Tenant", "spec.owners.0.role", "Owner!", "must be admin, editor, viewer, or the name of a role of the profile: lower-case letters, digits and '-'"},
		{"Tenant", "spec.hostnames.0", "Acme.example.com.", "write host names in lower case without a trailing dot, such as app.example.com or *.example.com (internationalised names in their xn-- form)"},
		{"Tenant", "spec.secrets.path", "acme/../globex", "write a plain path such as teams/acme: letters, digits, '.', '_' and '-' between single '/', and no part that begins with '.'"},
		{"Tenant", "spec.secrets.mount", "secret/", "write the mount as `bao secrets list` shows it, without a leading or trailing '/', such as secret"},
		{"Tenant", "spec.deletion.policy", "Purge", `Unsupported value: "Purge": supported values: "Retain", "Delete"`},

		{"TenantNamespace", "metadata.name", "kube-system", "metadata.name: this name is reserved for the system; begin it with the tenant's prefix, such as acme-web"},
		{"TenantNamespace", "metadata.name", "acme.web", "metadata.name: a namespace's name begins with a letter, holds lower-case letters, digits and '-' only, and has at most 63 characters"},
		{"TenantNamespace", "metadata.name", strings.Repeat("a", 64), "metadata.name: a namespace's name begins with a letter, holds lower-case letters, digits and '-' only, and has at most 63 characters"},
		{"TenantNamespace", "spec.labels", map[string]any{"pod-security.kubernetes.io/enforce": "privileged"}, "labels of kubernetes.io, k8s.io, cilium.io, fluxcd.io and aetherplatform.cloud are set by the platform; use a prefix of your own, such as example.com/team"},
		{"TenantNamespace", "spec.annotations", map[string]any{"aetherplatform.cloud/tenant-uid": "x"}, "annotations of kubernetes.io, k8s.io, cilium.io, fluxcd.io and aetherplatform.cloud are set by the platform; use a prefix of your own, such as example.com/team"},
		{"TenantNamespace", "spec.access.1.namespace", nil, "namespace is required for kind ServiceAccount and must be left out for User and Group"},
		{"TenantNamespace", "spec.network.ingress.0.from.0.cidr", "198.51.100.0/24", "name exactly one of ingressController: true, namespace, cidr"},
		{"TenantNamespace", "spec.network.ingress.0.from.0", map[string]any{}, "name exactly one of ingressController: true, namespace, cidr"},
		{"TenantNamespace", "spec.network.ingress.0.from.0", map[string]any{"cidr": "198.51.100.0/24", "tenant": "globex"}, "tenant goes with namespace: name the namespace of that tenant"},
		{"TenantNamespace", "spec.network.ingress.0.from.3.cidr", "198.51.100.0/33", "write a CIDR such as 203.0.113.0/24 or 2001:db8::/32"},
		{"TenantNamespace", "spec.network.ingress.0.ports.0.port", 70000, "should be less than or equal to 65535"},
		{"TenantNamespace", "spec.network.egress.0.to.0.fqdn", "https://api.stripe.com", "write a full host name in lower case such as api.stripe.com or *.example.com: no scheme, port, path or trailing dot"},
		{"TenantNamespace", "spec.network.egress.0.to.0.fqdn", "db.globex-billing.svc.cluster.local", "names inside the cluster are not opened by FQDN; name the namespace instead"},
		{"TenantNamespace", "spec.network.egress.0.to.0.cidr", "203.0.113.0/24", "name exactly one of namespace, cidr, fqdn"},
		{"TenantNamespace", "spec.network.egress.0.ports.0.endPort", 7999, "endPort must not be below port"},
		{"TenantNamespace", "spec.secrets.0.path", "../globex/db", "write a plain path below the tenant's, such as payments/db: letters, digits, '.', '_' and '-' between single '/', and no part that begins with '.'"},
		{"TenantNamespace", "spec.secrets.0.path", "payments/../../globex", "write a plain path below the tenant's, such as payments/db: letters, digits, '.', '_' and '-' between single '/', and no part that begins with '.'"},
		{"TenantNamespace", "spec.secrets.0.path", "%2e%2e/globex", "write a plain path below the tenant's, such as payments/db: letters, digits, '.', '_' and '-' between single '/', and no part that begins with '.'"},
		{"TenantNamespace", "spec.secrets.0.path", "/globex/db", "write a plain path below the tenant's, such as payments/db: letters, digits, '.', '_' and '-' between single '/', and no part that begins with '.'"},
		{"TenantNamespace", "spec.secrets.0.path", "", "should be at least 1 chars long"},
		{"TenantNamespace", "spec.secrets.0.path", "payments//db", "write a plain path below the tenant's, such as payments/db: letters, digits, '.', '_' and '-' between single '/', and no part that begins with '.'"},
		{"TenantNamespace", "spec.secrets.0.path", "payments/*", "write a plain path below the tenant's, such as payments/db: letters, digits, '.', '_' and '-' between single '/', and no part that begins with '.'"},
		{"TenantNamespace", "spec.secrets.0.path", "payments/+", "write a plain path below the tenant's, such as payments/db: letters, digits, '.', '_' and '-' between single '/', and no part that begins with '.'"},
		{"TenantNamespace", "spec.secrets.0.path", "payments/", "write a plain path below the tenant's, such as payments/db: letters, digits, '.', '_' and '-' between single '/', and no part that begins with '.'"},
		{"TenantNamespace", "spec.secrets.0.path", "раyments/db", "write a plain path below the tenant's, such as payments/db: letters, digits, '.', '_' and '-' between single '/', and no part that begins with '.'"},
		{"TenantNamespace", "spec.secrets.0.path", "payments/db?version=1", "write a plain path below the tenant's, such as payments/db: letters, digits, '.', '_' and '-' between single '/', and no part that begins with '.'"},
		{"TenantNamespace", "spec.secrets.0.path", "payments db", "write a plain path below the tenant's, such as payments/db: letters, digits, '.', '_' and '-' between single '/', and no part that begins with '.'"},
		{"TenantNamespace", "spec.secrets.0.path", "data/payments/db", "write the path as `bao kv get` takes it, such as payments/db, without the data/ or metadata/ of OpenBao's API"},
		{"TenantNamespace", "spec.secrets.0.path", "metadata/payments", "write the path as `bao kv get` takes it, such as payments/db, without the data/ or metadata/ of OpenBao's API"},
		{"TenantNamespace", "spec.secrets.0.path", "subkeys/payments", "write the path as `bao kv get` takes it, such as payments/db, without the data/ or metadata/ of OpenBao's API"},
		{"TenantNamespace", "spec.secrets.0.path", "destroy", "write the path as `bao kv get` takes it, such as payments/db, without the data/ or metadata/ of OpenBao's API"},
		{"TenantNamespace", "spec.gitops.url", "https://user:token@git.example.com/x.git", "write https://host/path or ssh://git@host/path; credentials belong in the Secret that secretName names"},
		{"TenantNamespace", "spec.gitops.path", "../other", "write a path inside the repository, such as ./deploy"},

		{"NamespaceProfile", "spec.base.path", "../secrets", "write a path below base/, such as profiles/default"},
		{"NamespaceProfile", "spec.sizes", map[string]any{}, "spec.sizes in body should have at least 1 properties"},
		{"NamespaceProfile", "spec.sizes.small.quota", map[string]any{}, `name 1 to 64 resources, such as requests.cpu: "4"`},
		{"NamespaceProfile", "spec.roles", map[string]any{"admin": []any{map[string]any{"apiGroups": []any{""}, "resources": []any{"pods"}, "verbs": []any{"get"}}}}, "admin, editor, viewer and deploy are built in; give the role another name"},
		{"NamespaceProfile", "spec.podSecurity", "lax", `Unsupported value: "lax": supported values: "privileged", "baseline", "restricted"`},
		{"NamespaceProfile", "spec.overridable.0", "roles", `Unsupported value: "roles": supported values: "quota", "limits", "podSecurity"`},

		{"NamespaceProfile", "spec.openBao", map[string]any{"address": "http://openbao.example.com"}, "write https://host or https://host:port; secrets do not travel in the clear"},
		{"NamespaceProfile", "spec.openBao", map[string]any{"authMount": "/kubernetes"}, "write the mount as `bao auth list` shows it, without a leading or trailing '/', such as kubernetes"},

		{"TenantSource", "spec.path", "/tenants", "write a path inside the source, such as ./tenants"},
		{"TenantSource", "spec.interval", "5s", "write a duration of at least 1m"},
		{"TenantSource", "spec.prune.max", "110%", "write a count such as 5, or a percentage such as 10%"},
		{"TenantSource", "spec.prune.max", -1, "write a count such as 5, or a percentage such as 10%"},
		{"TenantSource", "spec.sourceRef.kind", "HelmRepository", `Unsupported value: "HelmRepository": supported values: "GitRepository", "OCIRepository", "Bucket"`},

		{"SecretSync", "spec.type", "kubernetes.io/service-account-token", "the cluster itself writes tokens of service accounts and nodes"},
		{"SecretSync", "spec.keys", map[string]any{"DSN": "dsn"}, "a key of the Secret is in keys or in template, not in both"},
		{"SecretSync", "spec.version", 3, "what is generated has no version yet; leave version out"},
		{"SecretSync", "spec.version", 0, "should be greater than or equal to 1"},
		{"SecretSync", "spec.refreshInterval", "1s", "write a duration of at least 10s"},
		{"SecretSync", "spec.onDelete", "orphan", `Unsupported value: "orphan": supported values: "delete", "retain"`},
		{"SecretSync", "spec.labels", map[string]any{"aetherplatform.cloud/managed-by": "me"}, "labels of kubernetes.io, k8s.io, cilium.io, fluxcd.io and aetherplatform.cloud are set by the platform"},
		{"SecretSync", "spec.rollout.0.kind", "Job", `Unsupported value: "Job": supported values: "Deployment", "StatefulSet", "DaemonSet"`},
		{"SecretSync", "spec.generate.key", map[string]any{}, "write password: {} or privateKey: {}, one of them"},

		{"WorkloadCluster", "spec.version", "1.36", "write a full version such as v1.36.3"},
		{"WorkloadCluster", "spec.controlPlane.etcd.replicas", 2, `Unsupported value: 2: supported values: "1", "3"`},
		{"WorkloadCluster", "spec.endpoint.public.authorizedNetworks.0", "everyone", "write CIDRs such as 198.51.100.0/24"},
	}

	env := testenv.Start(t)
	for kind, text := range valid {
		if err := create(t, env, parse(t, text)); err != nil {
			t.Errorf("a valid %s is refused: %v", kind, err)
		}
	}
	for _, c := range cases {
		t.Run(fmt.Sprintf("%s %s %v", c.kind, c.path, c.value), func(t *testing.T) {
			o := parse(t, valid[c.kind])
			set(o.Object, strings.Split(c.path, "."), c.value)
			err := create(t, env, o)
			if err == nil {
				t.Fatalf("accepted; want %q", c.want)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("refused with\n\t%v\nwant\n\t%s", err, c.want)
			}
		})
	}
}

func TestANamespaceCannotMoveToAnotherTenant(t *testing.T) {
	env := testenv.Start(t)
	o := parse(t, valid["TenantNamespace"])
	if err := env.Client.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	set(o.Object, []string{"spec", "tenant"}, "globex")
	err := env.Client.Update(t.Context(), o)
	const want = "a namespace cannot move to another tenant; create one under that tenant's prefix"
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}

func create(t *testing.T, env *testenv.Env, o *unstructured.Unstructured) error {
	t.Helper()
	return env.Client.Create(t.Context(), o, client.DryRunAll)
}

func parse(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &o.Object); err != nil {
		t.Fatal(err)
	}
	return o
}

// set puts a value at a path of keys and indexes; nil takes it away.
func set(at any, path []string, value any) {
	key, rest := path[0], path[1:]
	switch at := at.(type) {
	case map[string]any:
		switch {
		case len(rest) > 0:
			if at[key] == nil {
				at[key] = map[string]any{}
			}
			set(at[key], rest, value)
		case value == nil:
			delete(at, key)
		default:
			at[key] = value
		}
	case []any:
		var i int
		if _, err := fmt.Sscanf(key, "%d", &i); err != nil {
			panic(err)
		}
		if len(rest) > 0 {
			set(at[i], rest, value)
		} else {
			at[i] = value
		}
	}
}
