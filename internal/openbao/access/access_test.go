package access

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/openbao"
	"github.com/aetherplatform/aether/internal/openbao/openbaotest"
)

func TestANamespaceReadsBelowItsTenantsPathAndNowhereElse(t *testing.T) {
	w := newWorld(t)
	w.put("acme/db", "acme/web/api", "acme-b/db", "acme", "globex/db", "teams/x/db")
	w.bao.Write(t, "sys/mounts/other", map[string]any{"type": "kv", "options": map[string]any{"version": "2"}})
	acme := w.subject("acme-web", "acme")
	for _, s := range []Subject{acme, w.subject("acme-b-web", "acme-b"), w.subject("globex-web", "globex"), w.subject("x-web", "x", at("teams/x"))} {
		w.reads(s, "db")
	}
	w.reads(acme, "web/api")

	session := w.session(acme)
	token := session.login.Load().token
	for _, path := range []string{"acme-b/db", "globex/db", "teams/x/db", "acme", "acme-b"} {
		_, err := session.client.Read(t.Context(), token, "secret", path, 0)
		w.isKind(err, openbao.Denied)
		_, err = session.client.Metadata(t.Context(), token, "secret", path)
		w.isKind(err, openbao.Denied)
	}
	_, err := session.client.Read(t.Context(), token, "other", "acme/db", 0)
	w.isKind(err, openbao.Denied)
	_, err = session.client.Create(t.Context(), token, "secret", "acme/new", secret("acme/new"))
	w.isKind(err, openbao.Denied)
	_, err = session.client.Policies(t.Context(), token)
	w.isKind(err, openbao.Denied)
	_, err = session.client.ReadRole(t.Context(), token, "aether-ns-acme-web")
	w.isKind(err, openbao.Denied)
	w.isKind(session.client.SetCustom(t.Context(), token, "secret", "acme", "aether-"+cluster, "acme/"+string(secondLife)), openbao.Denied)

	jwt, err := w.requestToken(t.Context(), "acme-web", v1alpha1.SecretSyncAccount, openbao.DefaultAudience, accountTTL)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := w.bao.Login(t, "aether-ns-acme-web", jwt)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"secret/metadata/acme", "secret/metadata", "sys/policies/acl", "auth/token/accessors"} {
		if _, err := raw.Logical().ListWithContext(t.Context(), path); err == nil {
			t.Errorf("a namespace lists %s", path)
		}
	}

	w.confined("acme-web", "acme")
	w.confined("acme-b-web", "acme-b")
	w.confined("x-web", "teams/x")
}

func TestAPathThatIsNotPlainIsNeverSent(t *testing.T) {
	w := newWorld(t)
	w.put("acme/db", "globex/db")
	session := w.session(w.subject("acme-web", "acme"))
	mark := w.mark()
	for _, path := range []string{
		"../globex/db", "x/../../globex/db", "..", ".", "", "/", "/globex/db", "db/", "a//b", "%2e%2e/globex/db", "..%2fglobex/db",
		"*", "+/db", "db?version=1", "db#x", "db\x00", "db\n", "ｄb", "..\\globex", "а/db",
	} {
		_, err := session.Read(t.Context(), path, 0)
		w.isKind(err, openbao.Invalid)
		_, err = session.Metadata(t.Context(), path)
		w.isKind(err, openbao.Invalid)
		_, err = session.Create(t.Context(), path, secret(path))
		w.isKind(err, openbao.Invalid)
	}
	if got := w.served(mark); len(got) > 0 || w.mark() != mark {
		t.Errorf("OpenBao was asked: %v", got)
	}
	for _, bad := range []func(*Subject){at("../globex"), at("acme/*"), at("+"), at(""), func(s *Subject) { s.Mount = "secret/data/globex\" {" }} {
		_, err := w.access.Session(t.Context(), w.subject("acme-web", "acme", bad))
		if err == nil {
			t.Error("a subject with a path that is not plain has a session")
		}
	}
}

