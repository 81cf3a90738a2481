package attacks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/config/rbac"
	"github.com/aetherplatform/aether/internal/testenv"
	"github.com/aetherplatform/aether/policies"
)

// Identities. Certificates stand for tokens: the API server sees the same user.
const (
	operatorUser   = "system:serviceaccount:" + v1alpha1.SystemNamespace + ":namespace-operator"
	controllerUser = "system:serviceaccount:" + v1alpha1.SystemNamespace + ":cluster-controller"
	clusterAdmin   = "root@example.com"     // in system:masters: RBAC refuses nothing
	platformUser   = "platform@example.com" // bound to aether-platform-admin
	tenantAdmin    = "alice@example.com"    // in acme-admins, the owners of tenant acme
	tenantEditor   = "bob@example.com"      // editor of tenant acme's namespaces
	tenantViewer   = "carol@example.com"    // viewer of them
	intruder       = "mallory@example.com"  // bound to cluster-admin, in one tenant's namespace only
)

var (
	env   *testenv.Env
	count atomic.Int64
)

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	testenv.Main(m, &env)
}

// world is a cluster with Aether's policies and RBAC, and two tenants.
type world struct {
	*testenv.Env
	uids map[string]string // of the Tenants, by name

	mu      sync.Mutex
	clients map[string]client.WithWatch
}

var shared struct {
	sync.Once
	*world
}

// newWorld returns the world that the tests of this package share. Tests stay
// apart by using namespaces of their own.
func newWorld(t *testing.T) *world {
	t.Helper()
	shared.Do(func() {
		w := buildWorld(t, env)
		w.StartControllerManager(t)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := policies.Install(ctx, w.Client); err != nil {
			t.Fatal(err)
		}
		shared.world = w
	})
	if shared.world == nil {
		t.Fatal("the world could not be built; the first test says why")
	}
	return shared.world
}

// buildWorld makes all of the world but the policies.
func buildWorld(t *testing.T, e *testenv.Env) *world {
	t.Helper()
	w := &world{Env: e, uids: map[string]string{}, clients: map[string]client.WithWatch{}}
	for _, name := range []string{v1alpha1.SystemNamespace, "flux-system", "plain"} {
		w.must(t, w.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}))
	}
	for _, o := range manifests(t, rbac.FS, "namespace-operator.yaml", "cluster-controller.yaml", "people.yaml") {
		w.must(t, w.Client.Create(t.Context(), o))
	}
	w.must(t, w.Client.Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "platform"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "aether-platform-admin"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: platformUser}},
	}))
	for _, name := range []string{"acme", "globex"} {
		tenant := &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: name}}
		w.must(t, w.Client.Create(t.Context(), tenant))
		w.uids[name] = string(tenant.UID)
	}
	return w
}

// as is a client of one of the identities, or of "<namespace>:<service account>".
func (w *world) as(t *testing.T, identity string) client.WithWatch {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if c, ok := w.clients[identity]; ok {
		return c
	}
	user, groups := identity, []string{"system:authenticated"}
	switch identity {
	case clusterAdmin:
		groups = append(groups, "system:masters")
	case tenantAdmin:
		groups = append(groups, "acme-admins")
	}
	if strings.Count(identity, ":") == 1 {
		user = "system:serviceaccount:" + identity
	}
	if strings.HasPrefix(user, "system:serviceaccount:") {
		groups = append(groups, "system:serviceaccounts", "system:serviceaccounts:"+strings.Split(user, ":")[2])
	}
	c := w.ClientAs(t, user, groups...)
	w.clients[identity] = c
	return c
}

// operator is the client of the namespace operator, with its RBAC and no more.
func (w *world) operator(t *testing.T) client.WithWatch { return w.as(t, operatorUser) }

// namespace makes a namespace of a tenant as the operator does: sealed, filled,
// opened. Everything is done under the operator's own RBAC and policies, so each
// test that calls it is a control for them.
func (w *world) namespace(t *testing.T, tenant string) *corev1.Namespace {
	t.Helper()
	ns := w.sealedNamespace(t, tenant)
	ns.Labels[v1alpha1.LabelSealed] = "false"
	w.apply(t, w.operator(t), ns)
	return ns
}

// sealedNamespace is a namespace that is filled and not yet opened.
func (w *world) sealedNamespace(t *testing.T, tenant string) *corev1.Namespace {
	t.Helper()
	ns := w.bareNamespace(t, tenant)
	for _, o := range children(t, tenant, ns.Name) {
		w.apply(t, w.operator(t), o)
	}
	return ns
}

// bareNamespace is a namespace as it is born.
func (w *world) bareNamespace(t *testing.T, tenant string) *corev1.Namespace {
	t.Helper()
	ns := w.born(t, tenant, fmt.Sprintf("%s-n%d", tenant, count.Add(1)))
	w.apply(t, w.operator(t), ns)
	return ns
}

// intrude gives the intruder every right in one namespace, as some guides do for
// their tenants: what is refused to it there, no role can give.
func (w *world) intrude(t *testing.T, namespace string) client.WithWatch {
	t.Helper()
	w.must(t, w.Client.Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "intruder", Namespace: namespace},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: intruder}},
	}))
	c := w.as(t, intruder)
	testenv.Eventually(t, func(ctx context.Context) error { // until the authorizer has seen it
		return c.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "probe-", Namespace: namespace}}, client.DryRunAll)
	})
	return c
}

