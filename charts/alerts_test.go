package charts

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/aetherplatform/aether/internal/testenv"
)

// An alertCase is what Prometheus has scraped once a minute, and what it makes of it.
type alertCase struct {
	why string
	// series with their values, in promtool's notation: "0+1x30" is a counter that
	// counts one a minute for half an hour.
	series map[string]string
	// minutes after the first scrape.
	minutes int
	// fires is the summary; empty where the alert must stay silent.
	fires string
	// labels that it fires with, besides its severity.
	labels map[string]any
}

const (
	leads     = `leader_election_master_status{name="aether-namespace-operator",pod="%s"}`
	errorsOf  = `controller_runtime_reconcile_errors_total{controller="%s",pod="a"}`
	notReady  = `aether_source_not_ready{source="aether-system.fleet",reason="%s",pod="a"}`
	faults    = `aether_source_tenant_errors{source="aether-system.fleet",tenant="%s",pod="a"}`
	counted   = `aether_tenant_namespaces{tenant="acme",state="%s",pod="a"}`
	pushes    = `aether_namespace_push_to_ready_seconds_bucket{le="%s",pod="a"}`
	repaired  = `aether_namespace_objects_repaired_total{pod="a"}`
	stale     = `aether_secret_unconfirmed_seconds{tenant="acme",pod="a"}`
	syncs     = `aether_secret_syncs{tenant="acme",state="%s",pod="a"}`
	renewed   = `aether_control_plane_certificate_renewal_seconds{namespace="aether-cluster-acme-prod",name="acme-prod",certificate="etcd-peer",pod="a"}`
	rotating  = `aether_control_plane_rotation_since_seconds{namespace="aether-cluster-acme-prod",name="acme-prod",phase="Trusting",pod="a"}`
	otherLead = `leader_election_master_status{name="source-controller-leader-election",pod="c"}`
)

var (
	acme  = map[string]any{"tenant": "acme"}
	fleet = map[string]any{"source": "aether-system.fleet"}
)

func of(series string, args ...any) string { return fmt.Sprintf(series, args...) }

