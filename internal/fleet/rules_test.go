package fleet

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestRulesOfObjects: what the schema, one object or the fleet refuses, and how it says so.
func TestRulesOfObjects(t *testing.T) {
	cases := map[string]struct {
		why   string
		files map[string]string
		want  []string
	}{
		"a Tenant of another name": {
			why: "the directory says whose it is",
			files: map[string]string{
				"acme/tenant.yaml": tenant("globex", ""),
			},
			want: []string{
				`acme/tenant.yaml:3: metadata.name: "globex" is not what the directory is called; write acme, or move the file to globex/`,
			},
		},
		"a directory that no tenant can be called like": {
			why: "the way out is not to write that name",
			files: map[string]string{
				"Acme/tenant.yaml": tenant("acme", ""),
			},
			want: []string{
				`Acme/tenant.yaml:3: metadata.name: "acme" is not what the directory is called, and no tenant can be called "Acme"; rename it to acme/`,
			},
		},
		"a foreign tenant's name": {
			why: "a namespace cannot be put into another's tenant",
			files: map[string]string{
				"acme/web.yaml": `apiVersion: aetherplatform.cloud/v1alpha1
kind: TenantNamespace
metadata: {name: acme-web}
spec: {tenant: globex, size: small}
`,
			},
			want: []string{
				`acme/web.yaml:4: spec.tenant: "globex" is not the tenant of this directory; write acme, or move the file to globex/`,
			},
		},
		"a name outside the prefix": {
			why: "names tell tenants apart",
			files: map[string]string{
				"acme/web.yaml": namespace("web", ""),
			},
			want: []string{
				`acme/web.yaml:3: metadata.name: "web" is not under the prefix "acme-" of Tenant "acme"; call it "acme-web"`,
			},
		},
		"a name that a tenant is called": {
			why: "tenants cannot take the system's names",
			files: map[string]string{
				"acme/tenant.yaml": "",
				"acme/web.yaml":    "",
				"kube/tenant.yaml": tenant("kube", ""),
				"kube/ns.yaml": `apiVersion: aetherplatform.cloud/v1alpha1
kind: TenantNamespace
metadata: {name: kube-system}
spec: {tenant: kube, size: small}
`,
			},
			want: []string{
				"kube/ns.yaml:3: metadata.name: this name is reserved for the system; begin it with the tenant's prefix, such as acme-web",
				"kube/tenant.yaml:3: metadata.name: this name is reserved for the system; choose another",
			},
		},
		"a reserved namespace by another prefix": {
			why: "a tenant's prefix may begin like the system's",
			files: map[string]string{
				"ingress/tenant.yaml": tenant("ingress", ""),
				"ingress/ns.yaml": `apiVersion: aetherplatform.cloud/v1alpha1
kind: TenantNamespace
metadata: {name: ingress-nginx}
spec: {tenant: ingress, size: small}
`,
			},
			want: []string{
				`ingress/ns.yaml:3: metadata.name: "ingress-nginx" is reserved for the system; choose another name under "ingress-"`,
				`ingress/ns.yaml:3: metadata.name: "ingress-nginx" is where the ingress controller of profile "default" runs; choose another name`,
			},
		},
		"a name too long": {
			why: "a namespace's name has at most 63 characters",
			files: map[string]string{
				"acme/web.yaml": namespace("acme-wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww", ""),
			},
			want: []string{
				"acme/web.yaml:3: metadata.name: a namespace's name begins with a letter, holds lower-case letters, digits and '-' only, and has at most 63 characters",
			},
		},
		"a tenant's name too long": {
			why: "its namespaces' names need room",
			files: map[string]string{
				"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/tenant.yaml": tenant("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", ""),
			},
			want: []string{
				"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/tenant.yaml:3: metadata.name: a tenant's name has at most 40 characters, so that its namespaces' names have room",
			},
		},
		"two claims on a namespace by two tenants": {
			why: "the one under whose prefix it is keeps it",
			files: map[string]string{
				"globex/tenant.yaml": tenant("globex", ""),
				"globex/ns.yaml": `apiVersion: aetherplatform.cloud/v1alpha1
kind: TenantNamespace
metadata: {name: acme-web}
spec: {tenant: globex, size: small}
`,
			},
			want: []string{
				`globex/ns.yaml:3: metadata.name: "acme-web" is not under the prefix "globex-" of Tenant "globex"; call it "globex-acme-web" (acme/web.yaml:1 claims it too)`,
			},
		},
		"prefixes that overlap": {
			why: "of two newcomers the later name has the error",
			files: map[string]string{
				"acme-dev/tenant.yaml": tenant("acme-dev", ""),
			},
			want: []string{
				`acme-dev/tenant.yaml:3: metadata.name: the prefix "acme-dev-" overlaps with "acme-" of Tenant "acme"; choose one such that neither begins with the other`,
			},
		},
		"a prefix inside another's": {
			why: "it is the same the other way round",
			files: map[string]string{
				"globex/tenant.yaml": tenant("globex", "namespaces: {prefix: acme-web-}"),
			},
			want: []string{
				`globex/tenant.yaml:6: spec.namespaces.prefix: the prefix "acme-web-" overlaps with "acme-" of Tenant "acme"; choose one such that neither begins with the other`,
			},
		},
		"quota over budget": {
			why: "the budget is decided when the spec is read",
			files: map[string]string{
				"acme/tenant.yaml": tenant("acme", `quota: {hard: {requests.cpu: "20", requests.memory: 128Gi}}`),
				"acme/db.yaml":     strings.Replace(namespace("acme-db", ""), "small", "large", 1),
				"acme/zz.yaml":     strings.Replace(namespace("acme-zz", ""), "small", "large", 1),
			},
			want: []string{
				`acme/zz.yaml:6: spec.size: "large" brings Tenant "acme" to requests.cpu 34 of 20, requests.memory 132Gi of 128Gi; use a smaller size, or raise its spec.quota.hard`,
			},
		},
		"a size that the budget cannot bound": {
			why: "an unbounded namespace could use all of it",
			files: map[string]string{
				"acme/tenant.yaml": tenant("acme", `quota: {hard: {limits.cpu: "20"}}`),
			},
			want: []string{
				`acme/web.yaml:6: spec.size: "small" does not bound limits.cpu, which the budget of Tenant "acme" does; use a size that bounds it, or take it out of spec.quota.hard`,
			},
		},
		"cpu and requests.cpu": {
			why: "a ResourceQuota takes one for the other",
			files: map[string]string{
				"acme/tenant.yaml": tenant("acme", `quota: {hard: {cpu: "1"}}`),
			},
			want: []string{
				`acme/web.yaml:6: spec.size: "small" brings Tenant "acme" to requests.cpu 2 of 1; use a smaller size, or raise its spec.quota.hard`,
			},
		},
		"more namespaces than max": {
			why: "the later name has the error",
			files: map[string]string{
				"acme/tenant.yaml": tenant("acme", "namespaces: {max: 1}"),
				"acme/db.yaml":     namespace("acme-db", ""),
			},
			want: []string{
				`acme/web.yaml:3: metadata.name: "acme-web" is one namespace more than the 1 that Tenant "acme" may have; remove one, or raise its spec.namespaces.max`,
			},
		},
		"an unknown profile": {
			why: "the profiles are listed",
			files: map[string]string{
				"acme/tenant.yaml": tenant("acme", "namespaces: {profiles: [default, gold]}"),
				"acme/web.yaml":    namespace("acme-web", "profile: gold"),
			},
			want: []string{
				`acme/web.yaml:7: spec.profile: there is no profile "gold"; use default or open`,
				`warning: acme/tenant.yaml:6: spec.namespaces.profiles[1]: there is no profile "gold"; use default or open`,
			},
		},
		"a profile that is not open": {
			why: "the platform team decides who may have it",
			files: map[string]string{
				"acme/web.yaml": namespace("acme-web", "profile: open"),
			},
			want: []string{
				`acme/web.yaml:7: spec.profile: "open" is not open to Tenant "acme"; use default`,
			},
		},
		"a profile with errors": {
			why: "it is said where they are",
			files: map[string]string{
				"_platform/profiles.yaml": `apiVersion: aetherplatform.cloud/v1alpha1
kind: NamespaceProfile
metadata: {name: default}
spec:
  base: {path: profiles/default}
  sizes: {small: {quota: {pods: "-1"}}}
`,
			},
			want: []string{
				"_platform/profiles.yaml:6: spec.sizes.small.quota.pods: -1 is below zero; write zero or more",
				`acme/web.yaml:4: spec.profile: profile "default" has errors, see _platform/profiles.yaml:1; it can be used when they are mended`,
			},
		},
		"an unknown size": {
			why: "the sizes are listed",
			files: map[string]string{
				"acme/web.yaml": `apiVersion: aetherplatform.cloud/v1alpha1
kind: TenantNamespace
metadata: {name: acme-web}
spec:
  tenant: acme
  size: huge
`,
			},
			want: []string{
				`acme/web.yaml:6: spec.size: "huge" is not a size of profile "default"; use large or small`,
			},
		},
		"an unknown field beside a size that is not there": {
			why: "all that is wrong is said at once",
			files: map[string]string{
				"acme/web.yaml": `apiVersion: aetherplatform.cloud/v1alpha1
kind: TenantNamespace
metadata: {name: acme-web}
spec:
  tenant: acme
  size: huge
  acess: []
`,
			},
			want: []string{
				`acme/web.yaml:6: spec.size: "huge" is not a size of profile "default"; use large or small`,
				`acme/web.yaml:7: spec.acess: no such field; write access`,
			},
		},
		"an unknown field beside one namespace too many": {
			why: "it will be one too many when the field is mended",
			files: map[string]string{
				"acme/tenant.yaml": tenant("acme", "namespaces: {max: 1}"),
				"acme/db.yaml":     namespace("acme-db", ""),
				"acme/web.yaml":    namespace("acme-web", "colour: red"),
			},
			want: []string{
				`acme/web.yaml:3: metadata.name: "acme-web" is one namespace more than the 1 that Tenant "acme" may have; remove one, or raise its spec.namespaces.max`,
				"acme/web.yaml:7: spec.colour: no such field; use access, annotations, clusters, gitops, labels, network, overrides, profile, secrets, size or tenant",
			},
		},
		"an unknown field beside one that a single object is checked for": {
			why: "all that is wrong is said at once",
			files: map[string]string{
				"acme/tenant.yaml": tenant("acme", "colour: red\nregistries: [https://registry.example.com]"),
			},
			want: []string{
				"acme/tenant.yaml:6: spec.colour: no such field; use cordoned, deletion, displayName, hostnames, namespaces, network, nodeSelector, owners, priorityClasses, quota, registries, secrets or storageClasses",
				`acme/tenant.yaml:7: spec.registries[0]: "https://registry.example.com" has a scheme; write it as <host>[:<port>]/<path>, such as registry.example.com/acme`,
			},
		},
		"an unknown field of a Tenant beside a namespace that is not under its prefix": {
			why: "the Tenant says what its namespaces are held to, whatever else is in it",
			files: map[string]string{
				"acme/tenant.yaml": tenant("acme", "colour: red\nnamespaces: {prefix: ac-}"),
			},
			want: []string{
				"acme/tenant.yaml:6: spec.colour: no such field; use cordoned, deletion, displayName, hostnames, namespaces, network, nodeSelector, owners, priorityClasses, quota, registries, secrets or storageClasses",
				`acme/web.yaml:3: metadata.name: "acme-web" is not under the prefix "ac-" of Tenant "acme"; call it "ac-acme-web"`,
			},
		},
		"a prefix mistyped": {
			why: "what the namespaces are held to is not known, and so nothing is said of them",
			files: map[string]string{
				"acme/tenant.yaml": tenant("acme", "namespaces: {prefx: ac-}"),
				"acme/web.yaml":    namespace("ac-web", ""),
			},
			want: []string{
				"acme/tenant.yaml:6: spec.namespaces.prefx: no such field; write prefix",
			},
		},
		"a profile mistyped": {
			why: "what the size is of is not known; what else is wrong is",
			files: map[string]string{
				"acme/web.yaml": `apiVersion: aetherplatform.cloud/v1alpha1
kind: TenantNamespace
metadata: {name: acme-web}
spec:
  tenant: acme
  size: of-another-profile
  profle: open
  clusters: [acme-prod]
`,
			},
			want: []string{
				"acme/web.yaml:7: spec.profle: no such field; write profile",
				`acme/web.yaml:8: spec.clusters[0]: "acme-prod" is no WorkloadCluster of Tenant "acme"; add one`,
			},
		},
		"overrides mistyped": {
			why: "how much the namespace wants is not known, and so nobody is told that it is too much",
			files: map[string]string{
				"acme/tenant.yaml": tenant("acme", `quota: {hard: {requests.cpu: "1"}}`+"\nnamespaces: {profiles: [open]}"),
				"acme/web.yaml":    namespace("acme-web", `profile: open`+"\n"+`overides: {quota: {requests.cpu: "1"}}`),
			},
			want: []string{
				"acme/web.yaml:8: spec.overides: no such field; write overrides",
			},
		},
		"an unknown role": {
			why: "the roles are listed",
			files: map[string]string{
				"acme/web.yaml": namespace("acme-web", "access: [{kind: User, name: dev@example.com, role: owner}]"),
			},
			want: []string{
				`acme/web.yaml:7: spec.access[0].role: "owner" is not a role; use admin, editor or viewer`,
			},
		},
		"an unknown role of a profile with roles": {
			why: "the roles are listed",
			files: map[string]string{
				"acme/tenant.yaml": tenant("acme", `owners: [{kind: Group, name: g, role: oncal}]
namespaces: {profiles: [open]}`),
				"acme/web.yaml": namespace("acme-web", `profile: open
access: [{kind: User, name: dev@example.com, role: oncall}]`),
			},
			want: []string{
				`acme/tenant.yaml:6: spec.owners[0].role: "oncal" is not a role of profile "open"; use admin, editor, viewer or oncall`,
			},
		},
		"an override that is not open": {
			why: "the profile decides",
			files: map[string]string{
				"acme/tenant.yaml": tenant("acme", "namespaces: {profiles: [default, open]}"),
				"acme/web.yaml":    namespace("acme-web", `overrides: {quota: {pods: "30"}, podSecurity: baseline}`),
				"acme/db.yaml": namespace("acme-db", `profile: open
overrides: {quota: {pods: "30"}, podSecurity: baseline}`),
			},
			want: []string{
				`acme/db.yaml:8: spec.overrides.podSecurity: profile "open" does not let a namespace override it; remove it, or override quota`,
				`acme/web.yaml:7: spec.overrides.podSecurity: profile "default" does not let a namespace override it; remove it`,
				`acme/web.yaml:7: spec.overrides.quota: profile "default" does not let a namespace override it; remove it`,
			},
		},
		"an override over budget": {
			why: "the line that tips it is the override's",
			files: map[string]string{
				"acme/tenant.yaml": tenant("acme", `namespaces: {profiles: [open]}
quota: {hard: {requests.cpu: "4"}}`),
				"acme/web.yaml": namespace("acme-web", `profile: open
overrides:
  quota: {requests.cpu: "5"}`),
			},
			want: []string{
				`acme/web.yaml:9: spec.overrides.quota: "small" brings Tenant "acme" to requests.cpu 5 of 4; use a smaller size, or raise its spec.quota.hard`,
			},
		},
		"labels of the profile": {
			why: "a namespace cannot take them over",
			files: map[string]string{
				"acme/web.yaml": namespace("acme-web", "labels: {cost-center: mine}"),
			},
			want: []string{
				`acme/web.yaml:7: spec.labels.cost-center: is set by profile "default"; remove it`,
			},
		},
		"labels of the platform": {
			why: "they decide about isolation",
			files: map[string]string{
				"acme/web.yaml": namespace("acme-web", "labels: {pod-security.kubernetes.io/enforce: privileged}"),
			},
			want: []string{
				"acme/web.yaml:7: spec.labels: Invalid value: labels of kubernetes.io, k8s.io, cilium.io, fluxcd.io and aetherplatform.cloud are set by the platform; use a prefix of your own, such as example.com/team",
			},
		},
		"labels that Kubernetes refuses": {
			why: "better now than when it is applied",
			files: map[string]string{
				"acme/web.yaml": namespace("acme-web", `labels: {team: not a value, "a b": x}
annotations: {"a b": x}`),
			},
			want: []string{
				`acme/web.yaml:7: spec.labels.a b: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character`,
				`acme/web.yaml:7: spec.labels.team: "not a value": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character`,
				"acme/web.yaml:8: spec.annotations.a b: name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
			},
		},
		"a CIDR that is none": {
			why: "the API server's own message",
			files: map[string]string{
				"acme/web.yaml": namespace("acme-web", "network: {egress: [{to: [{cidr: 10.0.0.0/33}]}]}"),
			},
			want: []string{
				`acme/web.yaml:7: spec.network.egress[0].to[0].cidr: Invalid value: "10.0.0.0/33": write a CIDR such as 203.0.113.0/24 or 2001:db8::/32`,
			},
		},
		"a CIDR with bits beyond its mask": {
			why: "the shorter form is shown",
			files: map[string]string{
				"acme/web.yaml": namespace("acme-web", `network: {egress: [{to: [{cidr: 203.0.113.7/24}, {cidr: "2001:db8::1/32"}]}]}`),
			},
			want: []string{
				"acme/web.yaml:7: spec.network.egress[0].to[0].cidr: 203.0.113.7/24 has bits set beyond its mask; write 203.0.113.0/24",
				"acme/web.yaml:7: spec.network.egress[0].to[1].cidr: 2001:db8::1/32 has bits set beyond its mask; write 2001:db8::/32",
			},
		},
		"link-local addresses": {
			why: "clouds keep their metadata services there",
			files: map[string]string{
				"acme/web.yaml":    namespace("acme-web", `network: {egress: [{to: [{cidr: 169.254.169.254/32}, {cidr: "fe80::1/128"}, {cidr: 0.0.0.0/0}]}]}`),
				"acme/tenant.yaml": tenant("acme", "network: {egress: [{to: [{cidr: 169.254.0.0/16}]}]}"),
			},
			want: []string{
				"acme/tenant.yaml:6: spec.network.egress[0].to[0].cidr: 169.254.0.0/16 is link-local, where clouds keep their metadata services, and is never opened; remove it",
				"acme/web.yaml:7: spec.network.egress[0].to[0].cidr: 169.254.169.254/32 is link-local, where clouds keep their metadata services, and is never opened; remove it",
				"acme/web.yaml:7: spec.network.egress[0].to[1].cidr: fe80::1/128 is link-local, where clouds keep their metadata services, and is never opened; remove it",
			},
		},
		"an IPv4 range as IPv6": {
			why: "it would hide a link-local one",
			files: map[string]string{
				"acme/web.yaml": namespace("acme-web", `network: {egress: [{to: [{cidr: "::ffff:169.254.169.254/128"}]}]}`),
			},
			want: []string{
				`acme/web.yaml:7: spec.network.egress[0].to[0].cidr: Invalid value: "::ffff:169.254.169.254/128": write a CIDR such as 203.0.113.0/24 or 2001:db8::/32`,
			},
		},
		"an FQDN that is none": {
			why: "a URL is no name",
			files: map[string]string{
				"acme/web.yaml": namespace("acme-web", `network: {egress: [{to: [{fqdn: "https://api.stripe.com/"}, {fqdn: kubernetes.default.svc}]}]}`),
			},
			want: []string{
				`acme/web.yaml:7: spec.network.egress[0].to[0].fqdn: Invalid value: "https://api.stripe.com/": write a full host name in lower case such as api.stripe.com or *.example.com: no scheme, port, path or trailing dot`,
				`acme/web.yaml:7: spec.network.egress[0].to[1].fqdn: Invalid value: "kubernetes.default.svc": names inside the cluster are not opened by FQDN; name the namespace instead`,
			},
		},
		"an FQDN with a label too long": {
			why: "DNS cannot hold it",
			files: map[string]string{
				"acme/web.yaml": namespace("acme-web", "network: {egress: [{to: [{fqdn: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example.com}]}]}"),
			},
			want: []string{
				`acme/web.yaml:7: spec.network.egress[0].to[0].fqdn: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" has 64 characters between dots; use at most 63`,
			},
		},
		"ports": {
			why: "each number and range is checked",
			files: map[string]string{
				"acme/web.yaml": namespace("acme-web", `network:
  egress:
  - to: [{fqdn: a.example.com}]
    ports:
    - {port: 0}
    - {port: 70000}
    - {port: 90, endPort: 80}`),
			},
			want: []string{
				"acme/web.yaml:11: spec.network.egress[0].ports[0].port: Invalid value: 0: should be greater than or equal to 1",
				"acme/web.yaml:12: spec.network.egress[0].ports[1].port: Invalid value: 70000: should be less than or equal to 65535",
				"acme/web.yaml:13: spec.network.egress[0].ports[2]: Invalid value: endPort must not be below port",
			},
		},
		"ports twice": {
			why: "a range that another holds says nothing",
			files: map[string]string{
				"acme/web.yaml": namespace("acme-web", `network:
  egress:
  - to: [{fqdn: a.example.com}]
    ports:
    - {port: 80, endPort: 90}
    - {port: 85}
    - {port: 85, protocol: UDP}`),
			},
			want: []string{
				"acme/web.yaml:12: spec.network.egress[0].ports[1].port: TCP 85 is in ports[0] too; keep one",
			},
		},
		"two destinations in one": {
			why: "which of them is meant cannot be known",
			files: map[string]string{
				"acme/web.yaml": namespace("acme-web", "network: {egress: [{to: [{fqdn: a.example.com, cidr: 203.0.113.0/24}]}]}"),
			},
			want: []string{
				"acme/web.yaml:7: spec.network.egress[0].to[0]: Invalid value: name exactly one of namespace, cidr, fqdn",
			},
		},
		"a namespace that is not there": {
			why: "a rule may come before its namespace; a typo should be seen",
			files: map[string]string{
				"acme/web.yaml": namespace("acme-web", "network: {ingress: [{from: [{namespace: acme-wbe}]}]}"),
			},
			want: []string{
				`warning: acme/web.yaml:7: spec.network.ingress[0].from[0].namespace: there is no namespace "acme-wbe" yet; add it, or write acme-web`,
			},
		},
		"a foreign namespace without its tenant": {
			why: "it can never be this tenant's",
			files: map[string]string{
				"acme/web.yaml": namespace("acme-web", "network: {ingress: [{from: [{namespace: globex-web}]}]}"),
			},
			want: []string{
				`acme/web.yaml:7: spec.network.ingress[0].from[0].namespace: "globex-web" can be no namespace of Tenant "acme"; name the tenant that has it, as in tenant: globex`,
			},
		},
		"a tenant that is no peer": {
			why: "both sides must agree",
			files: map[string]string{
				"acme/web.yaml": namespace("acme-web", "network: {ingress: [{from: [{tenant: globex, namespace: globex-web}]}]}"),
			},
			want: []string{
				`acme/web.yaml:7: spec.network.ingress[0].from[0].tenant: "globex" is not a peer of Tenant "acme"; add it to spec.network.peers`,
			},
		},
		"a peer that does not agree": {
			why: "it takes effect when it does",
			files: map[string]string{
				"acme/tenant.yaml":   tenant("acme", "network: {peers: [{tenant: globex}]}"),
				"acme/web.yaml":      namespace("acme-web", "network: {ingress: [{from: [{tenant: globex, namespace: globex-web}]}]}"),
				"globex/tenant.yaml": tenant("globex", ""),
			},
			want: []string{
				`warning: acme/tenant.yaml:6: spec.network.peers[0]: takes effect when Tenant "globex" names acme as a peer too`,
			},
		},
		"a peer twice": {
			why: "peers are a set",
			files: map[string]string{
				"acme/tenant.yaml": tenant("acme", `network:
  peers:
  - tenant: globex
  - tenant: globex`),
			},
			want: []string{
				`acme/tenant.yaml:9: spec.network.peers[1]: Duplicate value: {"tenant":"globex"}`,
			},
		},
		"a service account of another tenant": {
			why: "who owns that namespace could act as it",
			files: map[string]string{
				"acme/web.yaml":    namespace("acme-web", "access: [{kind: ServiceAccount, name: ci, namespace: flux-system, role: admin}]"),
				"acme/tenant.yaml": tenant("acme", "owners: [{kind: ServiceAccount, name: ci, namespace: acme-web, role: admin}, {kind: ServiceAccount, name: ci, namespace: acme-wbe, role: admin}]"),
			},
			want: []string{
				`acme/tenant.yaml:6: spec.owners[1].namespace: "acme-wbe" is no namespace of Tenant "acme"; add it, or write acme-web`,
				`acme/web.yaml:7: spec.access[0].namespace: "flux-system" is no namespace of Tenant "acme"; add it, or use acme-web`,
			},
		},
		"groups of Kubernetes": {
			why: "system:masters is the cluster's admin",
			files: map[string]string{
				"acme/tenant.yaml": tenant("acme", `owners: [{kind: Group, name: "system:masters", role: admin}]`),
			},
			want: []string{
				"acme/tenant.yaml:6: spec.owners[0]: Invalid value: names that begin with 'system:' belong to Kubernetes; name a user or group of your identity provider",
			},
		},
		"a cluster that is not the tenant's": {
			why: "placement is within the tenant",
			files: map[string]string{
				"acme/web.yaml":  namespace("acme-web", "clusters: [acme-prod, acme-prd]"),
				"acme/prod.yaml": cluster("acme-prod", ""),
			},
			want: []string{
				`acme/web.yaml:7: spec.clusters[1]: "acme-prd" is no WorkloadCluster of Tenant "acme"; add one, or write acme-prod`,
			},
		},
		"a cluster outside the prefix": {
			why: "cluster names are the fleet's too",
			files: map[string]string{
				"acme/prod.yaml": cluster("prod", ""),
			},
			want: []string{
				`acme/prod.yaml:3: metadata.name: "prod" is not under the prefix "acme-" of Tenant "acme"; call it "acme-prod"`,
			},
		},
		"address ranges of a cluster": {
			why: "they must be ranges, and apart",
			files: map[string]string{
				"acme/prod.yaml": cluster("acme-prod", `network: {podCIDR: 10.100.0.0/16, serviceCIDR: 10.100.4.0/22}
endpoint: {public: {authorizedNetworks: [198.51.100.7/24]}}`),
			},
			want: []string{
				"acme/prod.yaml:8: spec.network.serviceCIDR: 10.100.4.0/22 overlaps with podCIDR 10.100.0.0/16; use ranges apart",
				"acme/prod.yaml:9: spec.endpoint.public.authorizedNetworks[0]: 198.51.100.7/24 has bits set beyond its mask; write 198.51.100.0/24",
			},
		},
		"quantities": {
			why: "the API server would refuse them later",
			files: map[string]string{
				"acme/tenant.yaml": tenant("acme", "quota: {hard: {requests.cpu: lots, pods: 1.5}}"),
			},
			want: []string{
				`acme/tenant.yaml:6: spec.quota.hard.pods: 1.5 is neither a whole number nor text; write it in quotes: "1.5"`,
				`acme/tenant.yaml:6: spec.quota.hard[requests.cpu]: "lots" is not a quantity; write a number such as 4, 500m or 8Gi`,
			},
		},
		"resources": {
			why: "the API server would refuse the ResourceQuota",
			files: map[string]string{
				"acme/tenant.yaml": tenant("acme", `quota: {hard: {requests.memroy: 1Gi, secrets: "-1", services: 500m, count/deployments.apps: 3, hugepages-2Mi: 1Gi, gold: 1}}`),
			},
			want: []string{
				`acme/tenant.yaml:6: spec.quota.hard.gold: "gold" is no resource that a quota knows; write one such as requests.cpu, requests.memory or pods`,
				"acme/tenant.yaml:6: spec.quota.hard.secrets: -1 is below zero; write zero or more",
				"acme/tenant.yaml:6: spec.quota.hard.services: 500m is not a whole number; write one such as 20",
				`acme/tenant.yaml:6: spec.quota.hard[requests.memroy]: "requests.memroy" is no resource that a quota knows; write requests.memory`,
			},
		},
		"durations": {
			why: "they are Go's",
			files: map[string]string{
				"acme/tenant.yaml": tenant("acme", "deletion: {policy: Delete, retention: 30d}"),
				"acme/web.yaml": namespace("acme-web", `gitops: {url: "https://git.example.com/a.git", interval: 1s}
secrets: [{name: db, path: db, refreshInterval: soon}]`),
			},
			want: []string{
				`acme/tenant.yaml:6: spec.deletion.retention: "30d" is not a duration; write a number with a unit, such as 30s, 5m or 720h`,
				"acme/web.yaml:7: spec.gitops.interval: 1s is too short; write 30s or more",
				`acme/web.yaml:8: spec.secrets[0].refreshInterval: "soon" is not a duration; write a number with a unit, such as 30s, 5m or 720h`,
			},
		},
		"gitops": {
			why: "Flux would fetch it for the tenant",
			files: map[string]string{
				"acme/web.yaml": namespace("acme-web", `gitops:
  url: http://169.254.169.254/latest
  branch: "-f"
  secretName: A_b`),
			},
			want: []string{
				`acme/web.yaml:8: spec.gitops.url: "169.254.169.254" is a link-local address, where clouds keep their metadata services; write your Git server's name`,
				`acme/web.yaml:9: spec.gitops.branch: "-f" is no branch's name; write one such as main`,
				`acme/web.yaml:10: spec.gitops.secretName: "A_b" is no name; use lower-case letters, digits, '-' and '.'`,
			},
		},
		"credentials in a URL": {
			why: "secrets are never in Git",
			files: map[string]string{
				"acme/web.yaml": namespace("acme-web", `gitops: {url: "https://me:secret@git.example.com/a.git"}`),
			},
			want: []string{
				"acme/web.yaml:7: spec.gitops.url: Invalid value: \"https://\u2026@git.example.com/a.git\": write https://host/path or ssh://git@host/path; credentials belong in the Secret that secretName names",
			},
		},
		"secrets": {
			why: "their paths cannot leave the tenant's",
			files: map[string]string{
				"acme/web.yaml": namespace("acme-web", `secrets:
- {name: db, path: ../globex/db}`),
			},
			want: []string{
				`acme/web.yaml:8: spec.secrets[0].path: Invalid value: "../globex/db": write a plain path below the tenant's, such as payments/db: letters, digits, '.', '_' and '-' between single '/', and no part that begins with '.'`,
			},
		},
		"registries": {
			why: "policies match them literally",
			files: map[string]string{
				"acme/tenant.yaml": tenant("acme", `registries: ["https://registry.example.com/acme", acme, registry.example.com/acme/, "registry.example.com/acme:latest", "registry.example.com:5000/acme", registry.example.com]`),
			},
			want: []string{
				`acme/tenant.yaml:6: spec.registries[0]: "https://registry.example.com/acme" has a scheme; write it as <host>[:<port>]/<path>, such as registry.example.com/acme`,
				`acme/tenant.yaml:6: spec.registries[1]: "acme" does not begin with a registry's host name; write it as <host>[:<port>]/<path>, such as registry.example.com/acme`,
				`acme/tenant.yaml:6: spec.registries[2]: "registry.example.com/acme/" is not a repository's path, in lower case without tag or trailing '/'; write it as <host>[:<port>]/<path>, such as registry.example.com/acme`,
				`acme/tenant.yaml:6: spec.registries[3]: "registry.example.com/acme:latest" is not a repository's path, in lower case without tag or trailing '/'; write it as <host>[:<port>]/<path>, such as registry.example.com/acme`,
			},
		},
		"host names": {
			why: "policies match them literally",
			files: map[string]string{
				"acme/tenant.yaml": tenant("acme", `hostnames: [App.example.com, "*.acme.example.com"]`),
			},
			want: []string{
				"acme/tenant.yaml:6: spec.hostnames: Invalid value: write host names in lower case without a trailing dot, such as app.example.com or *.example.com (internationalised names in their xn-- form)",
			},
		},
		"itself as a peer": {
			why: "its namespaces may name each other anyway",
			files: map[string]string{
				"acme/tenant.yaml": tenant("acme", "network: {peers: [{tenant: acme}]}"),
			},
			want: []string{
				"acme/tenant.yaml:6: spec.network.peers[0].tenant: is the tenant itself, whose namespaces may name each other anyway; remove it",
			},
		},
		"limits": {
			why: "Kubernetes would refuse the LimitRange",
			files: map[string]string{
				"_platform/profiles.yaml": `apiVersion: aetherplatform.cloud/v1alpha1
kind: NamespaceProfile
metadata: {name: default}
spec:
  base: {path: profiles/default}
  sizes:
    small: {quota: {pods: "9"}, limits: [{type: Container, default: {cpu: 1}, max: {cpu: 500m}}, {type: Pod, default: {cpu: 1}}, {type: Node}]}
`,
			},
			want: []string{
				"_platform/profiles.yaml:7: spec.sizes.small.limits[0].default.cpu: 1 is above max, 500m; write at most that",
				"_platform/profiles.yaml:7: spec.sizes.small.limits[1]: has defaults, which only type Container may have; remove default and defaultRequest",
				`_platform/profiles.yaml:7: spec.sizes.small.limits[2].type: "Node" is not a type; use Container, PersistentVolumeClaim or Pod`,
				`acme/web.yaml:4: spec.profile: profile "default" has errors, see _platform/profiles.yaml:1; it can be used when they are mended`,
			},
		},
		"exceptions": {
			why: "one that is not clear grants nothing",
			files: map[string]string{
				"_platform/exceptions.yaml": `apiVersion: aetherplatform.cloud/v1alpha1
kind: TenantException
metadata: {name: forever}
spec: {tenant: acme, allow: {registries: [quay.io/acme]}, owner: platform, reason: until it is mirrored}
---
apiVersion: aetherplatform.cloud/v1alpha1
kind: TenantException
metadata: {name: nothing}
spec: {tenant: acme, allow: {}, owner: platform, reason: short, expires: tomorrow}
---
apiVersion: aetherplatform.cloud/v1alpha1
kind: TenantException
metadata: {name: wrong}
spec:
  tenant: Acme
  namespaces: [acme_web]
  allow: {registries: ["https://quay.io"], hostnames: [Shop.example.com], exposure: [Everything]}
  owner: platform
  reason: until it is mirrored
  expires: "2027-03-31T00:00:00Z"
`,
				"acme/exception.yaml": `apiVersion: aetherplatform.cloud/v1alpha1
kind: TenantException
metadata: {name: granted-to-myself}
spec: {tenant: acme, allow: {registries: [quay.io]}, owner: me, reason: because I want it, expires: "2099-03-31T00:00:00Z"}
`,
			},
			want: []string{
				"_platform/exceptions.yaml:4: spec.expires: Required value: Expires is when it ends by itself (RFC 3339, such as 2027-03-31T00:00:00Z)",
				`_platform/exceptions.yaml:9: spec.expires: Invalid value: "tomorrow": must be of type date-time: "tomorrow"`,
				`_platform/exceptions.yaml:9: spec.reason: Invalid value: "short": should be at least 10 chars long`,
				`_platform/exceptions.yaml:17: spec.allow.exposure[0]: Unsupported value: "Everything": supported values: "LoadBalancer", "NodePort", "ExternalIPs", "ExternalName", "HostPort"`,
				"_platform/exceptions.yaml:17: spec.allow.hostnames: Invalid value: write host names in lower case without a trailing dot, such as app.example.com or *.example.com (internationalised names in their xn-- form)",
				"acme/exception.yaml:2: kind: TenantException belongs in _platform; a tenant's directory holds Tenant, TenantNamespace or WorkloadCluster",
			},
		},
		"an exception for nobody": {
			why: "it is a slip of the pen, and does no harm",
			files: map[string]string{
				"_platform/exceptions.yaml": `apiVersion: aetherplatform.cloud/v1alpha1
kind: TenantException
metadata: {name: quay}
spec:
  tenant: acne
  allow: {registries: [quay.io/acme]}
  owner: platform
  reason: until it is mirrored
  expires: "2027-03-31T00:00:00Z"
---
apiVersion: aetherplatform.cloud/v1alpha1
kind: TenantException
metadata: {name: ghcr}
spec: {tenant: acme, namespaces: [acme-web, acme-wbe], allow: {registries: [ghcr.io/acme]}, owner: platform, reason: until it is mirrored, expires: "2027-03-31T00:00:00Z"}
`,
				"acme/web.yaml": namespace("acme-web", ""),
			},
			want: []string{
				`warning: _platform/exceptions.yaml:5: spec.tenant: there is no Tenant "acne", so that nobody has the exception; write acme`,
				`warning: _platform/exceptions.yaml:14: spec.namespaces[1]: there is no TenantNamespace "acme-wbe", so that nobody has the exception; write acme-web`,
			},
		},
		"an exception's names": {
			why: "what no tenant can be called is nobody's",
			files: map[string]string{
				"_platform/exceptions.yaml": `apiVersion: aetherplatform.cloud/v1alpha1
kind: TenantException
metadata: {name: wrong}
spec:
  tenant: Acme
  namespaces: [acme_web]
  allow: {registries: ["https://quay.io"], storageClasses: [Fast]}
  owner: platform
  reason: until it is mirrored
  expires: "2027-03-31T00:00:00Z"
---
apiVersion: aetherplatform.cloud/v1alpha1
kind: TenantException
metadata: {name: nothing}
spec: {tenant: acme, allow: {}, owner: platform, reason: until it is mirrored, expires: "2027-03-31T00:00:00Z"}
`,
			},
			want: []string{
				`_platform/exceptions.yaml:5: spec.tenant: "Acme" is no tenant's name; write metadata.name of a Tenant`,
				`_platform/exceptions.yaml:6: spec.namespaces[0]: "acme_web" is no namespace's name; write names such as acme-web, or leave the list out for all namespaces`,
				`_platform/exceptions.yaml:7: spec.allow.registries[0]: "https://quay.io" has a scheme; write it as <host>[:<port>]/<path>, such as registry.example.com/acme`,
				`_platform/exceptions.yaml:7: spec.allow.storageClasses[0]: "Fast" is no name; use lower-case letters, digits, '-' and '.'`,
				"_platform/exceptions.yaml:15: spec.allow: Invalid value: write what is allowed, such as registries: [quay.io/acme] or exposure: [LoadBalancer]",
			},
		},
		"roles of a profile": {
			why: "a Role cannot hold them",
			files: map[string]string{
				"_platform/profiles.yaml": `apiVersion: aetherplatform.cloud/v1alpha1
kind: NamespaceProfile
metadata: {name: default}
spec:
  base: {path: profiles/default}
  sizes: {small: {quota: {pods: "9"}}}
  roles:
    a: [{verbs: [get], nonResourceURLs: [/healthz]}]
    b: [{verbs: [get]}]
`,
			},
			want: []string{
				"_platform/profiles.yaml:8: spec.roles.a[0].nonResourceURLs: are not a namespace's; write apiGroups and resources",
				"_platform/profiles.yaml:9: spec.roles.b[0]: names no resources; write apiGroups and resources",
				`acme/web.yaml:4: spec.profile: profile "default" has errors, see _platform/profiles.yaml:1; it can be used when they are mended`,
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