func TestAStolenNamespaceNameGetsNothingOfItsFormerTenant(t *testing.T) {
	w := newWorld(t)
	w.put("acme/db", "globex/db")
	before := w.subject("web", "acme")
	w.reads(before, "db")
	old := w.session(before)

	mark := w.mark()
	after := w.subject("web", "globex", func(s *Subject) { s.NamespaceUID = "another" })
	w.reads(after, "db")
	var order []string
	for _, e := range w.served(mark) {
		if strings.HasPrefix(e, "update auth/") {
			order = append(order, e)
		}
	}
	if diff := cmp.Diff([]string{"update auth/kubernetes/role/aether-ns-web", "update auth/kubernetes/login"}, order); diff != "" {
		t.Errorf("the name was not bound anew before anyone logged in (-want +got):\n%s", diff)
	}
	_, err := w.session(after).client.Read(t.Context(), w.session(after).login.Load().token, "secret", "acme/db", 0)
	w.isKind(err, openbao.Denied)

	// What is left of the former session cannot bind the name back, forgotten or not.
	w.access.Forget(after)
	w.reads(after, "db")
	w.remove("sys/policies/acl/" + openbao.PolicyName("acme", firstLife))
	_, err = old.Read(t.Context(), "db", 0)
	w.isKind(err, openbao.Denied)
	if got := fmt.Sprint(w.roleOf("web")["token_policies"]); got != "["+openbao.PolicyName("globex", firstLife)+"]" {
		t.Errorf("the role has the policies %s", got)
	}
}

func TestATenantMadeAnewDoesNotInherit(t *testing.T) {
	w := newWorld(t)
	w.put("acme/db")
	first := w.subject("acme-web", "acme")
	w.reads(first, "db")
	w.access.Forget(first)
	if _, err := w.access.Sweep(t.Context(), w.connection(), nil); err != nil {
		t.Fatal(err)
	}

	second := w.subject("acme-web", "acme", inSecondLife)
	_, err := w.access.Session(t.Context(), second)
	w.isKind(err, openbao.Taken)
	want := "path secret/acme in OpenBao belongs to an earlier tenant acme (UID " + string(firstLife) +
		"); move its secrets away, or give them to this one: bao kv metadata delete -mount=secret acme"
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
	if w.policyOf(openbao.PolicyName("acme", secondLife)) != "" || w.roleOf("acme-web") != nil {
		t.Error("something was granted")
	}

	w.remove("secret/metadata/acme") // as the message says
	w.reads(second, "db")
}

func TestASecretAtThePathItselfIsNotDeletedToGiveThePathAway(t *testing.T) {
	w := newWorld(t)
	w.put("acme", "acme/db")
	w.reads(w.subject("acme-web", "acme"), "db")
	_, err := w.access.Session(t.Context(), w.subject("acme-web", "acme", inSecondLife))
	w.isKind(err, openbao.Taken)
	want := "path secret/acme in OpenBao belongs to an earlier tenant acme (UID " + string(firstLife) +
		"); move its secrets away, or give them to this one: bao kv metadata patch -mount=secret -remove-custom-metadata=aether-" + cluster + " acme"
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
}

func TestATenantIsTheSameInAllClusters(t *testing.T) {
	w := newWorld(t)
	w.put("acme/db")
	w.reads(w.subject("acme-web", "acme"), "db")

	other := w.newAccess(ofCluster(otherCluster))
	if _, err := other.Session(t.Context(), w.subject("acme-web", "acme", inSecondLife)); err != nil {
		t.Errorf("the tenant in another cluster: %v", err)
	}
	want := map[string]any{"aether-" + cluster: "acme/" + string(firstLife), "aether-" + otherCluster: "acme/" + string(secondLife)}
	if diff := cmp.Diff(want, w.custom("acme")); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}

	_, err := other.Session(t.Context(), w.subject("globex-web", "globex", at("acme")))
	w.isKind(err, openbao.Taken)
	wantMessage := "path secret/acme in OpenBao belongs to tenant acme (UID " + string(firstLife) + ") of cluster " + cluster +
		"; choose another path, or, if it is not used any more: bao kv metadata delete -mount=secret acme"
	if diff := cmp.Diff(wantMessage, err.Error()); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
}

