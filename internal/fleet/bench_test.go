package fleet

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"slices"
	"testing"
)

// The fleet that the numbers in docs/benchmarks.md speak of: 1,000 tenants with
// 10 namespaces each, a file an object.
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
    small: {quota: {requests.cpu: "2", requests.memory: 4Gi, pods: "20"}}
  roles:
    oncall: [{apiGroups: [""], resources: [pods/exec], verbs: [create]}]
`

func benchTree() Tree {
	tree := Tree{"_platform/profiles.yaml": {Data: []byte(benchProfile)}}
	for t := range benchTenants {
		tenant := fmt.Sprintf("t%04d", t)
		tree[tenant+"/tenant.yaml"] = File{Data: fmt.Appendf(nil, `apiVersion: aetherplatform.cloud/v1alpha1
kind: Tenant
metadata:
  name: %[1]s
spec:
  displayName: Tenant %[1]s
  owners:
  - {kind: Group, name: %[1]s-admins, role: admin}
  namespaces: {max: 20}
  quota: {hard: {requests.cpu: "32", requests.memory: 128Gi}}
  hostnames: ["*.%[1]s.example.com"]
`, tenant)}
		for n := range benchNamespaces {
			tree[fmt.Sprintf("%s/namespaces/n%d.yaml", tenant, n)] = File{Data: benchNamespace(tenant, n, "main")}
		}
	}
	return tree
}

func benchNamespace(tenant string, n int, branch string) []byte {
	return fmt.Appendf(nil, `apiVersion: aetherplatform.cloud/v1alpha1
kind: TenantNamespace
metadata:
  name: %[1]s-n%[2]d
spec:
  tenant: %[1]s
  profile: default
  size: small
  labels:
    example.com/team: payments
  access:
  - {kind: User, name: dev@example.com, role: editor}
  - {kind: Group, name: oncall, role: oncall}
  network:
    ingress:
    - from: [{ingressController: true}, {namespace: %[1]s-n0}]
      ports: [{port: 8443, protocol: TCP}]
    egress:
    - to: [{fqdn: api.stripe.com}, {cidr: 203.0.113.0/24}]
      ports: [{port: 443, protocol: TCP}]
  gitops:
    url: https://git.example.com/%[1]s/n%[2]d.git
    branch: %[3]s
    path: ./deploy
    secretName: git-credentials
`, tenant, n, branch)
}

func perNamespace(b *testing.B) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(benchTenants*benchNamespaces), "ns/namespace")
}

func BenchmarkReadTarGz10k(b *testing.B) {
	archive := archiveOf(b, benchTree())
	b.SetBytes(int64(len(archive)))
	b.ReportAllocs()
	for b.Loop() {
		tree, err := ReadTarGz(bytes.NewReader(archive), "./tenants", nil)
		if err != nil || len(tree) != benchTenants*(benchNamespaces+1)+1 {
			b.Fatal(len(tree), err)
		}
	}
	perNamespace(b)
}

// What a push of one file costs, from the artifact to the fleet.
func BenchmarkPushOf11000Files(b *testing.B) {
	tree := benchTree()
	var archives [2][]byte
	for i := range archives {
		tree["t0500/namespaces/n5.yaml"] = File{Data: benchNamespace("t0500", 5, fmt.Sprintf("release-%d", i))}
		archives[i] = archiveOf(b, tree)
	}
	var names []string
	for t := range benchTenants {
		names = append(names, fmt.Sprintf("t%04d", t))
	}
	incumbents := applied(names...)
	parser := NewParser()
	last, err := ReadTarGz(bytes.NewReader(archives[1]), "./tenants", nil)
	if err != nil {
		b.Fatal(err)
	}
	parser.Parse(last, incumbents)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if last, err = ReadTarGz(bytes.NewReader(archives[i%2]), "./tenants", last); err != nil {
			b.Fatal(err)
		}
		if errs := parser.Parse(last, incumbents).Errors(); len(errs) > 0 {
			b.Fatal(errs[0])
		}
	}
}

func BenchmarkParse10kCold(b *testing.B) {
	tree := benchTree()
	b.ReportAllocs()
	for b.Loop() {
		if errs := NewParser().Parse(tree, nil).Errors(); len(errs) > 0 {
			b.Fatal(errs[0])
		}
	}
	perNamespace(b)
}

func BenchmarkParse10kOneChanged(b *testing.B) {
	tree := benchTree()
	parser := NewParser()
	parser.Parse(tree, nil)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		tree["t0500/namespaces/n5.yaml"] = File{Data: benchNamespace("t0500", 5, fmt.Sprintf("release-%d", i))}
		if errs := parser.Parse(tree, nil).Errors(); len(errs) > 0 {
			b.Fatal(errs[0])
		}
	}
	perNamespace(b)
}

// archiveOf is the artifact that source-controller would make of a tree.
func archiveOf(t testing.TB, tree Tree) []byte {
	t.Helper()
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	archive := tar.NewWriter(zipped)
	for _, name := range sortedKeys(tree) {
		file := tree[name]
		header := &tar.Header{Name: "tenants/" + name, Mode: 0o644, Size: int64(len(file.Data)), Typeflag: tar.TypeReg}
		if file.Link != "" {
			header.Typeflag, header.Linkname = tar.TypeSymlink, file.Link
		}
		if err := archive.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := archive.Write(file.Data); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{archive.Close(), zipped.Close()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return slices.Clip(out.Bytes())
}
