package access

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openbao/openbao/api/v2"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/openbao"
	"github.com/aetherplatform/aether/internal/openbao/openbaotest"
	"github.com/aetherplatform/aether/internal/testenv"
)

var env *testenv.Env

func TestMain(m *testing.M) { testenv.Main(m, &env) }

const (
	cluster      = "c0ffee00-0000-4000-8000-000000000001"
	otherCluster = "c0ffee00-0000-4000-8000-000000000002"

	firstLife  = types.UID("11111111-0000-4000-8000-000000000000")
	secondLife = types.UID("22222222-0000-4000-8000-000000000000")

	// canary is in every value; nothing may ever show it.
	canary = "canary-5f2b8c"
)

// world is an OpenBao that trusts the API server, and whose administrator has
// installed what config/openbao holds.
type world struct {
	*testing.T
	bao *openbaotest.Server
	*clock
	access *Access

	mu    sync.Mutex
	asked int // tokens of namespaces' service accounts
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, bao: openbaotest.Start(t), clock: &clock{now: time.Now()}}
	w.bao.TrustCluster(t, env)
	w.bao.AdmitOperator(t)
	w.account(v1alpha1.SystemNamespace, "namespace-operator")
	w.access = w.newAccess(nil)
	return w
}

// newAccess is the Access of an operator in this cluster, unless told otherwise.
func (w *world) newAccess(change func(*Options)) *Access {
	w.Helper()
	opts := Options{
		ClusterID:    cluster,
		TokenRequest: w.requestToken,
		Now:          w.Now,
		Client:       openbao.Options{Rate: 10_000, Burst: 10_000, Timeout: 10 * time.Second},
	}
	if change != nil {
		change(&opts)
	}
	a, err := New(opts)
	if err != nil {
		w.Fatal(err)
	}
	return a
}

func ofCluster(id string) func(*Options) { return func(o *Options) { o.ClusterID = id } }

func (w *world) requestToken(ctx context.Context, namespace, account, audience string, ttl time.Duration) (string, error) {
	if account == v1alpha1.SecretSyncAccount {
		w.mu.Lock()
		w.asked++
		w.mu.Unlock()
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		Audiences: []string{audience}, ExpirationSeconds: ptr.To(int64(ttl.Seconds())),
	}}
	of := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: account}}
	err := env.Client.SubResource("token").Create(ctx, of, request)
	return request.Status.Token, err
}

// logins is how often a namespace has logged in.
func (w *world) logins() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked
}

// account makes a service account, and its namespace.
func (w *world) account(namespace, name string) {
	w.Helper()
	for _, o := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}},
	} {
		if err := env.Client.Create(w.Context(), o); client.IgnoreAlreadyExists(err) != nil {
			w.Fatal(err)
		}
	}
}

func (w *world) connection() openbao.Connection {
	return openbao.Connection{Address: w.bao.Address, CA: string(w.bao.CA)}
}

// subject is a namespace of a tenant in its first life, at the path of its name.
func (w *world) subject(namespace, tenant string, changes ...func(*Subject)) Subject {
	w.Helper()
	w.account(namespace, v1alpha1.SecretSyncAccount)
	s := Subject{
		Connection: w.connection(), Tenant: tenant, TenantUID: firstLife, Namespace: namespace,
		NamespaceUID: types.UID("uid-of-" + namespace), Mount: "secret", Path: tenant,
	}
	for _, change := range changes {
		change(&s)
	}
	return s
}

func generates(s *Subject)              { s.Generate = true }
func inSecondLife(s *Subject)           { s.TenantUID = secondLife }
func at(path string) func(*Subject)     { return func(s *Subject) { s.Path = path } }
func secret(path string) map[string]any { return map[string]any{"password": canary + " of " + path} }

// put writes a secret whose value says where it is.
func (w *world) put(paths ...string) {
	w.Helper()
	for _, path := range paths {
		w.bao.Put(w, path, secret(path))
	}
}

func (w *world) session(s Subject) *Session {
	w.Helper()
	session, err := w.access.Session(w.Context(), s)
	if err != nil {
		w.Fatalf("no session for %s: %v", s.Namespace, err)
	}
	return session
}

