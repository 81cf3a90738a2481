// Package server runs the OpenBao-API-compatible server of bin/ (Vault 1.14 core) as a
// process beside an API server, for tests and the local platform: how it is started,
// and what an administrator of OpenBao would configure so that service accounts of the
// cluster can log in.
//
// It knows nothing of tenants. A server for anything but this is OpenBao itself.
package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/openbao/openbao/api/v2"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	config "github.com/aetherplatform/aether/config/openbao"
)

// Program of bin/ that it is.
const Program = "openbao"

// Where things are in it, as in OpenBao's own examples.
const (
	// Secrets is the mount of KV, version 2.
	Secrets = "secret"
	// Auth is the mount of the Kubernetes auth method.
	Auth = "kubernetes"
	// Audience that a token must be made for to log in with it.
	Audience = "openbao"
	// Operator is the policy of the namespace operator, and the role that it logs in by.
	Operator = "aether-namespace-operator"
)

// Options of the process; all must be set.
type Options struct {
	// Listen is the address that it serves at.
	Listen string
	// Data is the folder that it keeps everything in, with the key to it: it unseals
	// itself when it is started again.
	Data string
	// RootTokenFile holds the root token that it is to have.
	RootTokenFile string
	// Certificate and Key are the files that it serves with.
	Certificate, Key string
	// AuditLog is the file that it writes every request to before it answers.
	AuditLog string
}

// Args are what it is started with. No secret is among them.
func (o Options) Args() []string {
	return []string{
		"-listen=" + o.Listen, "-data=" + o.Data, "-root-token-file=" + o.RootTokenFile,
		"-tls-cert=" + o.Certificate, "-tls-key=" + o.Key, "-audit-file=" + o.AuditLog,
	}
}

// NewClient returns a client that trusts this CA alone, whatever the environment of
// this process says, and tries nothing twice.
func NewClient(address string, ca []byte, token string) (*api.Client, error) {
	config := api.NewConfig()
	config.Address, config.MaxRetries = address, 0
	if err := config.ConfigureTLS(&api.TLSConfig{CACertBytes: ca}); err != nil {
		return nil, err
	}
	c, err := api.NewClient(config)
	if err != nil {
		return nil, err
	}
	c.SetToken(token)
	return c, nil
}

// glance is how often something is looked at that is not so yet.
const glance = 20 * time.Millisecond

// AwaitHealth returns once the server is unsealed and serves. alive says whether its
// process still runs.
func AwaitHealth(ctx context.Context, c *api.Client, alive func() bool) error {
	var last error
	err := wait.PollUntilContextCancel(ctx, glance, true, func(ctx context.Context) (bool, error) {
		if !alive() {
			return false, errors.New("it ended")
		}
		health, err := c.Sys().HealthWithContext(ctx)
		switch {
		case err != nil:
			last = err
		case health.Sealed || !health.Initialized:
			last = errors.New("it is sealed")
		default:
			return true, nil
		}
		return false, nil
	})
	if err != nil {
		return fmt.Errorf("the server does not serve: %w", errors.Join(err, last))
	}
	return nil
}