func TestNoTenantsPathIsAroundAnothers(t *testing.T) {
	for name, c := range map[string]struct {
		first, second string
		want          string
	}{
		"the inner one first": {
			first: "teams/acme/prod", second: "teams",
			want: "path secret/teams in OpenBao has paths of tenant acme (UID " + string(firstLife) +
				") below it; choose another path, or, if nobody uses them any more: bao kv metadata delete -mount=secret teams",
		},
		"the outer one first": {
			first: "teams", second: "teams/globex",
			want: "path secret/teams/globex in OpenBao is below secret/teams, which belongs to tenant acme (UID " + string(firstLife) +
				"); choose another path, or, if it is not used any more: bao kv metadata delete -mount=secret teams",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.put(c.first + "/db")
			w.reads(w.subject("acme-web", "acme", at(c.first)), "db")
			_, err := w.access.Session(t.Context(), w.subject("globex-web", "globex", at(c.second)))
			w.isKind(err, openbao.Taken)
			if diff := cmp.Diff(c.want, err.Error()); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
			w.access = w.newAccess(nil)
			w.reads(w.subject("acme-web", "acme", at(c.first)), "db") // nobody stands in its way now
		})
	}

	t.Run("beside each other they do not disturb", func(t *testing.T) {
		w := newWorld(t)
		w.put("teams/acme/db", "teams/globex/db")
		w.reads(w.subject("acme-web", "acme", at("teams/acme")), "db")
		w.reads(w.subject("globex-web", "globex", at("teams/globex")), "db")
		w.access = w.newAccess(nil)
		mark := w.mark()
		w.reads(w.subject("acme-web", "acme", at("teams/acme")), "db")
		for _, e := range w.served(mark) {
			if strings.HasPrefix(e, "patch ") || strings.HasPrefix(e, "create ") {
				t.Errorf("claimed again: %s", e)
			}
		}
	})
}

func TestOfTwoClustersThatClaimAPathForTwoTenantsNotBothGetIt(t *testing.T) {
	w := newWorld(t)
	for n := range 10 {
		path := fmt.Sprintf("shared-%d", n)
		errs := make(chan error, 2)
		for tenant, id := range map[string]string{"acme": cluster, "globex": otherCluster} {
			s := w.subject(tenant+"-web", tenant, at(path))
			a := w.newAccess(ofCluster(id))
			go func() {
				_, err := a.Session(t.Context(), s)
				errs <- err
			}()
		}
		got := 0
		for range cap(errs) {
			if err := <-errs; err == nil {
				got++
			} else {
				w.isKind(err, openbao.Taken)
			}
		}
		if got > 1 {
			t.Errorf("both have %s", path)
		}
	}
}

func TestANameThatIsTakenWhileItsFormerTenantLogsInIsTheNewOnes(t *testing.T) {
	w := newWorld(t)
	w.put("acme/db", "globex/db")
	asked, goOn := make(chan struct{}, 1), make(chan struct{})
	var first sync.Once
	w.access = w.newAccess(func(o *Options) {
		o.TokenRequest = func(ctx context.Context, namespace, account, audience string, ttl time.Duration) (string, error) {
			if account == v1alpha1.SecretSyncAccount {
				first.Do(func() {
					asked <- struct{}{}
					<-goOn
				})
			}
			return w.requestToken(ctx, namespace, account, audience, ttl)
		}
	})
	before, after := w.subject("web", "acme"), w.subject("web", "globex")
	var all sync.WaitGroup
	all.Go(func() { _, _ = w.access.Session(t.Context(), before) })
	<-asked
	w.access.Forget(before)
	all.Go(func() { w.reads(after, "db") })
	close(goOn)
	all.Wait()
	if got := fmt.Sprint(w.roleOf("web")["token_policies"]); got != "["+openbao.PolicyName("globex", firstLife)+"]" {
		t.Errorf("the role has the policies %s", got)
	}
	if _, err := w.access.Session(t.Context(), after); err != nil {
		t.Error(err)
	}
}

