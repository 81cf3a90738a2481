package get

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/cli"
	"github.com/aetherplatform/aether/internal/secret"
)

// secrets lists SecretSyncs: those of spec.secrets, and those that teams made. It reads
// no Secret.
func secrets(ctx context.Context, c client.Client, o *Options) (*listing, error) {
	var list v1alpha1.SecretSyncList
	if err := c.List(ctx, &list, client.InNamespace(o.Namespace)); err != nil {
		return nil, err
	}
	// Whose a namespace is, is asked only where it matters: a team may be allowed to
	// read no more than its own.
	if o.Tenant != "" || o.Namespace != "" && len(list.Items) == 0 {
		var namespaces v1alpha1.TenantNamespaceList
		if err := c.List(ctx, &namespaces); err != nil {
			return nil, err
		}
		tenants, names := map[string]string{}, []string{}
		for i := range namespaces.Items {
			n := &namespaces.Items[i]
			tenants[n.Name] = n.Spec.Tenant
			names = append(names, n.Name)
		}
		if _, ok := tenants[o.Namespace]; !ok && o.Namespace != "" {
			return nil, cli.NotFound("namespace", o.Namespace, names)
		}
		if o.Tenant != "" {
			list.Items = slices.DeleteFunc(list.Items, func(s v1alpha1.SecretSync) bool { return tenants[s.Namespace] != o.Tenant })
		}
	}
	return o.listSecrets(list.Items), nil
}

func (o *Options) listSecrets(items []v1alpha1.SecretSync) *listing {
	slices.SortStableFunc(items, func(a, b v1alpha1.SecretSync) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	l := &listing{
		table: cli.NewTable(o.header([]string{"NAMESPACE", "NAME", "SECRET", "SOURCE", "VERSION", "AGE", "SYNCED", "NEXT", "READY", "STATUS"},
			"WANTED", "EVERY", "ON DELETE", "PATH")...),
		beside: map[client.Object]map[string]any{},
	}
	now := o.Now()
	for i := range items {
		s := &items[i]
		l.all = append(l.all, s.Name)
		if !o.wants(s.Name) {
			continue
		}
		ready := cli.ReadyOf(s.Status.Conditions)
		interval := secret.RefreshInterval(&s.Spec.SecretSource)
		next := secret.NextRefresh(s.UID, interval, now)
		version, due := "-", "in "+duration.HumanDuration(next.Sub(now))
		if s.Status.Version > 0 {
			version = strconv.FormatInt(s.Status.Version, 10)
		}
		switch {
		case ready.Stalled:
			due = "-" // a person has to act first
		case !ready.True():
			due = "soon"
		default:
			l.beside[s] = map[string]any{"nextRefresh": next.UTC().Format(time.RFC3339)}
		}
		row := []cli.Cell{cli.Text(s.Namespace), cli.Text(s.Name), cli.Text(s.SecretName()), cli.Text(source(s)), cli.Text(version),
			cli.Text(o.age(s.Status.VersionTime)), cli.Text(o.age(s.Status.SyncedTime)), cli.Text(due), ready.Cell(), cli.Text(o.message(ready))}
		if o.Output == "wide" {
			wanted := "latest"
			if v := s.Spec.Version; v != nil {
				wanted = strconv.FormatInt(*v, 10)
			}
			row = append(row, cli.Text(wanted), cli.Text(duration.HumanDuration(interval)), cli.Text(string(s.Spec.OnDelete)), cli.Text(orDash(s.Annotations[v1alpha1.AnnotationPath])))
		}
		l.add(s, row)
	}
	return l
}

// source is the whole path in OpenBao, as far as it is known yet.
func source(s *v1alpha1.SecretSync) string {
	if s.Status.Source != "" {
		return s.Status.Source
	}
	return "…/" + s.Spec.Path
}

func (o *Options) age(t *metav1.Time) string {
	if t == nil {
		return "-"
	}
	return o.Age(t.Time)
}

// noteSecrets says which namespaces have secrets that are not synced, beside a table
// whose column READY does not tell.
func (l *listing) noteSecrets(n *v1alpha1.TenantNamespace) {
	for _, c := range n.Status.Conditions {
		if c.Type == v1alpha1.ConditionSecretsSynced && c.Status == metav1.ConditionFalse {
			l.notes = append(l.notes, fmt.Sprintf("%s: secrets are not synced: %s; aether get secrets %s", n.Name, strings.Join(strings.Fields(c.Message), " "), n.Name))
		}
	}
}
