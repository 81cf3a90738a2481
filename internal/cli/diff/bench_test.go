package diff

import (
	"fmt"
	"io"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/aetherplatform/aether/internal/cli"
	"github.com/aetherplatform/aether/internal/repository/gittest"
	"github.com/aetherplatform/aether/policies"
)

// The fleet of docs/benchmarks.md: 1,000 tenants with 10 namespaces each, a file
// an object.
const (
	benchTenants    = 1_000
	benchNamespaces = 10
)

const benchProfile = `apiVersion: aetherplatform.cloud/v1alpha1
kind: NamespaceProfile
metadata: {name: default}
spec:
  base: {path: profiles/default}
  sizes:
    small:
      quota: {requests.cpu: "2", requests.memory: 4Gi, pods: "%d"}
      limits: [{type: Container, defaultRequest: {cpu: 50m, memory: 64Mi}}]
`

const benchTenant = `apiVersion: aetherplatform.cloud/v1alpha1
kind: Tenant
metadata: {name: %[1]s}
spec:
  displayName: Tenant %[1]s
  owners: [{kind: Group, name: %[1]s-admins, role: admin}]
  namespaces: {max: 20}
  quota: {hard: {requests.cpu: "64", requests.memory: 128Gi}}
`

const benchNamespace = `apiVersion: aetherplatform.cloud/v1alpha1
kind: TenantNamespace
metadata: {name: %[1]s-ns%[2]d}
spec:
  tenant: %[1]s
  size: small
  access:
  - {kind: User, name: dev@example.com, role: editor}
  network:
    ingress:
    - from: [{ingressController: true}, {namespace: %[1]s-ns0}]
      ports: [{port: %[3]d}]
    egress:
    - to: [{fqdn: api.example.com}, {cidr: 203.0.113.0/24}]
      ports: [{port: 443}]
`

func benchFleet(b *testing.B) gittest.Files {
	b.Helper()
	files := gittest.Files{"tenants/_platform/profiles.yaml": fmt.Sprintf(benchProfile, 20)}
	for i := range benchTenants {
		tenant := fmt.Sprintf("t%04d", i)
		files["tenants/"+tenant+"/tenant.yaml"] = fmt.Sprintf(benchTenant, tenant)
		for j := range benchNamespaces {
			files[fmt.Sprintf("tenants/%s/namespaces/ns%d.yaml", tenant, j)] = fmt.Sprintf(benchNamespace, tenant, j, 8000)
		}
	}
	// Aether's own policies are what a platform has at least.
	admission, err := policies.Admission()
	if err != nil {
		b.Fatal(err)
	}
	for i, o := range admission {
		data, err := yaml.Marshal(o)
		if err != nil {
			b.Fatal(err)
		}
		files[fmt.Sprintf("policies/%02d.yaml", i)] = string(data)
	}
	return files
}

// BenchmarkDiff10k is the whole command, without the start of the process: with
// what the last run left in the cache, and with nothing.
func BenchmarkDiff10k(b *testing.B) {
	fleet := benchFleet(b)
	repo := gittest.New(b)
	base := repo.Commit("main", fleet)
	repo.Commit("one", fleet.With(gittest.Files{"tenants/t0500/namespaces/ns3.yaml": fmt.Sprintf(benchNamespace, "t0500", 3, 8001)}), base)
	repo.Commit("all", fleet.With(gittest.Files{"tenants/_platform/profiles.yaml": fmt.Sprintf(benchProfile, 25)}), base)

	for _, test := range []struct {
		name, head string
		cached     bool
	}{
		{"OneTenant", "one", true},
		{"OneTenantNothingCached", "one", false},
		{"AllNamespaces", "all", true},
		{"AllNamespacesNothingCached", "all", false},
	} {
		b.Run(test.name, func(b *testing.B) {
			b.Setenv("XDG_CACHE_HOME", b.TempDir())
			diff := func() {
				o := &Options{Env: &cli.Env{Out: io.Discard, Err: io.Discard}, Repo: repo.Dir, Path: ".", Base: "main", Head: test.head, Output: "text", NoCache: !test.cached}
				if code := cli.Report(io.Discard, run(b.Context(), o)); code != cli.ExitFindings {
					b.Fatalf("exit code %d", code)
				}
			}
			if test.cached {
				diff()
			}
			b.ReportAllocs()
			for b.Loop() {
				diff()
			}
		})
	}
}
