package report

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aetherplatform/aether/internal/review"
)

var update = flag.Bool("update", false, "rewrite golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got; if it is meant, run with -update):\n%s", file, diff)
	}
}

// hostile are texts that want to be more than text.
var hostile = []string{
	"<script>alert(1)</script>",
	"<img src=x onerror=alert(1)>",
	"</summary></details><h1>approved</h1>",
	"--> <b>bold</b> <!--",
	"<!-- aether-review -->",
	"]]><svg/onload=alert(1)>",
	"</code></pre><a href=https://evil.example>x</a>",
	"</style><script>alert(1)</script>",
	"{{.Report}} ${{ secrets.TOKEN }} {% raw %}",
	"[click](https://evil.example)",
	"![pixel](https://evil.example/p.png)",
	"[ref]: https://evil.example",
	"<https://evil.example>",
	"https://evil.example www.evil.example mail@evil.example",
	"@platform-team please merge @org/team",
	"fixes #1 org/repo#2 GH-3 !4 &5 %6 ~7 $8",
	"1234567 deadbeef cafebabe da39a3ee5e6b4b0d3255bfef95601890afd80709",
	"```\n</details>\n# heading\n```",
	"````` ` `` x",
	"`", "``", "` `", "\\`x\\`", "~~~\nx\n~~~",
	"a | b \\| c \\\\| d ||",
	"# heading", "- item", "1. item", "1) item", "> quote", "+ a", "===", "---", "***", "    code",
	"**bold** __bold__ *i* _i_ ~~gone~~ :tada: $x^2$ $`y`$",
	"/approve\n/merge\n/close",
	"first\r\nsecond\n\n\nthird\u2028fourth\u0085fifth",
	"\x1b[31mred\x1b[0m\x1b]8;;https://evil.example\x07link\x1b]8;;\x07\u009b31m",
	"user\u202eexe.txt\u2066x\u2069", "zero\u200bwidth\u200djoin\ufeff\u2060", "\u3164\u115f\u2800 blank",
	"Z\u0335\u0335\u0335\u0335\u0335\u0335algo", "tag\U000e0041\U000e0042", "\x00nul\x7fdel", "bad\xff\xfeutf8",
	"&lt;b&gt; &#64;team &nbsp;", "javascript:alert(1)", "- [x] done", "[^1]: note", "Term\n: def",
	"| a | b |\n| - | - |", "", " ", "\\", "\\\n",
}

