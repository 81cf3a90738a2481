package render

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/render/canonical"
)

func TestANamespaceGetsWhatItAsksForAndNoMore(t *testing.T) {
	minimal := []string{
		"Namespace/acme-payments",
		"CiliumNetworkPolicy/default-deny", "NetworkPolicy/default-deny",
		"LimitRange/limits", "ResourceQuota/quota",
		"Role/admin", "Role/deploy", "RoleBinding/admin", "RoleBinding/deploy", "ServiceAccount/deploy",
	}
	tests := map[string]struct {
		why    string
		change func(*Inputs)
		add    []string
		remove []string
	}{
		"nothing but a size": {
			why:    "what isolates it is always there",
			change: func(in *Inputs) {},
		},
		"a size without limits": {
			why:    "an empty LimitRange says nothing",
			change: func(in *Inputs) { in.Namespace.Spec.Size = "large" },
			remove: []string{"LimitRange/limits"},
		},
		"an owner less": {
			why:    "a role that nobody has is not made",
			change: func(in *Inputs) { in.Tenant.Spec.Owners = nil },
			remove: []string{"Role/admin", "RoleBinding/admin"},
		},
		"a role of the profile": {
			why: "it is made with the profile's rules",
			change: func(in *Inputs) {
				in.Namespace.Spec.Access = []v1alpha1.Access{{Subject: v1alpha1.Subject{Kind: "User", Name: "a"}, Role: "oncall"}}
			},
			add: []string{"Role/oncall", "RoleBinding/oncall"},
		},
		"rules": {
			why: "only then is there something to open",
			change: func(in *Inputs) {
				in.Namespace.Spec.Network.Ingress = []v1alpha1.IngressRule{{From: []v1alpha1.IngressSource{{Namespace: "acme-web"}}}}
			},
			add: []string{"CiliumNetworkPolicy/tenant-rules"},
		},
		"a rule for a peer that has not agreed": {
			why: "a policy that names nobody opens the namespace to everybody",
			change: func(in *Inputs) {
				in.Namespace.Spec.Network.Ingress = []v1alpha1.IngressRule{{From: []v1alpha1.IngressSource{{Tenant: "initech", Namespace: "initech-web"}}}}
			},
		},
		"GitOps": {
			why:    "the hand-over is a source and what applies it",
			change: func(in *Inputs) { in.Namespace.Spec.GitOps = &v1alpha1.GitOps{URL: "https://git.example.com/a/b"} },
			add:    []string{"GitRepository/app", "Kustomization/app"},
		},
		"a cordon": {
			why:    "everyone who had a role is a viewer, and nothing deploys",
			change: func(in *Inputs) { in.Cordoned = true },
			add:    []string{"Role/viewer", "RoleBinding/viewer"},
			remove: []string{"Role/admin", "RoleBinding/admin", "RoleBinding/deploy"},
		},
		"a cordoned tenant": {
			why:    "its namespaces are",
			change: func(in *Inputs) { in.Tenant.Spec.Cordoned = true },
			add:    []string{"Role/viewer", "RoleBinding/viewer"},
			remove: []string{"Role/admin", "RoleBinding/admin", "RoleBinding/deploy"},
		},
	}
	template := mustCompile(t, "profiles/default")
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in := example(t)
			in.Namespace.Spec.Access = nil
			in.Namespace.Spec.Network = v1alpha1.NamespaceNetwork{}
			in.Namespace.Spec.GitOps = nil
			tt.change(&in)

			want := slices.DeleteFunc(slices.Concat(minimal, tt.add), func(id string) bool { return slices.Contains(tt.remove, id) })
			got := ids(mustRender(t, template, in))
			slices.Sort(want)
			slices.Sort(got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.why, diff)
			}
		})
	}
}

func TestWhatIsolatesComesBeforeWhatRuns(t *testing.T) {
	objects := mustRender(t, mustCompile(t, "profiles/default"), example(t))
	last := -1
	for _, o := range objects {
		gvk := o.GroupVersionKind()
		if r := rank(gvk.Group, gvk.Kind); r < last {
			t.Fatalf("%s is out of order: %v", o.GetName(), ids(objects))
		} else {
			last = r
		}
	}
	isolation := slices.DeleteFunc(slices.Clone(objects), func(o *unstructured.Unstructured) bool { return !IsIsolation(o) })
	want := []string{"CiliumNetworkPolicy/default-deny", "CiliumNetworkPolicy/tenant-rules", "NetworkPolicy/default-deny", "LimitRange/limits", "ResourceQuota/quota"}
	if diff := cmp.Diff(want, ids(isolation)); diff != "" {
		t.Error(diff)
	}
}

