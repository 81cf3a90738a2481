package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"code.gitea.io/sdk/gitea"
	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	reviewed "github.com/aetherplatform/aether/internal/forge"
	"github.com/aetherplatform/aether/internal/local"
)

// What a pull request may hold, whoever opens it: its comment says what a reader has
// to know, its commit status lets it be merged or not, the rules are those of base,
// and nothing happens in the cluster.
func TestAReviewSaysWhatAPullRequestHolds(t *testing.T) {
	w := newWorld(t, ruledFleet())
	forge := w.forge()
	base := forge.rules()
	w.settles(base)

	t.Run("a namespace is deleted", forge.deletesNamespaces)
	t.Run("another tenant's directory and a tenant's limits are changed", forge.needsTheirOwners)
	t.Run("policies are broken", forge.breaksPolicies)
	t.Run("a fork brings rules of its own", forge.isFromAFork)
	t.Run("names and values hold markup", forge.isHostile)
	t.Run("ten thousand objects change", forge.isLarge)
}

// ruledFleet is a fleet in which a namespace of ant's is deleted two weeks after it
// left Git, and one of bee's never, and in which ant-web breaks a policy already.
func ruledFleet() map[string]string {
	files := fleetOf("ant", "bee")
	files["ant/tenant.yaml"] += "  deletion: {policy: Delete, retention: 336h}\n"
	files["ant/namespaces/db.yaml"] = namespaceYAML("ant", "ant-db")
	files["bee/namespaces/db.yaml"] = namespaceYAML("bee", "bee-db")
	files["ant/namespaces/web.yaml"] += legacy
	return files
}

const (
	// legacy is what the ValidatingAdmissionPolicy of the repository refuses.
	legacy = "  annotations: {example.com/legacy: \"true\"}\n"
	// free is what its Kyverno policy refuses.
	free = "  labels: {example.com/tier: free}\n"
)

// rulesOfBase are the repository's CODEOWNERS and policies.
var rulesOfBase = map[string]string{
	"CODEOWNERS": "* @platform-leads\n/tenants/ant/ @ant-leads\n/tenants/bee/ @bee-leads\n",
	"policies/legacy.yaml": `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: no-legacy
spec:
  matchConstraints:
    resourceRules:
    - {apiGroups: [""], apiVersions: [v1], resources: [namespaces], operations: [CREATE, UPDATE]}
  validations:
  - expression: "!has(object.metadata.annotations) || !('example.com/legacy' in object.metadata.annotations)"
    message: nothing legacy is made any more
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: no-legacy
spec:
  policyName: no-legacy
  validationActions: [Deny]
`,
	"policies/tier.yaml": `apiVersion: kyverno.io/v1
kind: ClusterPolicy
metadata:
  name: no-free-tier
spec:
  validationFailureAction: Enforce
  rules:
  - name: tier
    match: {any: [{resources: {kinds: [Namespace]}}]}
    validate:
      message: the free tier is closed
      pattern: {metadata: {=(labels): {=(example.com/tier): "!free"}}}
`,
}

// rules puts CODEOWNERS and policies on the branch main.
func (f *forge) rules() local.Pushed {
	f.Helper()
	write(f, f.checkout, rulesOfBase)
	pushed := f.commits("Say who owns what", nil)
	f.git("push", "--quiet", "origin", "HEAD:main")
	return pushed
}

func (f *forge) deletesNamespaces(t *testing.T) {
	in := f.in(t)
	number, head := in.proposes(proposal{branch: "tidy-up", gone: []string{"tenants/ant/namespaces/db.yaml", "tenants/bee/namespaces/db.yaml"}})
	in.isReviewed(number, head, gitea.StatusSuccess, []string{"1 high risk", "deleted"}, []string{
		"`ant-db` leaves Git: cordoned, kept for 14 days after the merge, then deleted with all its data",
		"`bee-db` leaves Git: cordoned, and kept until a person deletes its TenantNamespace",
		"Putting its file back restores it",
		"Aether-Prune", // what lets it pass the budget
	})
	for _, name := range []string{"ant-db", "bee-db"} {
		var space corev1.Namespace
		var asked v1alpha1.TenantNamespace
		for _, o := range []client.Object{&space, &asked} {
			if err := in.Platform.Client.Get(t.Context(), client.ObjectKey{Name: name}, o); err != nil {
				t.Fatalf("before the merge: %v", err)
			}
			if !o.GetDeletionTimestamp().IsZero() || o.GetAnnotations()[v1alpha1.AnnotationRemovedAt] != "" {
				t.Errorf("%T %s is on its way out before the merge: %+v", o, name, o.GetAnnotations())
			}
		}
	}
}