func (w *world) keeps(s Subject) {
	w.Helper()
	if err := w.access.Keep(w.Context(), s); err != nil {
		w.Errorf("cannot keep what %s has: %v", s.Namespace, err)
	}
}

// reads fails unless the subject reads what put wrote.
func (w *world) reads(s Subject, path string) {
	w.Helper()
	got, err := w.session(s).Read(w.Context(), path, 0)
	if err != nil {
		w.Errorf("%s cannot read %s: %v", s.Namespace, path, err)
		return
	}
	if want := secret(s.Path + "/" + path); !maps.Equal(got.Data, want) {
		w.Errorf("%s reads something else at %s", s.Namespace, path)
	}
}

func (w *world) isKind(err error, want openbao.Kind) {
	w.Helper()
	w.silent(err)
	if openbao.KindOf(err) != want {
		w.Errorf("got %v, want %s", err, want)
	}
}

// jwt is how the base64 of a token's header begins, {"alg":. Its first letters alone
// come up in a certificate now and then.
const jwt = "eyJhbGciOi"

// silent fails if what is printed of the values shows a secret.
func (w *world) silent(values ...any) {
	w.Helper()
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			text := fmt.Sprintf(verb, v)
			for _, secret := range []string{canary, fmt.Sprintf("%x", canary), w.bao.RootToken, "hvs.", "hvb.", jwt} {
				if strings.Contains(text, secret) {
					w.Errorf("%s of %T shows a secret", verb, v)
				}
			}
		}
	}
}

// policyOf is a policy's text in OpenBao, or "".
func (w *world) policyOf(name string) string {
	w.Helper()
	text, err := w.bao.Root.Sys().GetPolicyWithContext(w.Context(), name)
	if err != nil {
		w.Fatal(err)
	}
	return text
}

// roleOf is a role in OpenBao; nil where there is none.
func (w *world) roleOf(namespace string) map[string]any {
	w.Helper()
	answer, err := w.bao.Root.Logical().ReadWithContext(w.Context(), "auth/kubernetes/role/aether-ns-"+namespace)
	if err != nil {
		w.Fatal(err)
	}
	if answer == nil {
		return nil
	}
	return answer.Data
}

func (w *world) remove(path string) {
	w.Helper()
	if _, err := w.bao.Root.Logical().DeleteWithContext(w.Context(), path); err != nil {
		w.Fatal(err)
	}
}

// custom is the custom metadata of a key.
func (w *world) custom(path string) map[string]any {
	w.Helper()
	m, err := w.bao.Root.KVv2("secret").GetMetadata(w.Context(), path)
	if errors.Is(err, api.ErrSecretNotFound) {
		return nil
	}
	if err != nil {
		w.Fatal(err)
	}
	return m.CustomMetadata
}

// served is what OpenBao let through since mark, as "<operation> <path>".
func (w *world) served(mark int) []string {
	w.Helper()
	var list []string
	for _, e := range openbaotest.Served(w.bao.AuditLog(w)[mark:]) {
		list = append(list, e.Operation+" "+e.Path)
	}
	return list
}

func (w *world) mark() int { return len(w.bao.AuditLog(w)) }

// confined fails if OpenBao served a namespace anything but what is below its
// tenant's path and its login.
func (w *world) confined(namespace, path string) {
	w.Helper()
	found := false
	for _, e := range openbaotest.Served(w.bao.AuditLog(w)) {
		if e.Metadata["role"] != openbao.RoleName(namespace) || e.Path == "auth/kubernetes/login" {
			continue
		}
		found = true
		if !slices.ContainsFunc([]string{"data", "metadata"}, func(area string) bool {
			return strings.HasPrefix(e.Path, "secret/"+area+"/"+path+"/")
		}) {
			w.Errorf("OpenBao served %s: %s %s", namespace, e.Operation, e.Path)
		}
	}
	if !found {
		w.Errorf("OpenBao served nothing to %s: is the log read rightly?", namespace)
	}
}

// clock stands until it is told to go on.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}