func TestOverridesReachTheObjects(t *testing.T) {
	p := parse[v1alpha1.NamespaceProfile](t, profileYAML)
	p.Spec.Overridable = []v1alpha1.Overridable{v1alpha1.OverrideQuota, v1alpha1.OverridePodSecurity}
	template, err := Compile(p, EmbeddedBase())
	if err != nil {
		t.Fatal(err)
	}
	in := example(t)
	in.Namespace.Spec.Overrides = &v1alpha1.Overrides{
		Quota:       corev1.ResourceList{"pods": resource.MustParse("30")},
		PodSecurity: v1alpha1.PodSecurityBaseline,
	}
	objects := mustRender(t, template, in)
	if got := field(t, find(t, objects, "ResourceQuota", "quota"), "spec", "hard", "pods"); got != "30" {
		t.Errorf("pods: got %v, want 30", got)
	}
	if got := field(t, find(t, objects, "Namespace", "acme-payments"), "metadata", "labels", "pod-security.kubernetes.io/enforce"); got != "baseline" {
		t.Errorf("enforce: got %v, want baseline", got)
	}
	again := mustRender(t, template, example(t))
	if got := field(t, find(t, again, "ResourceQuota", "quota"), "spec", "hard", "pods"); got != "20" {
		t.Errorf("the override of one namespace reached the next: pods: %v", got)
	}
}

