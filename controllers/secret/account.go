package secret

import (
	"context"
	"errors"
	"net/http"

	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

type accountKey struct{}

// as has what a context is used for done as the account of a namespace.
func as(ctx context.Context, namespace string) context.Context {
	return context.WithValue(ctx, accountKey{}, namespace)
}

// asAccount impersonates the account that the context of a request names. Without one
// nothing is sent: what is meant for a namespace's account is never done as the
// operator.
type asAccount struct{ next http.RoundTripper }

func (t asAccount) RoundTrip(req *http.Request) (*http.Response, error) {
	namespace, ok := req.Context().Value(accountKey{}).(string)
	if !ok || namespace == "" {
		return nil, errors.New("the request names no namespace to act for")
	}
	req = req.Clone(req.Context())
	req.Header.Set(transport.ImpersonateUserHeader, serviceaccount.MakeUsername(namespace, v1alpha1.SecretSyncAccount))
	return t.next.RoundTrip(req)
}

// secretsClient is a client that acts as accounts of namespaces, all of them over the
// same connections.
func secretsClient(mgr ctrl.Manager) (client.Client, error) {
	cfg := rest.CopyConfig(mgr.GetConfig())
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return asAccount{next} })
	http, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, err
	}
	return client.New(cfg, client.Options{Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(), HTTPClient: http})
}