var alertCases = map[string][]alertCase{
	"AetherOperatorDown": {
		{why: "both replicas stand by", minutes: 6, fires: "No namespace operator leads",
			series: map[string]string{of(leads, "a"): "0x6", of(leads, "b"): "0x6"}},
		{why: "nothing is scraped of it; another program that leads is no help", minutes: 6, fires: "No namespace operator leads",
			series: map[string]string{otherLead: "1x6"}},
		{why: "one of two replicas leads", minutes: 20,
			series: map[string]string{of(leads, "a"): "0x20", of(leads, "b"): "1x20"}},
		{why: "the lease goes from one to the other, with two minutes between", minutes: 12,
			series: map[string]string{of(leads, "a"): "1x5 0x7", of(leads, "b"): "0x7 1x5"}},
	},
	"AetherSourceFailing": {
		{why: "it is stalled, which is tried once and is no error", minutes: 16, fires: "TenantSource aether-system.fleet is not ready",
			series: map[string]string{of(notReady, "TreeEmpty"): "1x16", of(errorsOf, "tenantsource"): "0x16"}, labels: fleet},
		{why: "what is wrong becomes something else", minutes: 16, fires: "TenantSource aether-system.fleet is not ready",
			series: map[string]string{of(notReady, "ArtifactNotReady"): "1x8", of(notReady, "PlatformInvalid"): "_x8 1x8"}, labels: fleet},
		{why: "it fails again and again, and cannot write why", minutes: 17, fires: "A TenantSource cannot be reconciled",
			series: map[string]string{of(errorsOf, "tenantsource"): "0+1x17"}},
		{why: "it was mended", minutes: 40,
			series: map[string]string{of(notReady, "FetchFailed"): "1x10 _x30", of(errorsOf, "tenantsource"): "0+1x5 5x35"}},
		{why: "a tenant's errors are that tenant's", minutes: 40, series: map[string]string{of(notReady, "TenantsFailing"): "1x40"}},
		{why: "somebody has suspended it", minutes: 40, series: map[string]string{of(notReady, "Suspended"): "1x40"}},
		{why: "other programs' controllers fail", minutes: 40, series: map[string]string{of(errorsOf, "resourcegroup"): "0+1x40"}},
	},
	"AetherTenantFailing": {
		{why: "a directory has errors for more than an hour", minutes: 61, fires: "Tenant acme has errors in Git",
			series: map[string]string{of(faults, "acme"): "2x61"}, labels: acme},
		{why: "it was mended within the hour", minutes: 90, series: map[string]string{of(faults, "acme"): "2x50 _x40"}},
		{why: "the platform directory is nobody's; its source fails", minutes: 90, series: map[string]string{of(faults, "_platform"): "2x90"}},
	},
	"AetherNamespacesNotReady": {
		{why: "two are not ready", minutes: 16, fires: "2 namespaces of tenant acme are not ready",
			series: map[string]string{of(counted, "ready"): "5x16", of(counted, "not_ready"): "2x16"}, labels: acme},
		{why: "all are ready, and some were removed", minutes: 40,
			series: map[string]string{of(counted, "ready"): "7x40", of(counted, "not_ready"): "0x40", of(counted, "removed"): "3x40"}},
		{why: "a push is under way for ten minutes", minutes: 40,
			series: map[string]string{of(counted, "not_ready"): "5x10 0x30"}},
	},
	"AetherPushToReadySlow": {
		{why: "one in ten takes longer than half a minute", minutes: 31, fires: "A push takes 49.98s until its namespaces are ready",
			series: map[string]string{of(pushes, "1.05"): "0+9x31", of(pushes, "35.7"): "0+9x31", of(pushes, "64.27"): "0+10x31", of(pushes, "+Inf"): "0+10x31"}},
		{why: "one in a hundred does", minutes: 60,
			series: map[string]string{of(pushes, "1.05"): "0+99x60", of(pushes, "35.7"): "0+99x60", of(pushes, "64.27"): "0+100x60", of(pushes, "+Inf"): "0+100x60"}},
		{why: "nothing is pushed", minutes: 60,
			series: map[string]string{of(pushes, "1.05"): "7x60", of(pushes, "35.7"): "7x60", of(pushes, "64.27"): "100x60", of(pushes, "+Inf"): "100x60"}},
	},
	"AetherDriftRepeated": {
		{why: "ten objects a minute are put back, for more than half an hour", minutes: 50, fires: "Somebody changes Aether's objects again and again",
			series: map[string]string{repaired: "0+10x50"}, labels: map[string]any{"pod": "a"}},
		{why: "somebody has deleted a hundred once", minutes: 60, series: map[string]string{repaired: "0x10 100x50"}},
		{why: "now and then one is put back", minutes: 60, series: map[string]string{repaired: "0+1x60"}},
	},
	"AetherSecretsStale": {
		{why: "OpenBao is away for more than an hour", minutes: 80, fires: "Secrets of tenant acme were not compared with OpenBao for 1h 20m 0s",
			series: map[string]string{stale: "0+60x80", of(syncs, "failing"): "0x5 3x75"}, labels: acme},
		{why: "a Secret is refreshed once a day, and is as it should be", minutes: 600,
			series: map[string]string{stale: "0+60x600", of(syncs, "failing"): "0x600", of(syncs, "synced"): "1x600"}},
		{why: "OpenBao was away for half an hour", minutes: 80,
			series: map[string]string{stale: "0+60x30 0x50", of(syncs, "failing"): "3x30 0x50"}},
	},
	"AetherCertificateNotRenewed": {
		{why: "cert-manager has been away since it should have renewed it, an hour after the first scrape", minutes: 60 + 24*60 + 30, fires: "Certificate etcd-peer of cluster acme-prod is 1d 0h 30m 0s late to be renewed",
			series: map[string]string{renewed: "3600x1530"}, labels: map[string]any{"namespace": "aether-cluster-acme-prod", "name": "acme-prod", "certificate": "etcd-peer"}},
		{why: "it is renewed an hour late", minutes: 60 + 24*60 + 30, series: map[string]string{renewed: "3600x120 7776000x1410"}},
	},
	"AetherRotationWaits": {
		{why: "a node has not done its part for a week", minutes: 7*24*60 + 30, fires: "The authorities of cluster acme-prod have been in phase Trusting for 7d 0h 30m 0s",
			series: map[string]string{rotating: "0x10110"}, labels: map[string]any{"namespace": "aether-cluster-acme-prod", "name": "acme-prod", "phase": "Trusting"}},
		{why: "the nodes take three days", minutes: 7*24*60 + 30, series: map[string]string{rotating: "0x4320"}},
	},
}