func (f *forge) needsTheirOwners(t *testing.T) {
	in := f.in(t).as("ant-dev", "write")
	number, head := in.proposes(proposal{branch: "grow", files: map[string]string{
		"tenants/bee/namespaces/web.yaml": namespaceYAML("bee", "bee-web") + "  labels: {example.com/app: shop}\n",
		"tenants/ant/tenant.yaml":         strings.Replace(ruledFleet()["ant/tenant.yaml"], "max: 50", "max: 60", 1),
	}})
	in.isReviewed(number, head, gitea.StatusSuccess, []string{"needs the platform team"}, []string{
		"Needs approval by the platform team",
		"- `tenants/ant/tenant.yaml`: **platform team**, `@ant-leads`: changes limits of the Tenant",
		"`spec.namespaces.max`",
		"- `tenants/bee/namespaces/web.yaml`: `@bee-leads`",
	})
}

func (f *forge) breaksPolicies(t *testing.T) {
	in := f.in(t)
	touched := ruledFleet()["ant/namespaces/web.yaml"] + "  labels: {example.com/app: shop}\n"
	number, head := in.proposes(proposal{branch: "add-two", files: map[string]string{
		"tenants/ant/namespaces/web.yaml":  touched,
		"tenants/ant/namespaces/old.yaml":  namespaceYAML("ant", "ant-old") + legacy,
		"tenants/ant/namespaces/free.yaml": namespaceYAML("ant", "ant-free") + free,
	}})
	comment := in.isReviewed(number, head, gitea.StatusFailure, []string{"2 policy violations"}, []string{
		"Must not be merged as it is: 2 new policy violations",
		"`Namespace ant-old`: policy `no-legacy`", "nothing legacy is made any more",
		"`Namespace ant-free`: policy `no-free-tier`", "the free tier is closed",
		"1 policy violation that base has too", "`Namespace ant-web`: policy `no-legacy`",
	})
	_, fresh, _ := strings.Cut(comment.Body, "New policy violations")
	if fresh, _, _ = strings.Cut(fresh, "that base has too"); strings.Contains(fresh, "ant-web") {
		t.Errorf("what base has too is among the new violations:\n%s", fresh)
	}
	if in.merge(number) {
		t.Error("what a policy refuses was merged")
	}

	// What was refused before is no reason to refuse a change.
	number, head = in.proposes(proposal{branch: "touch-one", files: map[string]string{"tenants/ant/namespaces/web.yaml": touched}})
	in.isReviewed(number, head, gitea.StatusSuccess, []string{"2 changed"}, []string{"1 policy violation that base has too", "`Namespace ant-web`: policy `no-legacy`"})
}

func (f *forge) isFromAFork(t *testing.T) {
	in := f.in(t).as("contributor", "read")
	if _, _, err := in.CreateFork(fleetOwner, fleetRepository, gitea.CreateForkOption{}); err != nil {
		t.Fatal(err)
	}
	in.remote = "contributor/" + fleetRepository
	number, head := in.proposes(proposal{
		branch: "rule",
		files: map[string]string{
			"CODEOWNERS":                      "* @contributor\n",
			"tenants/ant/namespaces/old.yaml": namespaceYAML("ant", "ant-old") + legacy,
		},
		gone: []string{"policies/legacy.yaml", "policies/tier.yaml"},
	})
	comment := in.isReviewed(number, head, gitea.StatusFailure, []string{"1 policy violation", "needs the platform team"}, []string{
		"`Namespace ant-old`: policy `no-legacy`",
		"`CODEOWNERS`: **platform team**, `@platform-leads`",
		"`policies/legacy.yaml`: **platform team**, `@platform-leads`",
		"`tenants/ant/namespaces/old.yaml`: `@ant-leads`",
		"who owns what is judged by base until this is merged",
	})
	if strings.Contains(comment.Body, "@contributor") {
		t.Errorf("the fork's own CODEOWNERS is believed:\n%s", comment.Body)
	}
	for _, file := range []string{"policies/legacy.yaml", "policies/tier.yaml"} {
		if !strings.Contains(comment.Body, file) {
			t.Errorf("the comment does not say that %s goes:\n%s", file, comment.Body)
		}
	}
}

