package openbao

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// DefaultAudience of the tokens that service accounts log in with.
const DefaultAudience = "openbao"

// What Aether calls its own in OpenBao. config/openbao/namespace-operator.hcl lets
// the operator write nothing else.
const (
	PolicyPrefix   = "aether-tenant-"
	RolePrefix     = "aether-ns-"
	generateSuffix = "-generate"
)

// roleTTL is how long a token of a namespace is good. It is a batch token, which
// OpenBao neither stores nor revokes one by one, so it is short.
const roleTTL = 20 * time.Minute

// PolicyName is the name of a tenant's policy. The UID is in it, so that a tenant
// made anew does not get what an earlier one of its name was granted.
func PolicyName(tenant string, uid types.UID) string {
	return PolicyPrefix + tenant + "-" + string(uid)
}

// GeneratePolicyName is the name of the policy that lets a tenant's namespaces
// create secrets.
func GeneratePolicyName(tenant string, uid types.UID) string {
	return PolicyName(tenant, uid) + generateSuffix
}

// RoleName is the name of a namespace's role.
func RoleName(namespace string) string { return RolePrefix + namespace }

// Grant is what a tenant may reach.
type Grant struct {
	Tenant    string
	TenantUID types.UID
	// Cluster is the UID of the Namespace kube-system: OpenBao may serve many.
	Cluster string
	// Mount of a KV engine of version 2, and the path below it.
	Mount, Path string
}

// Policy is the text of the tenant's policy: to read what is below its path, and
// nothing else. The '*' stands behind a '/', so that acme does not reach acme-b.
func (g Grant) Policy() (string, error) {
	return g.text([]string{"data", "metadata"}, "read")
}

// GeneratePolicy is the text of the policy to create secrets below the tenant's
// path: not to change one.
func (g Grant) GeneratePolicy() (string, error) {
	return g.text([]string{"data"}, "create")
}

func (g Grant) text(areas []string, capability string) (string, error) {
	for what, value := range map[string]string{
		"mount": g.Mount, "path": g.Path, "tenant": g.Tenant, "UID": string(g.TenantUID), "cluster": g.Cluster,
	} {
		if err := CheckPath(value); err != nil {
			return "", fmt.Errorf("%s of a policy: %w", what, err)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Written by Aether, which puts changes back.\n%s%s\n%s%s\n%s%s\n",
		headerTenant, g.Tenant, headerUID, g.TenantUID, headerCluster, g.Cluster)
	for _, area := range areas {
		fmt.Fprintf(&b, "\npath \"%s/%s/%s/*\" {\n  capabilities = [\"%s\"]\n}\n", g.Mount, area, g.Path, capability)
	}
	return b.String(), nil
}

const (
	headerTenant  = "# tenant: "
	headerUID     = "# tenant UID: "
	headerCluster = "# cluster: "
)

// ClusterOf is the cluster whose Aether wrote a policy, or "" where none did.
func ClusterOf(policy string) string {
	var tenant, uid, cluster string
	for line := range strings.Lines(policy) {
		line = strings.TrimSuffix(line, "\n")
		if !strings.HasPrefix(line, "#") {
			break
		}
		for prefix, value := range map[string]*string{headerTenant: &tenant, headerUID: &uid, headerCluster: &cluster} {
			if rest, ok := strings.CutPrefix(line, prefix); ok {
				*value = rest
			}
		}
	}
	if tenant == "" || uid == "" {
		return ""
	}
	return cluster
}

// RoleFor is the role of a namespace: its service account for secrets alone can log
// in with it, with a token for that audience, and gets those policies and no other.
func RoleFor(namespace, audience string, policies ...string) Role {
	return Role{
		Accounts:        []string{v1alpha1.SecretSyncAccount},
		Namespaces:      []string{namespace},
		Audience:        audience,
		AliasNameSource: "serviceaccount_uid",
		Policies:        policies,
		NoDefaultPolicy: true,
		TokenType:       "batch",
		TTL:             roleTTL,
		MaxTTL:          roleTTL,
	}
}