func TestNobodyElseLogsInAsANamespace(t *testing.T) {
	w := newWorld(t)
	w.put("acme/db")
	acme := w.subject("acme-web", "acme")
	w.reads(acme, "db")
	w.account("acme-web", "default")
	w.subject("globex-web", "globex")
	client := w.session(acme).client
	for why, of := range map[string][3]string{
		"another account of the namespace": {"acme-web", "default", openbao.DefaultAudience},
		"another namespace's account":      {"globex-web", v1alpha1.SecretSyncAccount, openbao.DefaultAudience},
		"the operator's account":           {v1alpha1.SystemNamespace, "namespace-operator", openbao.DefaultAudience},
		"a token for another audience":     {"acme-web", v1alpha1.SecretSyncAccount, "vault"},
		"a token for the API server":       {"acme-web", v1alpha1.SecretSyncAccount, "https://kubernetes.default.svc"},
	} {
		jwt, err := w.requestToken(t.Context(), of[0], of[1], of[2], accountTTL)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = client.Login(t.Context(), "aether-ns-acme-web", jwt); err == nil {
			t.Errorf("%s logs in", why)
		}
		w.isKind(err, openbao.Denied)
	}
	_, err := client.Login(t.Context(), "aether-ns-acme-web", "nonsense "+canary)
	if err == nil {
		t.Error("nonsense logs in")
	}
	w.silent(err)
}

func TestOpenBaoAwayIsUnavailableAndComesBack(t *testing.T) {
	for name, c := range map[string]struct {
		leave, back func(*world)
		says        string
	}{
		"sealed": {
			leave: func(w *world) { w.bao.Seal(w) }, back: func(w *world) { w.bao.Unseal(w) },
			says: "cannot read secret/data/acme/db in OpenBao: it is sealed (503)",
		},
		"killed": {
			leave: func(w *world) { w.bao.Kill(w) }, back: func(w *world) { w.bao.Restart(w) },
			says: "cannot read secret/data/acme/db in OpenBao: the connection is refused",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.put("acme/db")
			acme := w.subject("acme-web", "acme")
			w.reads(acme, "db")
			c.leave(w)

			session := w.session(acme)
			_, err := session.Read(t.Context(), "db", 0) // it may find a connection dead
			w.isKind(err, openbao.Unavailable)
			_, err = session.Read(t.Context(), "db", 0)
			w.isKind(err, openbao.Unavailable)
			if diff := cmp.Diff(c.says, err.Error()); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
			w.pass(time.Hour)
			_, err = w.access.Session(t.Context(), acme)
			w.isKind(err, openbao.Unavailable)

			c.back(w)
			w.reads(acme, "db")
		})
	}
}