func TestEveryAlertFiresWhenItMustAndOnlyThen(t *testing.T) {
	groups, alerts := alertRules(t)
	dir := t.TempDir()
	write(t, dir, "rules.yaml", map[string]any{"groups": groups})
	if out, err := promtool(t, dir, "check", "rules", "--lint=all", "--lint-fatal", "rules.yaml"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range slices.Sorted(maps.Keys(alertCases)) {
		if _, found := alerts[name]; !found {
			t.Errorf("there are cases of %s, and no such alert", name)
		}
	}
	for name, alert := range alerts {
		t.Run(name, func(t *testing.T) {
			var tests []any
			fires, silent := false, false
			for _, c := range alertCases[name] {
				fires, silent = fires || c.fires != "", silent || c.fires == ""
				tests = append(tests, c.unitTest(name, alert))
			}
			if !fires || !silent {
				t.Fatal("it needs a case in which it fires, and one in which it does not")
			}
			file := name + ".yaml"
			write(t, dir, file, map[string]any{"rule_files": []string{"rules.yaml"}, "evaluation_interval": "1m", "tests": tests})
			if out, err := promtool(t, dir, "test", "rules", file); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// unitTest is the case as promtool reads it.
func (c alertCase) unitTest(name string, alert map[string]any) map[string]any {
	var series []any
	for _, of := range slices.Sorted(maps.Keys(c.series)) {
		series = append(series, map[string]any{"series": of, "values": c.series[of]})
	}
	severity, _, _ := unstructured.NestedString(alert, "labels", "severity")
	description, _, _ := unstructured.NestedString(alert, "annotations", "description")
	expected := []any{}
	if c.fires != "" {
		labels := map[string]any{"severity": severity}
		maps.Copy(labels, c.labels)
		expected = append(expected, map[string]any{
			"exp_labels": labels, "exp_annotations": map[string]any{"summary": c.fires, "description": description},
		})
	}
	return map[string]any{
		"name": c.why, "interval": "1m", "input_series": series,
		"alert_rule_test": []any{map[string]any{"eval_time": fmt.Sprintf("%dm", c.minutes), "alertname": name, "exp_alerts": expected}},
	}
}

// alertRules are the groups of the PrometheusRule that the chart makes, and its alerts.
func alertRules(t *testing.T) (groups []any, alerts map[string]map[string]any) {
	t.Helper()
	alerts = map[string]map[string]any{}
	for _, o := range template(t, everything...) {
		if o.GetKind() != "PrometheusRule" {
			continue
		}
		groups, _, _ = unstructured.NestedSlice(o.Object, "spec", "groups")
		for _, group := range groups {
			rules, _, _ := unstructured.NestedSlice(group.(map[string]any), "rules")
			for _, rule := range rules {
				rule := rule.(map[string]any)
				name, _, _ := unstructured.NestedString(rule, "alert")
				alerts[name] = rule
			}
		}
	}
	if len(alerts) == 0 {
		t.Fatal("the chart makes no alert")
	}
	return groups, alerts
}

// What Grafana puts in the place of its variables.
var grafana = strings.NewReplacer("$__rate_interval", "2m", "$__interval", "30s", "$__range", "6h")

var variable = regexp.MustCompile(`\$[{_a-zA-Z]`)

// As Prometheus sees them, the dashboard's queries are rules to record.
func TestPrometheusUnderstandsTheDashboard(t *testing.T) {
	var text string
	for _, o := range template(t, everything...) {
		if o.GetKind() == "ConfigMap" && o.GetName() == "aether-dashboard" {
			text, _, _ = unstructured.NestedString(o.Object, "data", "aether.json")
		}
	}
	var dashboard struct {
		Panels []struct {
			ID      int
			Targets []struct{ RefID, Expr string }
		}
	}
	if err := json.Unmarshal([]byte(text), &dashboard); err != nil {
		t.Fatal(err)
	}
	var rules []any
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			expr := grafana.Replace(target.Expr)
			if variable.MatchString(expr) {
				t.Errorf("panel %d: %s has a variable that is not known here", p.ID, target.Expr)
			}
			rules = append(rules, map[string]any{"record": fmt.Sprintf("panel:%d:%s", p.ID, target.RefID), "expr": expr})
		}
	}
	dir := t.TempDir()
	write(t, dir, "dashboard.yaml", map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": rules}}})
	if out, err := promtool(t, dir, "check", "rules", "--lint=all", "--lint-fatal", "dashboard.yaml"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func write(t *testing.T, dir, name string, content any) {
	t.Helper()
	data, err := yaml.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// promtool runs Prometheus' own program in a folder.
func promtool(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	cmd := testenv.Command("promtool", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}