// hostile is what a forge, or a browser, would make something of.
const hostile = "<img src=x onerror=alert(1)> </code></pre></details><script>alert(1)</script> [x](javascript:alert(1)) ![x](https://example.org/x.png) " +
	"@bystander #1 platform/fleet#1 https://example.org/ www.example.org a@example.org :tada: `` ``` | &#60;b&#62; **b** $x$"

func (f *forge) isHostile(t *testing.T) {
	f.in(t).as("bystander", "read") // who is mentioned
	in := f.in(t).as("author", "write")
	number, head := in.proposes(proposal{
		branch: "x/<img/src=x/onerror=alert(1)>`@bystander`",
		title:  "<script>alert(1)</script> ![x](https://example.org/x.png)",
		body:   "<img src=x onerror=alert(1)> <!-- aether-review --> [x](javascript:alert(1))",
		files: map[string]string{
			"tenants/ant/namespaces/db.yaml":                        namespaceYAML("ant", "ant-db") + fmt.Sprintf("  annotations: {example.com/note: %q}\n", hostile),
			"tenants/ant/tenant.yaml":                               ruledFleet()["ant/tenant.yaml"] + fmt.Sprintf("  displayName: %q\n", "<b>@bystander</b> [x](https://example.org)"),
			"tenants/bee/namespaces/x.yaml":                         namespaceYAML("bee", fmt.Sprintf("%q", "<img src=x onerror=alert(1)> @bystander")),
			"tenants/bee/@bystander](https:/example.org)<img>.yaml": "a: [",
		},
	})
	comment := in.isReviewed(number, head, gitea.StatusFailure, []string{"error"}, []string{
		"example.com/note", "onerror=alert(1)", "tenants/bee/namespaces/x.yaml",
	})
	in.isInert(comment, "onerror=alert(1)")

	seen, _, err := f.in(t).as("bystander", "read").ListNotifications(gitea.ListNotificationOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range seen {
		t.Errorf("a name in a value notifies its bearer: %+v", n.Subject)
	}
}

// shown are the elements that a comment may become. The attributes of details, and
// those that colour code, do nothing.
var shown = []atom.Atom{
	atom.Html, atom.Head, atom.Body, atom.P, atom.H3, atom.H4, atom.Ul, atom.Li, atom.Table, atom.Thead, atom.Tbody, atom.Tr, atom.Th, atom.Td,
	atom.Strong, atom.Br, atom.Code, atom.Pre, atom.Div, atom.Span, atom.Details, atom.Summary, atom.A,
}

// reportLink is the link of a comment to the whole report.
func reportLink(comment *gitea.Comment) string {
	_, link, _ := strings.Cut(comment.Body, "[Whole report](<")
	link, _, _ = strings.Cut(link, ">)")
	return link
}

// isInert has the forge show a comment: nothing that its values hold is markup, runs,
// loads anything, leads anywhere or calls anybody. One of the values is seen there.
func (f *forge) isInert(comment *gitea.Comment, value string) {
	f.Helper()
	page, _, err := f.RenderMarkdown(gitea.MarkdownOption{Text: comment.Body, Mode: "comment", Context: f.url + "/" + fleetOwner + "/" + fleetRepository})
	if err != nil {
		f.Fatal(err)
	}
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		f.Fatal(err)
	}
	bold, link := 0, reportLink(comment)
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		if !slices.Contains(shown, n.DataAtom) {
			f.Errorf("the comment holds <%s>: %v", n.Data, n.Attr)
		}
		if n.DataAtom == atom.Strong {
			bold++
		}
		for _, a := range n.Attr {
			switch {
			case a.Key == "href" && (link == "" || a.Val != link) && !strings.HasPrefix(a.Val, "#"), a.Key == "src", strings.HasPrefix(a.Key, "on"):
				f.Errorf("<%s %s=%q> is in the comment", n.Data, a.Key, a.Val)
			}
		}
	}
	if bold == 0 || !strings.Contains(page, value) {
		f.Errorf("the forge shows neither the comment's own markup nor the values:\n%s", page)
	}
	if f.Failed() {
		f.Logf("the comment is\n%.20000s\nand shows as\n%.20000s", comment.Body, page)
	}
}