func TestOfTwoOperatorsThatCreateOneMakesTheValue(t *testing.T) {
	w := newWorld(t)
	s := w.subject("acme-web", "acme", generates)
	const each = 4
	made := make(chan string, 2*each)
	var all sync.WaitGroup
	for operator := range 2 {
		a := w.newAccess(nil)
		for n := range each {
			all.Go(func() {
				session, err := a.Session(t.Context(), s)
				if err != nil {
					t.Error(err)
					return
				}
				value := fmt.Sprintf("%s %d.%d", canary, operator, n)
				created, err := session.Create(t.Context(), "generated/db", map[string]any{"password": value})
				w.silent(err, session)
				if err != nil {
					t.Error(err)
				}
				if created {
					made <- value
				}
			})
		}
	}
	all.Wait()
	close(made)
	var values []string
	for value := range made {
		values = append(values, value)
	}
	got, err := w.session(s).Read(t.Context(), "generated/db", 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(values) != 1 || got.Data["password"] != values[0] || got.Version != 1 {
		t.Errorf("%d made a value, and version %d is there", len(values), got.Version)
	}
}

func TestWhatIsThereIsNeverCreatedAnew(t *testing.T) {
	w := newWorld(t)
	w.put("acme/db", "acme/deleted", "acme/destroyed")
	s := w.subject("acme-web", "acme", generates)
	if err := w.bao.Root.KVv2("secret").Delete(t.Context(), "acme/deleted"); err != nil {
		t.Fatal(err)
	}
	if err := w.bao.Root.KVv2("secret").Destroy(t.Context(), "acme/destroyed", []int{1}); err != nil {
		t.Fatal(err)
	}
	session := w.session(s)
	for _, path := range []string{"db", "deleted", "destroyed"} {
		created, err := session.Create(t.Context(), path, map[string]any{"password": "another"})
		if created || err != nil {
			t.Errorf("%s: created %t, %v", path, created, err)
		}
		m, err := session.Metadata(t.Context(), path)
		if err != nil || m.CurrentVersion != 1 || m.Versions[1].Created.IsZero() || m.Versions[1].Gone(time.Now()) != (path != "db") {
			t.Errorf("%s: it has version %d, %v", path, m.CurrentVersion, err)
		}
	}
	w.reads(s, "db")
	for path, what := range map[string]string{"deleted": "deleted", "destroyed": "destroyed"} {
		_, err := session.Read(t.Context(), path, 0)
		w.isKind(err, openbao.Gone)
		if want := "cannot read secret/data/acme/" + path + " in OpenBao: version 1 is " + what; err.Error() != want {
			t.Errorf("got %q, want %q", err, want)
		}
	}
	_, err := session.Read(t.Context(), "nothing", 0)
	w.isKind(err, openbao.NotFound)
	_, err = session.Metadata(t.Context(), "nothing")
	w.isKind(err, openbao.NotFound)
	_, err = session.Read(t.Context(), "db", 7)
	w.isKind(err, openbao.NotFound)
}

func TestOnlyWhoMayGenerateCreates(t *testing.T) {
	w := newWorld(t)
	_, err := w.session(w.subject("acme-web", "acme")).Create(t.Context(), "new", secret("acme/new"))
	w.isKind(err, openbao.Denied)
	created, err := w.session(w.subject("acme-web", "acme", generates)).Create(t.Context(), "new", secret("acme/new"))
	if !created || err != nil {
		t.Errorf("created %t, %v", created, err)
	}
	_, err = w.session(w.subject("acme-api", "acme")).Create(t.Context(), "newer", secret("acme/newer"))
	w.isKind(err, openbao.Denied)
}

func TestManyNamespacesAtOnceMakeOnePolicyATenant(t *testing.T) {
	const namespaces = 150
	w := newWorld(t)
	w.put("acme/db", "globex/db")
	subjects := make([]Subject, 0, namespaces)
	for i := range namespaces {
		tenant := []string{"acme", "globex"}[i%2]
		subjects = append(subjects, w.subject(fmt.Sprintf("many-%d", i), tenant))
	}
	mark := w.mark()
	var all sync.WaitGroup
	for _, s := range subjects {
		all.Go(func() { w.reads(s, "db") })
	}
	all.Wait()
	counts := map[string]int{}
	for _, e := range w.served(mark) {
		operation, path, _ := strings.Cut(e, " ")
		for _, kind := range []string{"sys/policies/acl/", "auth/kubernetes/role/", "secret/data/", "secret/metadata/"} {
			if strings.HasPrefix(path, kind) {
				counts[operation+" "+kind]++
			}
		}
	}
	want := map[string]int{
		"update sys/policies/acl/": 2, "create auth/kubernetes/role/": namespaces, "read secret/data/": namespaces,
		"create secret/metadata/": 2,
	}
	for kind, n := range want {
		if counts[kind] != n {
			t.Errorf("%s: %d, want %d: %v", kind, counts[kind], n, counts)
		}
	}
}

func TestAnUnchangedSecretCostsOneCall(t *testing.T) {
	w := newWorld(t)
	w.put("acme/db")
	acme := w.subject("acme-web", "acme")
	w.reads(acme, "db")
	mark := w.mark()
	for range 3 {
		w.pass(time.Minute)
		if _, err := w.session(acme).Metadata(t.Context(), "db"); err != nil {
			t.Error(err)
		}
	}
	want := []string{"read secret/metadata/acme/db", "read secret/metadata/acme/db", "read secret/metadata/acme/db"}
	if diff := cmp.Diff(want, w.served(mark)); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}

	w.pass(2 * time.Minute) // five are over
	mark = w.mark()
	if _, err := w.session(acme).Metadata(t.Context(), "db"); err != nil {
		t.Error(err)
	}
	want = []string{
		"read secret/metadata/acme", "read sys/policies/acl/" + openbao.PolicyName("acme", firstLife),
		"read auth/kubernetes/role/aether-ns-acme-web", "read secret/metadata/acme/db",
	}
	if diff := cmp.Diff(want, w.served(mark)); diff != "" {
		t.Errorf("requests of a confirmation (-want +got):\n%s", diff)
	}
}