func TestASpecThatCannotBeRenderedSaysWhichField(t *testing.T) {
	tests := map[string]struct {
		change func(*Inputs)
		want   string
	}{
		"a size": {
			func(in *Inputs) { in.Namespace.Spec.Size = "huge" },
			`spec.size: "huge" is not a size of profile "default"; use large, small`,
		},
		"a role": {
			func(in *Inputs) { in.Namespace.Spec.Access[0].Role = "owner" },
			`spec.access[0].role: "owner" is not a role of profile "default"; use admin, editor, viewer, oncall`,
		},
		"an owner of Kubernetes' own": {
			func(in *Inputs) { in.Tenant.Spec.Owners[0].Name = "system:masters" },
			`Tenant "acme": spec.owners[0]: name: "system:masters": names that begin with 'system:' belong to Kubernetes; name a user or group of your identity provider`,
		},
		"a label of the platform's": {
			func(in *Inputs) {
				in.Namespace.Spec.Labels = map[string]string{"pod-security.kubernetes.io/enforce": "privileged"}
			},
			`spec.labels: "pod-security.kubernetes.io/enforce": keys of kubernetes.io are set by the platform; use a prefix of your own, such as example.com/team`,
		},
		"an address of a cloud": {
			func(in *Inputs) { in.Namespace.Spec.Network.Egress[0].To[1].CIDR = "169.254.169.254/32" },
			`spec.network.egress[0].to[1].cidr: "169.254.169.254/32" is link-local, where clouds keep their metadata services; it is never opened`,
		},
	}
	template := mustCompile(t, "profiles/default")
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in := example(t)
			tt.change(&in)
			if _, err := template.Render(in); err == nil || err.Error() != tt.want {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

func TestTheTenantCannotTakeTheProfilesLabels(t *testing.T) {
	in := example(t)
	in.Namespace.Spec.Labels = map[string]string{"cost-center": "mine", "example.com/team": "pay"}
	labels := field(t, find(t, mustRender(t, mustCompile(t, "profiles/default"), in), "Namespace", "acme-payments"), "metadata", "labels").(map[string]any)
	if labels["cost-center"] != "shared" || labels["example.com/team"] != "pay" {
		t.Errorf("got %v", labels)
	}
}

func TestTheDigestIsOfTheContent(t *testing.T) {
	template := mustCompile(t, "profiles/default")
	objects := mustRender(t, template, example(t))

	for _, o := range objects {
		if got, want := annotation(o, v1alpha1.AnnotationDigest), DigestOf(o); got != want {
			t.Errorf("%s %s: the template wrote %s, its content gives %s", o.GetKind(), o.GetName(), got, want)
		}
		data, err := json.Marshal(o.Object)
		if err != nil {
			t.Fatal(err)
		}
		read := &unstructured.Unstructured{}
		if err := read.UnmarshalJSON(data); err != nil {
			t.Fatal(err)
		}
		if got, want := DigestOf(read), DigestOf(o); got != want {
			t.Errorf("%s %s: sent and read again its digest is another", o.GetKind(), o.GetName())
		}
	}

	moved := example(t)
	moved.Source = Source{Revision: "main@sha1:fedcba", Path: "acme/moved.yaml:99"}
	changed := example(t)
	changed.Namespace.Spec.Access[0].Name = "other@example.com"
	if diff := cmp.Diff(digests(objects), digests(mustRender(t, template, moved))); diff != "" {
		t.Errorf("a line that moved changed digests:\n%s", diff)
	}
	if before, after := digests(objects), digests(mustRender(t, template, changed)); before["RoleBinding/editor"] == after["RoleBinding/editor"] {
		t.Error("another subject left the digest as it was")
	}
}

func digests(objects []*unstructured.Unstructured) map[string]string {
	out := map[string]string{}
	for _, o := range objects {
		out[o.GetKind()+"/"+o.GetName()] = annotation(o, v1alpha1.AnnotationDigest)
	}
	return out
}

func TestTwoTreesNeverHaveOneDigest(t *testing.T) {
	trees := []any{
		nil, "", "a", "ab", true, false, int64(0), int64(1), 1.0, []any{}, map[string]any{},
		[]any{"a", "b"}, []any{"ab"}, []any{[]any{"a"}, "b"}, []any{[]any{"a", "b"}}, []any{"a", []any{"b"}},
		map[string]any{"a": "b"}, map[string]any{"a": nil}, map[string]any{"a": map[string]any{"b": "c"}}, map[string]any{"a": map[string]any{}, "b": "c"},
		"}", []any{"}"}, []any{"s\x01a"}, "s\x01a",
	}
	seen := map[string]any{}
	for _, tree := range trees {
		d := digest(canonical.Value(nil, tree))
		if other, ok := seen[d]; ok {
			t.Errorf("%#v and %#v have one digest", tree, other)
		}
		seen[d] = tree
	}
}

func TestObjectsMayBeLabelledWithoutReachingOthers(t *testing.T) {
	template := mustCompile(t, "profiles/default")
	want := asYAML(t, mustRender(t, template, example(t)))
	for _, o := range mustRender(t, template, example(t)) {
		metadata := o.Object["metadata"].(map[string]any)
		metadata["labels"].(map[string]any)["added"] = "x"
		metadata["annotations"].(map[string]any)["added"] = "x"
		metadata["added"] = "x"
		o.Object["added"] = "x"
	}
	if got := asYAML(t, mustRender(t, template, example(t))); !bytes.Equal(want, got) {
		t.Error("what was added to objects is in the next render")
	}
}

func TestTwoCompilationsRenderTheSameBytes(t *testing.T) {
	want := asYAML(t, mustRender(t, mustCompile(t, "profiles/default"), example(t)))
	for range 5 {
		if got := asYAML(t, mustRender(t, mustCompile(t, "profiles/default"), example(t))); !bytes.Equal(want, got) {
			t.Fatal(cmp.Diff(string(want), string(got)))
		}
	}
}

// Text of a tenant's, whatever it holds, is a value: it never adds, removes or
// renames a field, and never is evaluated.
func FuzzRender(f *testing.F) {
	for _, seed := range []string{
		"x", "${tenant.name}", "$${", "a: b", "\n- x", "{{", "*/*", "'", "\"", "}", "null", "true", "&a", "*a", "<<", "---", "\x00", "é", "../..", "system:masters",
	} {
		f.Add(seed)
	}
	template := mustCompile(f, "profiles/default")
	shapes := map[string]string{}
	for _, o := range mustRender(f, template, fuzzed(f, "plain")) {
		shapes[o.GetKind()+"/"+o.GetName()] = shape(o.Object)
	}
	f.Fuzz(func(t *testing.T, text string) {
		objects, err := template.Render(fuzzed(t, text))
		if err != nil {
			return // refused, which changes nothing
		}
		if len(objects) != len(shapes) {
			t.Fatalf("%q made %v", text, ids(objects))
		}
		for _, o := range objects {
			if got, want := shape(o.Object), shapes[o.GetKind()+"/"+o.GetName()]; got != want {
				t.Errorf("%q changed the shape of %s %s:\n%s\n%s", text, o.GetKind(), o.GetName(), want, got)
			}
			if annotation(o, v1alpha1.AnnotationDigest) != DigestOf(o) {
				t.Errorf("%q: the digest of %s is not that of its content", text, o.GetName())
			}
		}
		if got := field(t, find(t, objects, "RoleBinding", "editor"), "subjects", 0, "name"); got != text {
			t.Errorf("the subject %q became %q", text, got)
		}
	})
}

// fuzzed has the text in every field that takes free text.
func fuzzed(t testing.TB, text string) Inputs {
	in := example(t)
	in.Tenant.Spec.DisplayName = text
	in.Namespace.Spec.Annotations = map[string]string{"example.com/a": text}
	in.Namespace.Spec.Labels = map[string]string{"example.com/l": text}
	in.Namespace.Spec.Access[0].Name = text
	in.Namespace.Spec.GitOps.URL = text
	in.Namespace.Spec.GitOps.Path = text
	in.Namespace.Spec.GitOps.Branch = "b" + text
	in.Namespace.Spec.GitOps.Path = "p" + text
	in.Namespace.Spec.GitOps.SecretName = "s" + text
	in.Source.Path = "p" + text
	return in
}

// shape is a tree with its fields, types and lengths, and no values.
func shape(v any) string {
	switch v := v.(type) {
	case map[string]any:
		fields := make([]string, 0, len(v))
		for k, item := range v {
			fields = append(fields, k+":"+shape(item))
		}
		slices.Sort(fields)
		return "{" + strings.Join(fields, " ") + "}"
	case []any:
		items := make([]string, len(v))
		for i, item := range v {
			items[i] = shape(item)
		}
		return "[" + strings.Join(items, " ") + "]"
	default:
		return fmt.Sprintf("%T", v)
	}
}