// MountSecrets mounts KV and returns once it takes a write: the mount is first made
// one of versions.
func MountSecrets(ctx context.Context, c *api.Client) error {
	mount := &api.MountInput{Type: "kv", Options: map[string]string{"version": "2"}}
	if err := c.Sys().MountWithContext(ctx, Secrets, mount); err != nil {
		return fmt.Errorf("cannot mount %s: %w", Secrets, err)
	}
	var last error
	err := wait.PollUntilContextCancel(ctx, glance, true, func(ctx context.Context) (bool, error) {
		_, last = c.Logical().ListWithContext(ctx, Secrets+"/metadata")
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("cannot list %s: %w", Secrets, errors.Join(err, last))
	}
	return nil
}

// Cluster whose service accounts may log in.
type Cluster struct {
	// Host is the URL of its API server, and CA what that is trusted by, as PEM.
	Host string
	CA   []byte
	// Client is an administrator's.
	Client client.Client
}

// reviewer is the service account as which the server asks whether a token is one, and
// reviewerLifetime how long it can: as long as a local platform lives.
const (
	reviewerNamespace = metav1.NamespaceSystem
	reviewerName      = "openbao-token-reviewer"
	reviewerLifetime  = 365 * 24 * time.Hour
)

// TrustCluster enables the Kubernetes auth method for a cluster.
func TrustCluster(ctx context.Context, c *api.Client, cluster Cluster) error {
	token, err := cluster.reviewer(ctx)
	if err != nil {
		return err
	}
	if err := c.Sys().EnableAuthWithOptionsWithContext(ctx, Auth, &api.EnableAuthOptions{Type: "kubernetes"}); err != nil {
		return fmt.Errorf("cannot enable the auth method %s: %w", Auth, err)
	}
	if _, err := c.Logical().WriteWithContext(ctx, "auth/"+Auth+"/config", map[string]any{
		"kubernetes_host":      cluster.Host,
		"kubernetes_ca_cert":   string(cluster.CA),
		"token_reviewer_jwt":   token,
		"disable_local_ca_jwt": true,
	}); err != nil {
		return fmt.Errorf("cannot configure the auth method %s: %w", Auth, err)
	}
	return nil
}

// AdmitOperator lets the namespace operator in, with what the policy in config/openbao
// gives it. TrustCluster goes before.
func AdmitOperator(ctx context.Context, c *api.Client) error {
	policy, err := config.FS.ReadFile("namespace-operator.hcl")
	if err != nil {
		return err
	}
	if err := c.Sys().PutPolicyWithContext(ctx, Operator, string(policy)); err != nil {
		return fmt.Errorf("cannot write the policy %s: %w", Operator, err)
	}
	if _, err := c.Logical().WriteWithContext(ctx, "auth/"+Auth+"/role/"+Operator, map[string]any{
		"bound_service_account_namespaces": v1alpha1.SystemNamespace,
		"bound_service_account_names":      "namespace-operator",
		"audience":                         Audience,
		"token_policies":                   Operator,
		"token_no_default_policy":          true,
		"token_ttl":                        "20m",
	}); err != nil {
		return fmt.Errorf("cannot write the role %s: %w", Operator, err)
	}
	return nil
}

// reviewer makes the service account that may ask whose a token is, and returns a
// token of it.
func (cluster Cluster) reviewer(ctx context.Context) (string, error) {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: reviewerNamespace, Name: reviewerName}}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: reviewerName},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:auth-delegator"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: reviewerNamespace, Name: reviewerName}},
	}
	for _, o := range []client.Object{account, binding} {
		if err := cluster.Client.Create(ctx, o); client.IgnoreAlreadyExists(err) != nil {
			return "", fmt.Errorf("cannot create %T %s: %w", o, o.GetName(), err)
		}
	}
	// The API server takes a moment to know of a binding, in which every login would fail.
	err := wait.PollUntilContextCancel(ctx, glance, true, func(ctx context.Context) (bool, error) {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: "system:serviceaccount:" + reviewerNamespace + ":" + reviewerName,
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Group: authenticationv1.GroupName, Resource: "tokenreviews", Verb: "create",
			},
		}}
		err := cluster.Client.Create(ctx, review)
		return review.Status.Allowed, err
	})
	if err != nil {
		return "", fmt.Errorf("cannot let ServiceAccount %s/%s review tokens: %w", reviewerNamespace, reviewerName, err)
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: ptr.To(int64(reviewerLifetime.Seconds())),
	}}
	if err := cluster.Client.SubResource("token").Create(ctx, account, request); err != nil {
		return "", fmt.Errorf("cannot make a token for ServiceAccount %s/%s: %w", reviewerNamespace, reviewerName, err)
	}
	return request.Status.Token, nil
}