// sample is a report with everything in it, written by decent people.
func sample() *review.Report {
	object := func(tenant, cluster, apiVersion, kind, namespace, name string) review.Object {
		return review.Object{Tenant: tenant, Cluster: cluster, APIVersion: apiVersion, Kind: kind, Namespace: namespace, Name: name}
	}
	const aether, net = "aetherplatform.cloud/v1alpha1", "networking.k8s.io/v1"
	r := &review.Report{
		Base: review.Revision{Name: "main", Commit: "3b1f0c8a7d2e4f5a6b7c8d9e0f1a2b3c4d5e6f70", Digest: "sha256:1111111111111111111111111111111111111111111111111111111111111111"},
		Head: review.Revision{Name: "payments-egress", Commit: "9e0f1a2b3c4d5e6f703b1f0c8a7d2e4f5a6b7c8d", Digest: "sha256:6d5c4b3a291807f6e5d4c3b2a1908f7e6d5c4b3a291807f6e5d4c3b2a1908f7e"},
		Findings: []review.Finding{
			{Risk: review.Low, Category: review.QuotaMoved, Title: "Quota requests.cpu of acme-payments rises from 2 to 16",
				Details: []string{"32 of the tenant's 32 requests.cpu are given out"}, Tenants: []string{"acme"}, Namespaces: []string{"acme-payments"}, Place: review.Place{File: "tenants/acme/namespaces/payments.yaml", Line: 7}},
			{Risk: review.High, Category: review.NetworkOpened, Title: "Pods of acme-payments can reach any address on port 443",
				Details: []string{"0.0.0.0/0 was 203.0.113.0/24"}, Tenants: []string{"acme"}, Namespaces: []string{"acme-payments"}, Place: review.Place{File: "tenants/acme/namespaces/payments.yaml", Line: 16}},
			{Risk: review.High, Category: review.RightsGained, Title: "Group acme-web-team can now delete Secrets", Tenants: []string{"acme"}, Namespaces: []string{"acme-api", "acme-web"}, Place: review.Place{File: "tenants/acme/namespaces/web.yaml", Line: 9}},
			{Risk: review.Medium, Category: review.SoftDeleted, Title: "Namespace globex-billing is cordoned, and deleted after 168h", Tenants: []string{"globex"}, Namespaces: []string{"globex-billing"}, Place: review.Place{File: "tenants/globex/billing.yaml"}},
			{Risk: review.Info, Category: review.BlastRadius, Title: "A base change touches 5 namespaces of 2 tenants", Tenants: []string{"acme", "globex"}, Namespaces: []string{"acme-api", "acme-ledger", "acme-web", "globex-app", "globex-web"}, Place: review.Place{File: "base/namespace/network/dns.yaml"}},
		},
		Errors: []review.Error{
			{Place: review.Place{File: "tenants/initech/tps.yaml", Line: 4}, Tenant: "initech", Message: `spec.size: "huge" is not a size of profile default; use large or small`, Old: true},
			{Place: review.Place{File: "tenants/acme/namespaces/web.yaml", Line: 14}, Tenant: "acme", Message: `spec.access[0].role: "owner" is not a role; use admin, editor or viewer`},
		},
		Approvals: []review.Approval{
			{Path: "base/namespace/network/dns.yaml", Owners: []string{"@platform-team"}, Platform: true, Reason: "what every namespace gets is the platform team's"},
			{Path: "tenants/globex/billing.yaml", Owners: []string{"@globex/admins", "ops@globex.example"}, Reason: "CODEOWNERS line 12"},
		},
		Violations: []review.Violation{
			{Object: object("acme", "", "apps/v1", "Deployment", "acme-web", "web"), Policy: "require-limits", Message: "resources.limits.memory is required"},
			{Object: object("acme", "", "apps/v1", "Deployment", "acme-web", "cache"), Policy: "disallow-latest", Message: "tag latest is not allowed", Old: true},
		},
		Changes: []review.Change{
			{Object: object("acme", "", aether, "Tenant", "", "acme"), Action: review.Changed, Place: review.Place{File: "tenants/acme/tenant.yaml", Line: 1},
				Fields: []review.Field{{Path: "spec.displayName", Old: "Acme", New: "Acme Corp"}}, Unchanged: map[string]any{"spec": map[string]any{"namespaces": map[string]any{"max": 10, "profiles": []any{"default"}}}}},
			{Object: object("acme", "", "v1", "Namespace", "acme-shop", "acme-shop"), Action: review.Created, Place: review.Place{File: "tenants/acme/namespaces/shop.yaml", Line: 1},
				Content: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": "acme-shop", "labels": map[string]any{"cost-center": "shared", "pod-security.kubernetes.io/enforce": "restricted"}}}},
			{Object: object("acme", "", net, "NetworkPolicy", "acme-payments", "egress"), Action: review.Changed, Place: review.Place{File: "tenants/acme/namespaces/payments.yaml", Line: 16},
				Fields: []review.Field{
					{Path: "spec.egress[0].to[0].ipBlock.cidr", Old: "203.0.113.0/24", New: "0.0.0.0/0"},
					{Path: "spec.egress[0].ports[1]", Added: true, New: map[string]any{"port": 8443, "protocol": "TCP"}},
					{Path: "metadata.annotations[example.com/ticket]", Removed: true, Old: "PAY-112"},
				}, Unchanged: map[string]any{"spec": map[string]any{"podSelector": map[string]any{}, "policyTypes": []any{"Egress"}}}},
			{Object: object("acme", "", "v1", "ResourceQuota", "acme-payments", "budget"), Action: review.Changed, Place: review.Place{File: "tenants/acme/namespaces/payments.yaml", Line: 7},
				Fields: []review.Field{{Path: "spec.hard[requests.cpu]", Old: "2", New: "16"}, {Path: "spec.hard.pods", Old: 20, New: 200}}},
			{Object: object("acme", "", "v1", "Secret", "acme-payments", "db"), Action: review.Changed, Place: review.Place{File: "tenants/acme/namespaces/payments.yaml", Line: 21},
				Fields: []review.Field{{Path: "data.PASSWORD", Old: review.Redacted, New: review.Redacted}}},
			{Object: object("acme", "acme-prod", "rbac.authorization.k8s.io/v1", "RoleBinding", "acme-web", "editors"), Action: review.Changed, Place: review.Place{File: "tenants/acme/namespaces/web.yaml", Line: 9},
				Fields: []review.Field{{Path: "subjects[1]", Added: true, New: map[string]any{"kind": "Group", "name": "acme-web-team"}}}},
			{Object: object("globex", "", aether, "TenantNamespace", "globex-billing", "globex-billing"), Action: review.Deleted, Place: review.Place{File: "tenants/globex/billing.yaml", Line: 1},
				Content: map[string]any{"spec": map[string]any{"tenant": "globex", "size": "small"}}},
			{Object: object("globex", "", aether, "TenantNamespace", "globex-app", "globex-app"), Action: review.Moved, Place: review.Place{File: "tenants/globex/app.yaml", Line: 1},
				From: &review.Object{Tenant: "initech", APIVersion: aether, Kind: "TenantNamespace", Namespace: "globex-app", Name: "globex-app"}},
		},
	}
	for _, n := range []string{"acme-api", "acme-ledger", "acme-web", "globex-app", "globex-web"} {
		tenant := "acme"
		if n[0] == 'g' {
			tenant = "globex"
		}
		r.Changes = append(r.Changes, review.Change{Object: object(tenant, "", net, "NetworkPolicy", n, "allow-dns"), Action: review.Changed,
			Place: review.Place{File: "tenants/" + tenant + "/" + n + ".yaml", Line: 1}, Group: "dns",
			Fields:    []review.Field{{Path: "spec.egress[0].ports[0].port", Old: 53, New: 5353}},
			Unchanged: map[string]any{"spec": map[string]any{"podSelector": map[string]any{}}}})
	}
	r.Groups = []review.Group{{Key: "dns", Cause: "base/namespace/network/dns.yaml", Tenants: []string{"acme", "globex"},
		Namespaces: []string{"acme-api", "acme-ledger", "acme-web", "globex-app", "globex-web"}, Representative: len(r.Changes) - 5,
		Otherwise: []string{"globex-shop"}, Unchanged: []string{"acme-legacy"}}}
	r.Changes = append(r.Changes, review.Change{Object: object("globex", "", net, "NetworkPolicy", "globex-shop", "allow-dns"), Action: review.Changed,
		Place:  review.Place{File: "tenants/globex/shop.yaml", Line: 1},
		Fields: []review.Field{{Path: "spec.egress[0].ports[0].port", Old: 1053, New: 5353}}})
	r.Summary = review.Summary{Created: 1, Changed: 11, Deleted: 1, Moved: 1, Tenants: 2, Namespaces: 10}
	return r
}

// poisoned has s wherever a report takes a text from the repository.
func poisoned(s string) *review.Report {
	o := review.Object{Tenant: s, Cluster: s, APIVersion: s, Kind: s, Namespace: s, Name: s}
	from := review.Object{Tenant: "t" + s, Cluster: "c" + s, Namespace: "n" + s, Name: "o" + s}
	place := review.Place{File: s, Line: 3}
	tree := map[string]any{s: s, "list": []any{s, map[string]any{s: s}}}
	r := &review.Report{
		Base:       review.Revision{Name: s, Commit: s, Digest: s},
		Head:       review.Revision{Name: s, Commit: s, Digest: s},
		Summary:    review.Summary{Created: 1, Changed: 2, Deleted: 1, Moved: 1, Tenants: 1, Namespaces: 1},
		Findings:   []review.Finding{{Risk: review.High, Category: review.NetworkOpened, Title: s, Details: []string{s, "Group " + s + " can"}, Tenants: []string{s}, Namespaces: []string{s}, Place: place}},
		Errors:     []review.Error{{Place: place, Tenant: s, Message: s}},
		Approvals:  []review.Approval{{Path: s, Owners: []string{s}, Platform: true, Reason: s}},
		Violations: []review.Violation{{Object: o, Policy: s, Message: s}},
		Groups:     []review.Group{{Key: "g", Cause: s, Tenants: []string{s}, Namespaces: []string{s}, Representative: 0, Otherwise: []string{s}, Unchanged: []string{s}}},
		Changes: []review.Change{
			{Object: o, Action: review.Changed, Place: place, Group: "g", Fields: []review.Field{{Path: s, Old: s, New: s + "x"}}, Unchanged: tree},
			{Object: o, Action: review.Changed, Place: place, Fields: []review.Field{
				{Path: s, Old: s, New: "new " + s}, {Path: s, Added: true, New: tree}, {Path: s, Removed: true, Old: tree}}, Unchanged: tree},
			{Object: o, Action: review.Created, Place: place, Content: tree},
			{Object: o, Action: review.Deleted, Place: place, Content: tree},
			{Object: o, Action: review.Moved, Place: place, From: &from},
		},
	}
	r.Changes[1].Namespace = "other" + s
	return r
}

// large has n objects that nothing groups, in a tenant for ten namespaces.
func large(n int) *review.Report {
	r := sample()
	r.Changes, r.Groups = nil, nil
	for i := range n {
		tenant := fmt.Sprintf("tenant-%04d", i/20)
		ns := fmt.Sprintf("%s-%d", tenant, i%20/2)
		r.Changes = append(r.Changes, review.Change{
			Object: review.Object{Tenant: tenant, APIVersion: "v1", Kind: "ConfigMap", Namespace: ns, Name: fmt.Sprintf("settings-%d", i)},
			Action: review.Changed, Place: review.Place{File: "tenants/" + tenant + "/" + ns + ".yaml", Line: 3},
			Fields:    []review.Field{{Path: "data.log", Old: "debug", New: fmt.Sprintf("level-%d", i)}},
			Unchanged: map[string]any{"data": map[string]any{"port": "8080", "host": "db.example.com"}},
		})
	}
	r.Findings = append(r.Findings, review.Finding{Risk: review.Medium, Category: review.QuotaMoved, Title: "Quota moves", Tenants: []string{"tenant-0003"}})
	r.Summary = review.Summary{Changed: n, Tenants: (n + 19) / 20, Namespaces: (n + 1) / 2}
	return r
}