// isLarge is a change of ten thousand objects, each another way, on a branch whose
// base was never in the cluster.
func (f *forge) isLarge(t *testing.T) {
	in := f.in(t)
	const tenants, each = 25, 40 // of them as many are new
	before, after := map[string]string{}, map[string]string{}
	for i := range tenants {
		tenant := fmt.Sprintf("t%02d", i)
		before["tenants/"+tenant+"/tenant.yaml"] = strings.Replace(fleetOf(tenant)[tenant+"/tenant.yaml"], "max: 50", "max: 100", 1)
		for j := range 2 * each {
			name := fmt.Sprintf("%s-n%03d", tenant, j)
			file, yaml := "tenants/"+tenant+"/"+name+".yaml", namespaceYAML(tenant, name)
			if j < each {
				before[file] = yaml
			}
			after[file] = yaml + fmt.Sprintf("  labels: {example.com/app: app-%d-%d}\n  access:\n  - {kind: User, name: dev-%d-%d@example.com, role: editor}\n", i, j, i, j)
		}
	}
	after["tenants/t07/t07-n011.yaml"] += "  network:\n    ingress:\n    - {from: [{cidr: 0.0.0.0/0}], ports: [{port: 443, protocol: TCP}]}\n"
	var gone []string
	for i := range tenants { // a few go
		file := fmt.Sprintf("tenants/t%02d/t%02d-n000.yaml", i, i)
		gone = append(gone, file)
		delete(after, file)
	}

	in.git("switch", "--quiet", "--create", "many", "origin/main")
	write(t, in.checkout, before)
	in.commits("Many namespaces", nil)
	in.git("push", "--quiet", "origin", "many")
	number, head := in.proposes(proposal{branch: "many-more", onto: "many", files: after, gone: gone})
	opened := time.Now()
	comment := in.isReviewed(number, head, gitea.StatusSuccess, []string{"2 high risks"}, []string{
		"`t07-n011` can now be reached by the internet", "**Folded to fit a comment:**", "The rest is in the whole report",
	})
	t.Logf("reviewed %.1f s after it was opened, in a comment of %d bytes", time.Since(opened).Seconds(), len(comment.Body))
	var n [4]int
	_, counts, _ := strings.Cut(comment.Body, "\n\n")
	if _, err := fmt.Sscanf(strings.ReplaceAll(counts, ",", ""), "**%d** created **%d** changed **%d** deleted **%d** moved", &n[0], &n[1], &n[2], &n[3]); err != nil || n[0]+n[1]+n[2]+n[3] < 10_000 {
		t.Errorf("%v objects change, want 10,000 (%v): %.100s", n, err, counts)
	}
	if most := 256 << 10; len(comment.Body) > most {
		t.Errorf("the comment has %d bytes, and a forge may take no more than %d", len(comment.Body), most)
	}
	in.isInert(comment, "t07-n011")

	// What was folded is behind the link, of the comment and of the status.
	whole := in.download(reportLink(comment))
	t.Logf("the whole report has %d bytes", len(whole))
	for _, name := range []string{"t07-n011", "t24-n079", "dev-24-79@example.com"} {
		if !strings.Contains(whole, name) {
			t.Errorf("the whole report does not tell of %s", name)
		}
	}
}

