package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// Options is which cluster to look at, and how.
type Options struct {
	// Config is the cluster, and who asks.
	Config *rest.Config
	// Namespace of the operator and of TenantSources.
	Namespace string
	// Version of this program, to compare the operator's with; "" or "devel" compares nothing.
	Version string
	// Timeout of one check.
	Timeout time.Duration
	// Now is this machine's clock.
	Now func() time.Time
}

// Doctor looks at one cluster.
type Doctor struct{ cluster *cluster }

// cluster is what the checks ask.
type cluster struct {
	client.Client
	discovery *discovery.DiscoveryClient
	namespace string
	program   string
	timeout   time.Duration
	now       func() time.Time

	version version.Info
	// ahead is how far the API server's clock is ahead of this machine's; dated says
	// whether it told the time at all.
	ahead time.Duration
	dated bool

	// definitions are the CRDs in the cluster, asked for once.
	definitions func() (map[string]*apiextensionsv1.CustomResourceDefinition, error)
	// sources are the TenantSources, asked for once.
	sources func() ([]v1alpha1.TenantSource, error)
}

// New asks the API server for its version, so that who cannot reach it, or is not known
// to it, hears it once and not from every check.
func New(ctx context.Context, o Options) (*Doctor, error) {
	c := &cluster{namespace: o.Namespace, program: o.Version, timeout: o.Timeout, now: o.Now}
	config := rest.CopyConfig(o.Config)
	config.QPS = -1 // a few hundred small questions, once
	config.Timeout = o.Timeout
	config.WarningHandler = rest.NoWarnings{} // of the dry run, to nobody's use
	watch := &dateReader{now: o.Now}
	config.Wrap(watch.wrap)

	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		scheme.AddToScheme, v1alpha1.AddToScheme, sourcev1.AddToScheme, kustomizev1.AddToScheme, apiextensionsv1.AddToScheme,
	} {
		if err := add(s); err != nil {
			return nil, err
		}
	}
	var err error
	if c.discovery, err = discovery.NewDiscoveryClientForConfig(config); err != nil {
		return nil, err
	}
	answer, err := c.discovery.RESTClient().Get().AbsPath("/version").Do(ctx).Raw()
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(answer, &c.version); err != nil {
		return nil, fmt.Errorf("what answers is no API server of Kubernetes: %w", err)
	}
	c.ahead, c.dated = watch.read()
	if c.Client, err = client.New(config, client.Options{Scheme: s}); err != nil {
		return nil, err
	}
	c.definitions = sync.OnceValues(c.readDefinitions)
	c.sources = sync.OnceValues(c.readSources)
	return &Doctor{cluster: c}, nil
}

// dateReader reads the time that the API server writes on its first answer.
type dateReader struct {
	now func() time.Time

	mu    sync.Mutex
	ahead time.Duration
	dated bool
}

func (d *dateReader) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		asked := d.now()
		answer, err := next.RoundTrip(r)
		if err != nil {
			return answer, err
		}
		answered := d.now()
		d.mu.Lock()
		defer d.mu.Unlock()
		if date, err := http.ParseTime(answer.Header.Get("Date")); err == nil && !d.dated {
			// Half a second, because the header leaves out what is beyond the second.
			d.ahead, d.dated = date.Add(time.Second/2).Sub(asked.Add(answered.Sub(asked)/2)), true
		}
		return answer, nil
	})
}

func (d *dateReader) read() (ahead time.Duration, dated bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ahead, d.dated
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// serverNow is the API server's clock, as far as it is known.
func (c *cluster) serverNow() time.Time { return c.now().Add(c.ahead) }

// serves says whether the API server serves a resource, such as "kustomizations" of
// "kustomize.toolkit.fluxcd.io/v1".
func (c *cluster) serves(groupVersion, resource string) (bool, error) {
	list, err := c.discovery.ServerResourcesForGroupVersion(groupVersion)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for i := range list.APIResources {
		if list.APIResources[i].Name == resource {
			return true, nil
		}
	}
	return false, nil
}

// once is a context for what several checks need: it must not end with the first.
func (c *cluster) once() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), c.timeout)
}

// right is what somebody may do.
type right struct{ verb, resource, namespace string }

func (r right) String() string {
	if r.namespace == "" {
		return r.verb + " " + r.resource
	}
	return r.verb + " " + r.resource + " in namespace " + r.namespace
}

// unread is the finding of a check that could not read what it looks at.
func (c *cluster) unread(err error, needs right) Finding {
	var network net.Error
	switch {
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		return unchecked("you may not %s", needs)
	case meta.IsNoMatchError(err):
		return unchecked("the cluster does not serve %s", needs.resource)
	case errors.Is(err, context.Canceled):
		return unchecked("interrupted")
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout(), apierrors.IsTimeout(err):
		return failed("", "kubectl get --raw '/readyz?verbose'", "the API server did not answer within %s: cannot %s", c.timeout, needs)
	default:
		return failed("", "", "cannot %s: %s", needs, oneLine(err.Error()))
	}
}

func ok(format string, args ...any) Finding {
	return Finding{Outcome: OK, Message: fmt.Sprintf(format, args...)}
}

func unchecked(format string, args ...any) Finding {
	return Finding{Outcome: NotChecked, Message: fmt.Sprintf(format, args...)}
}

func warning(object, advice, format string, args ...any) Finding {
	return Finding{Outcome: Warning, Object: object, Advice: advice, Message: fmt.Sprintf(format, args...)}
}

func failed(object, advice, format string, args ...any) Finding {
	return Finding{Outcome: Failed, Object: object, Advice: advice, Message: fmt.Sprintf(format, args...)}
}

// about names the object of a finding.
func (f Finding) about(object string) Finding {
	f.Object = object
	return f
}

// one is the answer of a check that finds one thing.
func one(f Finding) []Finding { return []Finding{f} }

// count is a number and what it counts.
func count(n int, thing string) string {
	if strings.HasSuffix(thing, "y") {
		return plural(n, thing, strings.TrimSuffix(thing, "y")+"ies")
	}
	return plural(n, thing, thing+"s")
}

func plural(n int, one, several string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, several)
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
