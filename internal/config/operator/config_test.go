package operator_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/aetherplatform/aether/internal/config"
	"github.com/aetherplatform/aether/internal/config/configtest"
	"github.com/aetherplatform/aether/internal/config/operator"
)

// header begins every file.
const header = "apiVersion: config.aetherplatform.cloud/v1alpha1\nkind: NamespaceOperatorConfig\n"

// defaults are the whole file that changes nothing.
const defaults = header + `cluster: ""
namespace: aether-system
concurrency: 32
memoryTarget: 320Mi
leaderElection:
  enabled: false
  leaseDuration: 15s
  renewDeadline: 10s
  retryPeriod: 2s
metrics:
  bindAddress: :8080
  pprof: false
health:
  bindAddress: :8081
log:
  level: info
  format: json
openBao:
  address: ""
  caFile: ""
  namespace: ""
  authMount: kubernetes
  audience: openbao
  auth:
    method: kubernetes
    appRole:
      mount: approle
      roleID: ""
      secretIDFile: ""
    tokenFile: ""
  requestsPerSecond: 200
  concurrency: 16
  checkInterval: 5m
`

func TestWithoutAFileTheDefaultsHold(t *testing.T) {
	written, err := operator.Default().YAML()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(defaults, string(written)); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
	if problems := operator.Default().Validate(); len(problems) > 0 {
		t.Errorf("the defaults have problems: %v", problems)
	}
}

func TestAFileChangesWhatItSaysAndNothingElse(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		set  func(*operator.Config)
	}{
		"nothing but its kind": {header, func(*operator.Config) {}},
		"the defaults":         {defaults, func(*operator.Config) {}},
		"nulls":                {header + "cluster:\nmemoryTarget: ~\nopenBao: null\nlog: {level: }\n", func(*operator.Config) {}},
		"a field, and one of a group": {header + "concurrency: 8\nleaderElection: {enabled: true}\n", func(c *operator.Config) {
			c.Concurrency, c.LeaderElection.Enabled = 8, true
		}},
		"every kind of value": {header + `
cluster: acme-prod
memoryTarget: 1Gi
leaderElection: {leaseDuration: 1m30s}
metrics: {bindAddress: "0", pprof: true}
openBao:
  address: https://openbao.example.com:8200
  requestsPerSecond: 0.5
  concurrency: 0x10
  auth: {method: approle, appRole: {roleID: "1234", secretIDFile: /run/secrets/id}}
`, func(c *operator.Config) {
			c.Cluster, c.MemoryTarget = "acme-prod", 1<<30
			c.LeaderElection.LeaseDuration = config.Duration{Duration: 90 * time.Second}
			c.Metrics = config.Metrics{BindAddress: "0", Pprof: true}
			c.OpenBao.Address, c.OpenBao.RequestsPerSecond = "https://openbao.example.com:8200", 0.5
			c.OpenBao.Auth.Method = operator.AuthAppRole
			c.OpenBao.Auth.AppRole.RoleID, c.OpenBao.Auth.AppRole.SecretIDFile = "1234", "/run/secrets/id"
		}},
		"a value by its anchor": {header + "cluster: &name acme-prod\nopenBao: {namespace: *name}\n", func(c *operator.Config) {
			c.Cluster, c.OpenBao.Namespace = "acme-prod", "acme-prod"
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got, places, err := operator.Load([]byte(c.text), "config.yaml")
			if err != nil {
				t.Fatal(err)
			}
			if err := places.Explain(got.Validate()); err != nil {
				t.Errorf("it has problems:\n%v", err)
			}
			want := operator.Default()
			c.set(&want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("configuration (-want +got):\n%s", diff)
			}
			configtest.PrintedIsRead(t, operator.Load, got)
		})
	}
}

