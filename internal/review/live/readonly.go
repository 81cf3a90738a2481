package live

import (
	"fmt"
	"net/http"

	"k8s.io/client-go/rest"
)

// ReadOnly returns a configuration whose requests cannot change anything: those
// that are neither a read nor a dry-run never leave this process. With a name they
// are made as that user.
func ReadOnly(config *rest.Config, as string) *rest.Config {
	config = rest.CopyConfig(config)
	if as != "" {
		config.Impersonate = rest.ImpersonationConfig{UserName: as}
	}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &reader{next} })
	return config
}

type reader struct{ next http.RoundTripper }

func (r *reader) RoundTrip(req *http.Request) (*http.Response, error) {
	read := req.Method == http.MethodGet || req.Method == http.MethodHead
	if dryRun := req.URL.Query()["dryRun"]; !read && (len(dryRun) != 1 || dryRun[0] != "All") {
		return nil, fmt.Errorf("%s %s would change the cluster: this is a fault of Aether; please report it", req.Method, req.URL.Path)
	}
	return r.next.RoundTrip(req)
}