// grantRule binds a user to a rule in the whole cluster, and returns once the
// authorizer knows.
func (w *world) grantRule(t *testing.T, user string, rule rbacv1.PolicyRule) client.WithWatch {
	t.Helper()
	name := fmt.Sprintf("grant-%d", count.Add(1))
	w.must(t, w.Client.Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: []rbacv1.PolicyRule{rule}}))
	w.must(t, w.Client.Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: user}},
	}))
	resource, subresource, _ := strings.Cut(rule.Resources[0], "/")
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user,
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Group: rule.APIGroups[0], Resource: resource, Subresource: subresource, Verb: rule.Verbs[0],
			Name: strings.Join(rule.ResourceNames, ""),
		},
	}}
	testenv.Eventually(t, func(ctx context.Context) error {
		r := review.DeepCopy()
		if err := w.Client.Create(ctx, r); err != nil {
			return err
		}
		if !r.Status.Allowed {
			return fmt.Errorf("%s may not yet %s %s", user, rule.Verbs[0], rule.Resources[0])
		}
		return nil
	})
	return w.as(t, user)
}

// apply is a server-side apply under the operator's field owner.
func (w *world) apply(t *testing.T, c client.Client, o client.Object) {
	t.Helper()
	testenv.Eventually(t, func(ctx context.Context) error {
		err := apply(ctx, c, o)
		if apierrors.IsForbidden(err) && strings.Contains(err.Error(), "RBAC") {
			t.Fatal(err)
		}
		return err
	})
}

func apply(ctx context.Context, c client.Client, o client.Object, opts ...client.ApplyOption) error {
	u, err := applied(c, o)
	if err != nil {
		return err
	}
	opts = append([]client.ApplyOption{client.FieldOwner(v1alpha1.FieldOwnerNamespace), client.ForceOwnership}, opts...)
	return c.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), opts...)
}

// applied is an object as it is sent to be applied.
func applied(c client.Client, o client.Object) (*unstructured.Unstructured, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, err
	}
	gvk, err := apiutil.GVKForObject(o, c.Scheme())
	if err != nil {
		return nil, err
	}
	u := &unstructured.Unstructured{Object: runtime.DeepCopyJSON(content)}
	u.SetGroupVersionKind(gvk)
	u.SetManagedFields(nil)
	u.SetResourceVersion("")
	unstructured.RemoveNestedField(u.Object, "metadata", "creationTimestamp")
	unstructured.RemoveNestedField(u.Object, "status")
	return u, nil
}

// refuses asserts that an attempt is refused with a message that holds want (one
// of several, separated by "|"), and that the object it aims at, when there is
// one, is as it was.
func (w *world) refuses(t *testing.T, target client.Object, want string, attempt func(ctx context.Context) error) {
	t.Helper()
	before := w.read(t, target)
	err := attempt(t.Context())
	switch {
	case err == nil:
		t.Errorf("was not refused")
	case !apierrors.IsForbidden(err) && !apierrors.IsInvalid(err):
		t.Errorf("failed for another reason than a refusal: %v", err)
	case !slices.ContainsFunc(strings.Split(want, "|"), func(w string) bool { return strings.Contains(err.Error(), w) }):
		t.Errorf("was refused with\n\t%v\nwhich does not say %q", err, want)
	}
	if diff := cmp.Diff(before, w.read(t, target)); diff != "" {
		t.Errorf("the refused attempt changed %s (-before +after):\n%s", target.GetName(), diff)
	}
}

// changesNothing asserts that an attempt, refused or not, has no effect.
func (w *world) changesNothing(t *testing.T, target client.Object, attempt func(ctx context.Context) error) {
	t.Helper()
	before := w.read(t, target)
	err := attempt(t.Context())
	if diff := cmp.Diff(before, w.read(t, target)); diff != "" {
		t.Errorf("the attempt (error: %v) changed %s (-before +after):\n%s", err, target.GetName(), diff)
	}
}

// read is an object without what changes by itself; nil when it is not there.
func (w *world) read(t *testing.T, o client.Object) map[string]any {
	t.Helper()
	gvk, err := apiutil.GVKForObject(o, w.Scheme)
	w.must(t, err)
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(gvk)
	err = w.Client.Get(t.Context(), client.ObjectKeyFromObject(o), u)
	if apierrors.IsNotFound(err) || o.GetName() == "" {
		return nil
	}
	w.must(t, err)
	u.SetManagedFields(nil)
	u.SetResourceVersion("")
	delete(u.Object, "status")
	return u.Object
}

// allows is the control beside an attack.
func (w *world) allows(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("the legitimate neighbour of the attack is refused: %v", err)
	}
}

func (w *world) must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// object is an unstructured object, for what a test writes as data.
func object(gvk schema.GroupVersionKind, namespace, name string, fields map[string]any) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{}}
	for k, v := range fields {
		u.Object[k] = v
	}
	u.SetGroupVersionKind(gvk)
	u.SetNamespace(namespace)
	u.SetName(name)
	return u
}

func manifests(t *testing.T, files fs.FS, names ...string) []*unstructured.Unstructured {
	t.Helper()
	var objects []*unstructured.Unstructured
	for _, name := range names {
		data, err := fs.ReadFile(files, name)
		if err != nil {
			t.Fatal(err)
		}
		decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096)
		for {
			o := &unstructured.Unstructured{}
			err := decoder.Decode(o)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			objects = append(objects, o)
		}
	}
	return objects
}

// errNotYet is what a poll returns until it is so.
var errNotYet = errors.New("not yet")