// download is what is at an address that the review server gives.
func (f *forge) download(address string) string {
	f.Helper()
	request, err := http.NewRequestWithContext(f.Context(), http.MethodGet, address, nil)
	if err != nil {
		f.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		f.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		f.Fatalf("%s gives %s, %v", address, response.Status, err)
	}
	return string(data)
}

// proposal is a pull request, as files of the repository that it adds, changes and
// takes away. What is left out of it is made up.
type proposal struct {
	branch, onto, title, body string
	files                     map[string]string
	gone                      []string
}

// proposes opens a pull request.
func (f *forge) proposes(p proposal) (number int64, head local.Pushed) {
	f.Helper()
	if p.onto == "" {
		p.onto = "main"
	}
	if p.title == "" {
		p.title = "Change something"
	}
	f.git("fetch", "--quiet", "origin")
	f.git("switch", "--quiet", "--create", p.branch, "origin/"+p.onto)
	for _, name := range p.gone {
		if err := os.Remove(filepath.Join(f.checkout, filepath.FromSlash(name))); err != nil {
			f.Fatal(err)
		}
	}
	write(f, f.checkout, p.files)
	head = f.commits(p.title, nil)
	push, from := []string{"push", "--quiet", "origin"}, p.branch
	if f.remote != "" {
		fork := strings.Replace(f.url, "://", "://"+f.user+":"+f.password+"@", 1) + "/" + f.remote + ".git"
		push = []string{"-c", "credential.helper=", "push", "--quiet", fork} // or git would keep whose it is
		from, _, _ = strings.Cut(f.remote, "/")
		from += ":" + p.branch
	}
	f.git(append(push, "HEAD:refs/heads/"+p.branch)...)
	pr, _, err := f.CreatePullRequest(fleetOwner, fleetRepository, gitea.CreatePullRequestOption{Head: from, Base: p.onto, Title: p.title, Body: p.body})
	if err != nil {
		f.Fatal(err)
	}
	return pr.Index, head
}

// isReviewed waits for a review, and finds texts in its status' description and in its
// comment, which is the review server's only one.
func (f *forge) isReviewed(number int64, head local.Pushed, want gitea.StatusState, description, texts []string) *gitea.Comment {
	f.Helper()
	f.reviews(head, want)
	combined, _, err := f.GetCombinedStatus(fleetOwner, fleetRepository, head.Commit)
	if err != nil || len(combined.Statuses) != 1 || combined.Statuses[0].Context != reviewed.Context {
		f.Fatalf("the statuses are %+v, %v; want one, %s", combined, err, reviewed.Context)
	}
	comment := f.comment(number)
	if link := reportLink(comment); link == "" || combined.Statuses[0].TargetURL != link {
		f.Errorf("the status links to %q, and the comment to %q", combined.Statuses[0].TargetURL, link)
	}
	for _, text := range description {
		if !strings.Contains(combined.Statuses[0].Description, text) {
			f.Errorf("the status says %q, not %q", combined.Statuses[0].Description, text)
		}
	}
	missing := false
	for _, text := range texts {
		if !strings.Contains(comment.Body, text) {
			missing = true
			f.Errorf("the comment does not say %q", text)
		}
	}
	if missing {
		f.Logf("the comment is\n%s", comment.Body)
	}
	return comment
}

// in is the forge for a subtest, with a checkout of its own branches.
func (f *forge) in(t *testing.T) *forge {
	w := *f.world
	w.T = t
	one := *f
	one.world = &w
	return &one
}

// as is a user of the forge with a permission on the fleet's repository.
func (f *forge) as(name, permission string) *forge {
	f.Helper()
	admin, err := f.Admin()
	if err != nil {
		f.Fatal(err)
	}
	f.user, f.password = name, "only-in-this-test"
	for _, err := range []error{
		admin.EnsureUser(f.Context(), f.user, f.password),
		admin.Share(f.Context(), fleetOwner, fleetRepository, f.user, permission),
	} {
		if err != nil {
			f.Fatal(err)
		}
	}
	if f.Client, err = gitea.NewClient(f.url, gitea.SetBasicAuth(f.user, f.password), gitea.SetContext(f.Context())); err != nil {
		f.Fatal(err)
	}
	return f
}