func TestWhatSomebodyChangedIsPutBackAtTheNextConfirmation(t *testing.T) {
	policy, role := "sys/policies/acl/"+openbao.PolicyName("acme", firstLife), "auth/kubernetes/role/aether-ns-acme-web"
	for name, change := range map[string]func(*world){
		"a policy that reaches further": func(w *world) {
			w.bao.Write(w, policy, map[string]any{"policy": `path "secret/*" { capabilities = ["read"] }`})
		},
		"a policy that is gone": func(w *world) { w.remove(policy) },
		"a role that lets another account in": func(w *world) {
			w.bao.Write(w, role, map[string]any{"bound_service_account_names": "aether-secret-sync,default"})
		},
		"a role that lets another namespace in": func(w *world) {
			w.bao.Write(w, role, map[string]any{"bound_service_account_namespaces": "acme-web,globex-web"})
		},
		"a role with another policy": func(w *world) { w.bao.Write(w, role, map[string]any{"token_policies": "default"}) },
		"a role without an audience": func(w *world) { w.bao.Write(w, role, map[string]any{"audience": ""}) },
		"a role of service tokens with a period": func(w *world) {
			w.bao.Write(w, role, map[string]any{"token_type": "service", "token_period": "1h"})
		},
		"a role for elsewhere": func(w *world) { w.bao.Write(w, role, map[string]any{"token_bound_cidrs": "192.0.2.0/24"}) },
		"a role that is gone":  func(w *world) { w.remove(role) },
		"a claim that is gone": func(w *world) { w.remove("secret/metadata/acme") },
	} {
		for who, confirm := range map[string]func(*world, Subject){
			"where somebody logs in": func(w *world, acme Subject) { w.session(acme) },
			"where nobody does":      func(w *world, acme Subject) { w.keeps(acme) },
			"by a new process, where nobody does": func(w *world, acme Subject) {
				w.access = w.newAccess(nil)
				w.keeps(acme)
			},
		} {
			t.Run(name+", "+who, func(t *testing.T) {
				w := newWorld(t)
				w.put("acme/db")
				acme := w.subject("acme-web", "acme")
				w.reads(acme, "db")
				inOrder := []any{w.policyOf(openbao.PolicyName("acme", firstLife)), w.roleOf("acme-web"), w.custom("acme")}
				state := func() []any {
					return []any{w.policyOf(openbao.PolicyName("acme", firstLife)), w.roleOf("acme-web"), w.custom("acme")}
				}
				change(w)
				if cmp.Equal(inOrder, state()) {
					t.Fatal("nothing was changed")
				}
				w.pass(5 * time.Minute)
				mark := w.mark()
				confirm(w, acme)
				if diff := cmp.Diff(inOrder, state()); diff != "" {
					t.Errorf("not put back (-want +got):\n%s", diff)
				}
				for _, e := range openbaotest.Served(w.bao.AuditLog(w)[mark:]) {
					if who != "where somebody logs in" && e.Metadata["role"] == openbao.RoleName("acme-web") {
						t.Errorf("the namespace has logged in: %s", e.Path)
					}
				}
				w.reads(acme, "db")
			})
		}
	}
}

func TestKeepingFormerGrantsTakesNoNameFromItsNewTenant(t *testing.T) {
	w := newWorld(t)
	w.put("acme/db", "globex/db")
	before, after := w.subject("web", "acme"), w.subject("web", "globex")
	w.reads(before, "db")
	w.reads(after, "db")
	for _, then := range []func(){
		func() {},
		func() { w.pass(time.Hour) },
		func() { w.access.Forget(after) },
	} {
		then()
		w.keeps(before) // by a list of namespaces that is not the newest
		if got := fmt.Sprint(w.roleOf("web")["token_policies"]); got != "["+openbao.PolicyName("globex", firstLife)+"]" {
			t.Fatalf("the role has the policies %s", got)
		}
	}
	w.reads(after, "db")
}