func TestWhatIsNoConfigurationIsToldWithItsLine(t *testing.T) {
	const (
		top = "apiVersion, kind, cluster, namespace, concurrency, memoryTarget, leaderElection, metrics, health, log or openBao"
		v1  = "config.aetherplatform.cloud/v1alpha1"
	)
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"nothing":            {"", []string{`config.yaml:1: is empty; write apiVersion and kind at least`}},
		"only a comment":     {"# later\n", []string{`config.yaml:1: is empty; write apiVersion and kind at least`}},
		"no mapping":         {"- a\n", []string{`config.yaml:1: is a list; write fields, such as apiVersion and kind`}},
		"no YAML":            {header + "log: {level: info\n", []string{`config.yaml:4: is not YAML: did not find expected ',' or '}'`}},
		"a second document":  {header + "---\n" + header, []string{`config.yaml:3: a second document begins here; write one`}},
		"no version or kind": {"cluster: acme\n", []string{`config.yaml:1: apiVersion: is missing; write ` + v1, `config.yaml:1: kind: is missing; write NamespaceOperatorConfig`}},
		"another version, of which nothing is known": {strings.Replace(header, "v1alpha1", "v2", 1) + "whatever: 1\n", []string{
			`config.yaml:1: apiVersion: is "config.aetherplatform.cloud/v2", which this program does not read; write ` + v1,
		}},
		"another kind": {strings.Replace(header, "NamespaceOperatorConfig", "Tenant", 1), []string{
			`config.yaml:2: kind: is "Tenant", which this program does not read; write NamespaceOperatorConfig`,
		}},
		"a field with a slip":  {header + "clutser: acme\n", []string{`config.yaml:3: clutser: there is no such field; did you mean cluster?`}},
		"a field that is none": {header + "replicas: 2\n", []string{`config.yaml:3: replicas: there is no such field; write ` + top}},
		"a secret in the file, which is not repeated": {header + "openBao:\n  auth:\n    appRole:\n      secretID: hush\n", []string{
			`config.yaml:6: openBao.auth.appRole.secretID: there is no such field; write mount, roleID or secretIDFile`,
		}},
		"a field twice":  {header + "cluster: a\nlog: {}\ncluster: b\n", []string{`config.yaml:5: cluster: is written twice, first in line 3; keep one`}},
		"merged fields":  {header + "log: &l {level: info}\nhealth: {<<: *l}\n", []string{`config.yaml:4: health.<<: there is no such field; write bindAddress`}},
		"an odd key":     {header + "log: {[a]: b}\n", []string{`config.yaml:3: log: has a key that is not text; write one of level or format`}},
		"a tag":          {header + "cluster: !!binary YQ==\n", []string{`config.yaml:3: cluster: has the tag "!!binary"; write the value without a tag`}},
		"no group":       {header + "log: debug\n", []string{`config.yaml:3: log: is "debug"; write level or format below it`}},
		"no text":        {header + "metrics: {bindAddress: 0}\n", []string{`config.yaml:3: metrics.bindAddress: 0 is not text; write it in quotes: "0"`}},
		"a list as text": {header + "cluster: [a]\n", []string{`config.yaml:3: cluster: is a list; write text`}},
		"text that cannot be seen": {header + "cluster: \"a\\u200eb\"\n", []string{
			"config.yaml:3: cluster: \"a\ufffdb\" has characters that cannot be seen; write it without them",
		}},
		"neither true nor false": {header + "leaderElection: {enabled: yes}\n", []string{`config.yaml:3: leaderElection.enabled: is "yes"; write true or false`}},
		"no whole number":        {header + "concurrency: 1.5\n", []string{`config.yaml:3: concurrency: is "1.5"; write a whole number`}},
		"a number in quotes":     {header + "concurrency: \"8\"\n", []string{`config.yaml:3: concurrency: is "8"; write a whole number without quotes: 8`}},
		"no number":              {header + "openBao: {requestsPerSecond: many}\n", []string{`config.yaml:3: openBao.requestsPerSecond: is "many"; write a number`}},
		"no number that ends":    {header + "openBao: {requestsPerSecond: .inf}\n", []string{`config.yaml:3: openBao.requestsPerSecond: .inf is not a number that fits; write a smaller one, in decimal`}},
		"no duration":            {header + "openBao: {checkInterval: 5}\n", []string{`config.yaml:3: openBao.checkInterval: "5" is no duration; write one such as 15s or 5m`}},
		"no amount of memory":    {header + "memoryTarget: 320MB\n", []string{`config.yaml:3: memoryTarget: "320MB" is no amount of memory; write one such as 320Mi`}},
		"memory that takes hours to read": {header + "memoryTarget: 1e-999999999\n", []string{
			`config.yaml:3: memoryTarget: "1e-999999999" is no amount of memory; write one such as 320Mi`,
		}},
		"a mapping as memory": {header + "memoryTarget: {}\n", []string{`config.yaml:3: memoryTarget: is a mapping; write text`}},
		"much at once": {header + "cluster: 1\nlog:\n  level: info\n  levels: x\nconcurrency: x\n", []string{
			`config.yaml:3: cluster: 1 is not text; write it in quotes: "1"`,
			`config.yaml:6: log.levels: there is no such field; did you mean level?`,
			`config.yaml:7: concurrency: is "x"; write a whole number`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := operator.Load([]byte(c.text), "config.yaml")
			if err == nil {
				t.Fatal("it is read")
			}
			if diff := cmp.Diff(c.want, strings.Split(err.Error(), "\n")); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
		})
	}
}

func TestValuesThatCannotBeAreToldAllAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"names": {"cluster: Acme_Prod\nnamespace: a.b\n", []string{
			`config.yaml:3: cluster: "Acme_Prod" is no name of a WorkloadCluster; write one such as acme-prod`,
			`config.yaml:4: namespace: "a.b" is no name of a Namespace; write one such as aether-system`,
		}},
		"no namespace at all": {"namespace: \"\"\n", []string{`config.yaml:3: namespace: "" is no name of a Namespace; write one such as aether-system`}},
		"nothing to work with": {"concurrency: 0\nmemoryTarget: 0\nopenBao: {concurrency: -1, requestsPerSecond: 0, checkInterval: 999ms}\n", []string{
			`config.yaml:3: concurrency: 0 is too small; use at least 1`,
			`config.yaml:4: memoryTarget: 0 is too small; use more than nothing, such as 320Mi`,
			`config.yaml:5: openBao.requestsPerSecond: 0 is too small; use more than 0`,
			`config.yaml:5: openBao.concurrency: -1 is too small; use at least 1`,
			`config.yaml:5: openBao.checkInterval: 999ms is too short; use at least 1s`,
		}},
		"a deadline as long as the lease": {"leaderElection: {leaseDuration: 10s, renewDeadline: 10s}\n", []string{
			`config.yaml:3: leaderElection.leaseDuration: 10s is too short; use more than 10s, the renew deadline`,
		}},
		"a deadline without time to retry": {"leaderElection:\n  renewDeadline: 2s\n", []string{
			`config.yaml:4: leaderElection.renewDeadline: 2s is too short; use more than 2.4s, which is 1.2 times the retry period`,
		}},
		"retries without a pause": {"leaderElection: {retryPeriod: 0s}\n", []string{
			`config.yaml:3: leaderElection.retryPeriod: 0s is too short; use more than 0s`,
		}},
		"a lease that cannot be written": {"leaderElection: {leaseDuration: 900ms, renewDeadline: 500ms, retryPeriod: 100ms}\n", []string{
			`config.yaml:3: leaderElection.leaseDuration: 900ms is too short; use at least 1s, since a Lease counts in seconds`,
		}},
		"addresses to listen at": {"metrics: {bindAddress: \"8080\"}\nhealth: {bindAddress: \":http\"}\n", []string{
			`config.yaml:3: metrics.bindAddress: "8080" is no address to listen at; write one such as :8080 or 127.0.0.1:8080, or "0" for none`,
			`config.yaml:4: health.bindAddress: ":http" is no address to listen at; write one such as :8080 or 127.0.0.1:8080, or "0" for none`,
		}},
		"logs": {"log: {level: warn, format: xml}\n", []string{
			`config.yaml:3: log.level: "warn" is not a level; use debug, info or error`,
			`config.yaml:3: log.format: "xml" is not a format; use json or text`,
		}},
		"secrets in the clear": {"openBao: {address: http://x}\n", []string{
			`config.yaml:3: openBao.address: "http://x" is no address; write https://host:port, since secrets do not travel in the clear`,
		}},
		"a password, which is not repeated": {"openBao: {address: \"https://me:hush@x:8200\"}\n", []string{
			`config.yaml:3: openBao.address: "…@x:8200" is no address; write https://host:port, since secrets do not travel in the clear`,
		}},
		"places in OpenBao": {"openBao: {namespace: a b, authMount: ../sys, audience: \"\", auth: {appRole: {mount: /approle}}}\n", []string{
			`config.yaml:3: openBao.namespace: "a b" is no plain path; write letters, digits, '.', '_' and '-' between single '/', such as payments/db`,
			`config.yaml:3: openBao.authMount: "../sys" is no plain path; write letters, digits, '.', '_' and '-' between single '/', such as payments/db`,
			`config.yaml:3: openBao.audience: is empty; write one such as openbao`,
			`config.yaml:3: openBao.auth.appRole.mount: "/approle" is no plain path; write letters, digits, '.', '_' and '-' between single '/', such as payments/db`,
		}},
		"no way in": {"openBao: {auth: {method: ldap}}\n", []string{
			`config.yaml:3: openBao.auth.method: "ldap" is no way to log in; use kubernetes, approle or token-file`,
		}},
		"half an AppRole": {"openBao:\n  auth:\n    method: approle\n    appRole: {roleID: x}\n", []string{
			`config.yaml:5: openBao.auth.method: "approle" needs more; set openBao.auth.appRole.roleID and openBao.auth.appRole.secretIDFile too`,
		}},
		"no token": {"openBao: {auth: {method: token-file}}\n", []string{
			`config.yaml:3: openBao.auth.method: "token-file" needs more; set openBao.auth.tokenFile too`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got, places, err := operator.Load([]byte(header+c.text), "config.yaml")
			if err != nil {
				t.Fatal(err)
			}
			if err = places.Explain(got.Validate()); err == nil {
				t.Fatal("it is let through")
			}
			if diff := cmp.Diff(c.want, strings.Split(err.Error(), "\n")); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
		})
	}
}

// A problem is told where it can be mended: at the flag, the line, or what is nearest.
func TestAProblemIsToldWhereItWasMade(t *testing.T) {
	c, places, err := operator.Load([]byte(header+"openBao:\n  auth:\n    method: approle\n"), "config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	places.SetBy("log-level", "log.level")
	places.SetBy("names", "names")
	for field, want := range map[string]string{
		"log.level":                   "--log-level",
		"names[1]":                    "--names",
		"openBao.auth.method":         "config.yaml:5: openBao.auth.method",
		"openBao.auth.appRole.roleID": "config.yaml:4: openBao.auth.appRole.roleID",
		"openBao.address":             "config.yaml:3: openBao.address",
		"metrics.bindAddress":         "config.yaml: metrics.bindAddress",
	} {
		if got := places.Of(field); got != want {
			t.Errorf("%s: %q, want %q", field, got, want)
		}
	}
	if got := (config.Places{}).Of("log.level"); got != "log.level" {
		t.Errorf("without a file: %q", got)
	}
	if len(c.Validate()) != 1 {
		t.Errorf("it has the problems %v", c.Validate())
	}
}