func TestKeepingWhatWasSeenLatelyAsksNothing(t *testing.T) {
	w := newWorld(t)
	w.put("acme/db")
	acme := w.subject("acme-web", "acme")
	w.reads(acme, "db")
	mark := w.mark()
	w.keeps(acme)
	if asked := w.served(mark); len(asked) > 0 {
		t.Errorf("OpenBao was asked for %v", asked)
	}
}

func TestADeniedRequestConfirmsTheGrantsAtOnce(t *testing.T) {
	w := newWorld(t)
	w.put("acme/db")
	acme := w.subject("acme-web", "acme")
	session := w.session(acme)
	w.remove("sys/policies/acl/" + openbao.PolicyName("acme", firstLife))
	if _, err := session.Read(t.Context(), "db", 0); err != nil {
		t.Errorf("after its policy was removed: %v", err)
	}
	if got := w.logins(); got != 2 {
		t.Errorf("it logged in %d times, want 2", got)
	}
	// Only once: what is not its own stays denied.
	mark := w.mark()
	_, err := session.Create(t.Context(), "x", secret("acme/x"))
	w.isKind(err, openbao.Denied)
	if tries := strings.Count(fmt.Sprint(w.bao.AuditLog(t)[mark:]), `"service_account_name":"aether-secret-sync"`); tries > 20 {
		t.Errorf("a denied request made %d entries", tries)
	}
}

func TestALoginIsRenewedWhenTwoThirdsOfItsLifeAreOver(t *testing.T) {
	w := newWorld(t)
	w.put("acme/db")
	acme := w.subject("acme-web", "acme")
	w.reads(acme, "db")
	w.pass(11 * time.Minute)
	w.reads(acme, "db")
	if got := w.logins(); got != 1 {
		t.Errorf("after 11 of 20 minutes it had logged in %d times, want 1", got)
	}
	w.pass(3 * time.Minute)
	w.reads(acme, "db")
	if got := w.logins(); got != 2 {
		t.Errorf("after 14 of 20 minutes it had logged in %d times, want 2", got)
	}
}

func TestAForgottenNamespaceLogsInAnew(t *testing.T) {
	w := newWorld(t)
	w.put("acme/db")
	acme := w.subject("acme-web", "acme")
	w.reads(acme, "db")
	w.access.Forget(w.subject("acme-web", "acme", func(s *Subject) { s.NamespaceUID = "another" }))
	w.reads(acme, "db")
	if got := w.logins(); got != 1 {
		t.Errorf("it logged in %d times though another was forgotten, want 1", got)
	}
	w.access.Forget(acme)
	w.reads(acme, "db")
	if got := w.logins(); got != 2 {
		t.Errorf("it logged in %d times, want 2", got)
	}
}

func TestTheNamespacesAccountMustBeThere(t *testing.T) {
	w := newWorld(t)
	s := w.subject("acme-web", "acme")
	s.Namespace = "nowhere"
	_, err := w.access.Session(t.Context(), s)
	want := `cannot request a token of ServiceAccount nowhere/aether-secret-sync: namespaces "nowhere" not found`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %q", err, want)
	}
}

func TestWhatIsNotWantedAnyMoreIsSwept(t *testing.T) {
	w := newWorld(t)
	w.put("acme/db", "globex/db")
	acme, api, globex := w.subject("acme-web", "acme"), w.subject("acme-api", "acme", generates), w.subject("globex-web", "globex")
	for _, s := range []Subject{acme, api, globex} {
		w.reads(s, "db")
	}
	other := w.newAccess(ofCluster(otherCluster))
	if _, err := other.Session(t.Context(), w.subject("acme-web", "acme", inSecondLife)); err != nil {
		t.Fatal(err)
	}
	w.session(acme)
	w.access.Forget(acme)
	w.reads(acme, "db") // the other cluster's OpenBao mount is the same in this test
	handmade := "aether-tenant-made-by-hand"
	w.bao.Write(t, "sys/policies/acl/"+handmade, map[string]any{"policy": "# cluster: " + cluster + "\npath \"x\" { capabilities = [\"read\"] }"})
	w.bao.Write(t, "sys/policies/acl/unrelated", map[string]any{"policy": "# tenant: x\n# tenant UID: y\n# cluster: " + cluster + "\n"})

	sweep := func(wanted ...Subject) []string {
		t.Helper()
		removed, err := w.access.Sweep(t.Context(), w.connection(), wanted)
		if err != nil {
			t.Fatal(err)
		}
		return removed
	}
	if got := sweep(); got != nil {
		t.Errorf("swept what is in use: %v", got)
	}
	w.pass(10 * time.Minute)
	if got := sweep(acme, api, globex); got != nil {
		t.Errorf("swept what is wanted: %v", got)
	}
	want := []string{"aether-ns-acme-api", "aether-tenant-acme-" + string(firstLife) + "-generate"}
	if diff := cmp.Diff(want, sweep(acme, globex)); diff != "" {
		t.Errorf("without acme-api (-want +got):\n%s", diff)
	}
	want = []string{"aether-ns-acme-web", "aether-tenant-acme-" + string(firstLife)}
	if diff := cmp.Diff(want, sweep(globex)); diff != "" {
		t.Errorf("without acme (-want +got):\n%s", diff)
	}
	w.reads(globex, "db")
	w.reads(acme, "db") // it came back

	w.pass(10 * time.Minute)
	want = []string{"aether-ns-acme-web", "aether-ns-globex-web", "aether-tenant-acme-" + string(firstLife), "aether-tenant-globex-" + string(firstLife)}
	if diff := cmp.Diff(want, sweep()); diff != "" {
		t.Errorf("without all (-want +got):\n%s", diff)
	}
	policies, err := w.bao.Root.Sys().ListPoliciesWithContext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, kept := range []string{"aether-tenant-acme-" + string(secondLife), handmade, "unrelated", "aether-namespace-operator"} {
		if !slices.Contains(policies, kept) {
			t.Errorf("%s is gone", kept)
		}
	}
}

func TestARoleIsSweptWhereItsNamespaceHasAnotherOpenBaoNow(t *testing.T) {
	w := newWorld(t)
	w.put("acme/db")
	acme := w.subject("acme-web", "acme")
	w.reads(acme, "db")
	w.access = w.newAccess(nil) // restarted
	elsewhere := func(s *Subject) { s.Connection = openbao.Connection{Address: "https://openbao.example.com"} }

	removed, err := w.access.Sweep(t.Context(), w.connection(), []Subject{w.subject("acme-web", "acme", elsewhere)})
	if err != nil || removed != nil {
		t.Errorf("the same OpenBao under another address: removed %v, %v", removed, err)
	}
	removed, err = w.access.Sweep(t.Context(), w.connection(), []Subject{w.subject("acme-web", "globex", elsewhere), w.subject("acme-api", "acme", elsewhere)})
	if err != nil || !slices.Equal(removed, []string{"aether-ns-acme-web"}) {
		t.Errorf("the namespace is another tenant's elsewhere: removed %v, %v", removed, err)
	}
}

func TestNothingThatIsPrintedShowsASecret(t *testing.T) {
	w := newWorld(t)
	w.put("acme/db", "globex/db")
	acme := w.subject("acme-web", "acme", generates)
	session := w.session(acme)
	got, err := session.Read(t.Context(), "db", 0)
	if err != nil {
		t.Fatal(err)
	}
	login := session.login.Load()
	w.silent(got, &got, []openbao.Secret{got}, session, *login, login, login.token, &login.token, w.access, session.namespace, acme)

	// OpenBao repeats what it refuses in what it answers.
	_, err = session.client.Create(t.Context(), login.token, "secret", "globex/"+"x", secret("x"))
	w.silent(err)
	_, err = session.client.Login(t.Context(), "aether-ns-acme-web", jwt+canary)
	w.silent(err)
	_, err = session.client.LoginAppRole(t.Context(), "approle", canary, canary)
	w.silent(err)
}
